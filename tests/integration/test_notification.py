"""Notifications of failures: real jobs, databases, sending processes and mail servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from database_fixture import create_database
from job_rows import add_job, execute, settings_of
from kivitendo_fixture import KivitendoDir, kivitendo_installation, until
from mail_peer import Mailbox, free_port, smtp_server

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import DatabaseAccess, MailDelivery, Settings
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.demo.postgres import EmbeddedPostgres
from kivitendo_task_server.scheduling.kept_notices import KeptNotices
from kivitendo_task_server.scheduling.notice import Answer, FinishedRun, Notice, Order
from kivitendo_task_server.scheduling.notification import Notifier
from kivitendo_task_server.scheduling.notification_sender import carry_out
from kivitendo_task_server.scheduling.once import run_until_idle

ZONE = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 15, 54, 30, tzinfo=ZONE)
KIVITENDOS_TEMPLATE = """\
[%- USE P -%]
Mandant [% client.name %] ([% client.id %], [% client.dbname %])
[% IF history -%]
Job [% history.package_name %]/[% history.description %] um [% history.run_at_as_timestamp %]:
[% history.error_col %] [[% history.data %]]
[%- ELSE -%]
Ausnahme: [% exception -%]
[%- END %]
"""


@dataclass
class Stage:
    """An installation with one tenant and a mail server."""

    installation: KivitendoDir
    tenant: Tenant
    mailbox: Mailbox
    port: int

    def configure(self, **values: str) -> None:
        """Set keys of [task_server/notify_on_failure]."""
        self.installation.configure("task_server/notify_on_failure", **values)

    @property
    def settings(self) -> Settings:
        """As the service reads them."""
        return settings_of(self.installation)

    def order(self, notice: Notice, now: datetime | None = None, **values: Any) -> Order:
        """An order to the sending process."""
        now = now or notice.at
        return Order(notice, self.settings, self.installation.path, now, **values)

    def notifier(self, **values: Any) -> Notifier:
        """A notifier as the supervisor has it, with a clock that stands still."""
        return Notifier(self.settings, FixedClock(NOW), self.installation.path, **values)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the tenant's database."""
        return execute(self.tenant.access, sql)

    @property
    def subjects(self) -> list[str]:
        """The subjects of all mails."""
        return [str(message["Subject"]) for message in self.mailbox.messages]

    @property
    def bodies(self) -> list[str]:
        """The texts of all mails."""
        return [message.get_content().replace("\r\n", "\n") for message in self.mailbox.messages]


@pytest.fixture(scope="module")
def databases(cluster: EmbeddedPostgres, templates: dict[str, str]) -> dict[str, DatabaseAccess]:
    """One tenant's and one authentication database for all tests of this module."""
    return {
        kind: create_database(cluster, f"notification_{kind}", template)
        for kind, template in templates.items()
    }


@pytest.fixture
def stage(databases: dict[str, DatabaseAccess]) -> Iterator[Stage]:
    tenant_access, auth = databases["tenant"], databases["auth"]
    execute(tenant_access, "DROP SCHEMA IF EXISTS kivitendo_task_server CASCADE")
    for table in ("background_job_histories", "background_jobs", "email_journal"):
        execute(tenant_access, f"DELETE FROM {table}")  # noqa: S608 - a constant
    for table in ("clients", '"user"'):
        execute(auth, f"DELETE FROM auth.{table}")  # noqa: S608 - a constant
    mailbox = Mailbox()
    with smtp_server(mailbox) as port, kivitendo_installation(auth) as kivitendo_dir:
        kivitendo_dir.configure("task_server", node_id="knoten")
        kivitendo_dir.configure("mail_delivery", host="127.0.0.1", port=str(port))
        kivitendo_dir.configure(
            "task_server/notify_on_failure", send_email_to="admin@firma.example"
        )
        tenant_id = kivitendo_dir.add_tenant(
            "Müller & Söhne", tenant_access, "buchhaltung", email="bu@firma.example"
        )
        user = TenantUser("buchhaltung", email="bu@firma.example")
        yield Stage(
            kivitendo_dir,
            Tenant(tenant_id, "Müller & Söhne", tenant_access, user),
            mailbox,
            port,
        )


def _run(stage: Stage, job_id: int, error: str | None = "kaputt\n", **values: Any) -> Notice:
    run = FinishedRun(
        job_id, "Test", values.pop("description", None), NOW.replace(tzinfo=None), error, **values
    )
    return Notice(stage.tenant, NOW, run)


def _wait(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))  # type: ignore[arg-type]


# --- the whole way ------------------------------------------------------------------------------


def test_a_failing_job_is_told_at_once_and_that_it_works_again(stage: Stage) -> None:
    """Real workers, real sending processes, real mails; minutes pass by the injected clock."""
    access = stage.tenant.access
    job = add_job(access, description="Prüfung", data="exception: Grüße", cron_spec="* * * * *")
    for minute in range(3):
        clock = FixedClock(NOW + timedelta(minutes=minute))
        run_until_idle(stage.settings, clock, kivitendo_dir=stage.installation.path)
    assert len(stage.mailbox.messages) == 1, "the original sends one every minute (i, 36)"
    [message] = stage.mailbox.messages
    assert message["To"] == "admin@firma.example"
    assert message["From"] == "kivitendo Daemon <root@localhost>"
    assert message["Subject"] == "kivitendo Task-Server: Hintergrundjob fehlgeschlagen"
    assert message["Auto-Submitted"] == "auto-generated"
    body = stage.bodies[0]
    for part in ("„Müller & Söhne“", "Test (Prüfung)", "22.11.2026 15:54", "Oh cruel world: Grüße"):
        assert part in body
    assert stage.rows('SELECT "from", recipients, status::text FROM email_journal') == [
        ("kivitendo Daemon <root@localhost>", "admin@firma.example", "sent")
    ]

    execute(access, "UPDATE background_jobs SET data = NULL WHERE id = %s", job)
    for minute in range(3, 5):
        clock = FixedClock(NOW + timedelta(minutes=minute))
        run_until_idle(stage.settings, clock, kivitendo_dir=stage.installation.path)
    assert len(stage.mailbox.messages) == 2
    assert stage.subjects[1] == "kivitendo Task-Server: Hintergrundjob Test läuft wieder"
    assert "wieder fehlerfrei, zuletzt am 22.11.2026 15:57" in stage.bodies[1]
    assert "Der Fehler bestand seit dem 22.11.2026 15:54" in stage.bodies[1]


def test_a_tenant_that_cannot_be_reached_is_told_of(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from the supervisor; without the patience that a restart of PostgreSQL deserves."""
    monkeypatch.setitem(Notifier.__init__.__kwdefaults__, "patience", 0.0)
    gone = replace(stage.tenant.access, port=free_port())
    stage.installation.add_tenant("Weg", gone, "weg")
    summary = run_until_idle(stage.settings, FixedClock(NOW), kivitendo_dir=stage.installation.path)
    assert summary.unreachable == ("Weg",)
    assert len(stage.mailbox.messages) == 1
    assert "der Mandant „Weg“ kann nicht bedient werden" in stage.bodies[0]
    assert "Connection refused" in stage.bodies[0]


def test_nobody_to_notify_costs_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.configure(send_email_to="")
    monkeypatch.setattr(Notifier, "_send", None)  # would fail if it were called
    add_job(stage.tenant.access, data="exception: 1")
    run_until_idle(stage.settings, FixedClock(NOW), kivitendo_dir=stage.installation.path)
    assert stage.mailbox.messages == []


# --- deciding -----------------------------------------------------------------------------------


def test_two_nodes_do_not_repeat_each_other(stage: Stage) -> None:
    job = add_job(stage.tenant.access)
    first = carry_out(stage.order(_run(stage, job)))
    assert first == Answer(True, "admin@firma.example", "", NOW + timedelta(days=1))
    second = carry_out(stage.order(_run(stage, job), NOW + timedelta(hours=1)))
    assert second == Answer(True, "", "", NOW + timedelta(days=1))
    carry_out(stage.order(_run(stage, job), NOW + timedelta(days=1)))
    assert "schlägt ein Hintergrundjob weiterhin fehl" in stage.bodies[1]
    good = _run(stage, job, error=None)
    assert [carry_out(stage.order(good)).sent_to for _ in range(2)] == ["admin@firma.example", ""]
    assert len(stage.mailbox.messages) == 3
    assert stage.rows("SELECT failing_since, reported_at FROM kivitendo_task_server.failure_mails"
                      ) == [(None, None)]  # fmt: skip


def test_memory_of_jobs_that_are_gone_is_dropped(stage: Stage) -> None:
    job, other = add_job(stage.tenant.access), add_job(stage.tenant.access)
    carry_out(stage.order(_run(stage, job)))
    execute(stage.tenant.access, "DELETE FROM background_jobs WHERE id = %s", job)
    carry_out(stage.order(_run(stage, other)))
    assert stage.rows("SELECT job_id FROM kivitendo_task_server.failure_mails") == [(other,)]


# --- who and how --------------------------------------------------------------------------------


def test_a_login_stands_for_its_address(stage: Stage) -> None:
    job = add_job(stage.tenant.access)
    stage.configure(send_email_to="buchhaltung")
    assert carry_out(stage.order(_run(stage, job))).sent_to == "bu@firma.example"
    execute(stage.installation.auth, "INSERT INTO auth.\"user\" (login) VALUES ('chefin')")
    execute(
        stage.installation.auth,
        "INSERT INTO auth.user_config SELECT id, 'email', 'chefin@firma.example'"
        " FROM auth.\"user\" WHERE login = 'chefin'",
    )
    stage.configure(send_email_to="chefin")
    other = add_job(stage.tenant.access)
    assert carry_out(stage.order(_run(stage, other))).sent_to == "chefin@firma.example"


@pytest.mark.parametrize("login", ["niemand", "' OR 1=1 --"])
def test_a_login_without_address_is_tried_again(stage: Stage, login: str) -> None:
    job = add_job(stage.tenant.access)
    stage.configure(send_email_to=login)
    answer = carry_out(stage.order(_run(stage, job)))
    assert not answer.done and "has no e-mail address" in answer.error
    assert "kivitendo.conf: [task_server/notify_on_failure] send_email_to" in answer.error
    stage.configure(send_email_to="chef@firma.example")
    assert carry_out(stage.order(_run(stage, job))).sent_to == "chef@firma.example"


def test_several_recipients_and_one_refused(stage: Stage) -> None:
    stage.configure(send_email_to="a@firma.example, later@firma.example, B <b@firma.example>")
    answer = carry_out(stage.order(_run(stage, add_job(stage.tenant.access))))
    assert answer.done, "another attempt would repeat it to those who have it"
    assert answer.sent_to == "a@firma.example, b@firma.example"
    assert "greylisted" in answer.error


def test_the_users_own_mail_server(stage: Stage) -> None:
    order = stage.order(_run(stage, add_job(stage.tenant.access)))
    own = {"bu@firma.example": order.settings.mail}
    settings = replace(
        order.settings, mail=MailDelivery(host="127.0.0.1", port=free_port()), mail_by_address=own
    )
    assert carry_out(replace(order, settings=settings)).sent_to == "admin@firma.example"


def test_kivitendos_template(stage: Stage) -> None:
    template = stage.installation.path / "templates/failure.txt"
    template.write_text(KIVITENDOS_TEMPLATE, encoding="utf-8")
    stage.configure(
        email_template="templates/failure.txt",
        email_subject="Fehler: Größe",
        email_from="Dienst <dienst@firma.example>",
    )
    job = add_job(stage.tenant.access, data="a: 1")
    carry_out(stage.order(_run(stage, job, "Zeile 1\nZeile 2", description="Prüfung")))
    carry_out(stage.order(Notice(stage.tenant, NOW, error="Datenbank <weg>")))
    name = stage.tenant.access.name
    assert stage.bodies == [
        f"Mandant Müller & Söhne ({stage.tenant.id}, {name})\n"
        "Job Test/Prüfung um 22.11.2026 15:54:\nZeile 1\nZeile 2 [a: 1]\n",
        f"Mandant Müller & Söhne ({stage.tenant.id}, {name})\nAusnahme: Datenbank <weg>\n",
    ]
    assert stage.subjects == ["Fehler: Größe"] * 2
    assert stage.mailbox.envelopes[0].mail_from == "dienst@firma.example"


@pytest.mark.parametrize("template", ["templates/missing.txt", "templates/wrong.txt", "config"])
def test_a_template_that_does_not_work_is_replaced_by_ours(
    stage: Stage, template: str, caplog: pytest.LogCaptureFixture
) -> None:
    (stage.installation.path / "templates/wrong.txt").write_text("\n[% IF history %]\n[% PERL %]")
    stage.configure(email_template=template)
    assert carry_out(stage.order(_run(stage, add_job(stage.tenant.access)))).sent_to
    assert "ist ein Hintergrundjob fehlgeschlagen" in stage.bodies[0]
    assert template in caplog.text


def test_dates_in_the_users_format(stage: Stage) -> None:
    user = replace(stage.tenant.user, dateformat="yy-mm-dd")
    stage.tenant = replace(stage.tenant, user=user)
    carry_out(stage.order(_run(stage, add_job(stage.tenant.access))))
    assert "2026-11-22 15:54" in stage.bodies[0]


def test_a_mail_server_that_is_down(stage: Stage) -> None:
    job = add_job(stage.tenant.access)
    order = stage.order(_run(stage, job))
    down = replace(order.settings, mail=MailDelivery(host="127.0.0.1", port=free_port()))
    for first_attempt in (True, False, False):
        answer = carry_out(replace(order, settings=down, first_attempt=first_attempt))
        assert not answer.done and "Connection refused" in answer.error
    assert carry_out(replace(order, first_attempt=False)).sent_to
    statuses = stage.rows("SELECT status::text FROM email_journal ORDER BY id")
    assert statuses == [("send_failed",), ("sent",)], "attempts in between are not journalled"


def test_a_refusal_for_good_is_not_repeated(stage: Stage) -> None:
    stage.configure(send_email_to="refuse@firma.example")
    job = add_job(stage.tenant.access)
    answer = carry_out(stage.order(_run(stage, job)))
    assert answer.done and not answer.sent_to and "no such mailbox" in answer.error
    assert answer.quiet_until == NOW + timedelta(days=1)


def test_a_journal_that_cannot_be_written_does_not_matter(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """The original reports such a mail as failed (i, 36)."""
    job = add_job(stage.tenant.access)
    execute(stage.tenant.access, "ALTER TABLE email_journal ADD COLUMN more text NOT NULL")
    try:
        answer = carry_out(stage.order(_run(stage, job)))
    finally:
        execute(stage.tenant.access, "ALTER TABLE email_journal DROP COLUMN more")
    assert answer.sent_to == "admin@firma.example"
    assert "journal cannot be written" in caplog.text
    assert not carry_out(stage.order(_run(stage, job))).sent_to, "it is remembered all the same"


def test_a_tenant_that_is_away_can_be_told_of(stage: Stage) -> None:
    gone = replace(stage.tenant.access, port=free_port())
    notice = Notice(replace(stage.tenant, access=gone), NOW, error="Verbindung abgelehnt")
    assert carry_out(stage.order(notice)).sent_to == "admin@firma.example"
    assert "kann nicht bedient werden" in stage.bodies[0]
    carry_out(stage.order(Notice(stage.tenant, NOW, since=NOW - timedelta(hours=2))))
    assert stage.subjects[1] == "kivitendo Task-Server: Mandant Müller & Söhne wird wieder bedient"
    assert "seit dem 22.11.2026 13:54" in stage.bodies[1]
    assert stage.rows("SELECT count(*) FROM email_journal") == [(1,)]
    carry_out(stage.order(Notice(None, NOW, error="Anmeldung weg")))
    assert "der Task-Server kann nicht arbeiten" in stage.bodies[2]


# --- the notifier ---------------------------------------------------------------------------------


def test_a_mail_is_retried_until_the_server_is_back(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    job = add_job(stage.tenant.access)
    stage.mailbox.failures = 2

    async def test() -> None:
        notifier = stage.notifier(pauses=(0.01,))
        run = _run(stage, job).run
        assert run is not None
        notifier.job_finished(stage.tenant, run)
        while not stage.mailbox.messages:
            await asyncio.sleep(0.02)
        notifier.job_finished(stage.tenant, run)
        await notifier.close()

    with caplog.at_level(logging.INFO):
        _wait(test)
    assert len(stage.mailbox.messages) == 1
    actions = [record.fields["action"] for record in caplog.records if hasattr(record, "fields")]
    assert actions == ["notification_failed", "notification_sent"]


def test_tenants_are_told_of_after_a_while_and_only_while_the_service_works(stage: Stage) -> None:
    other = replace(stage.tenant, id=77, name="Zwei")

    async def test() -> None:
        notifier = stage.notifier(patience=0.05)
        notifier.tenant_failed(stage.tenant, "kurz weg")
        notifier.tenant_recovered(stage.tenant)
        notifier.tenant_failed(stage.tenant, "weg")
        notifier.tenant_failed(other, "weg")
        notifier.tenant_failed(None, "alles weg")
        for _ in range(3):
            notifier.tenant_failed(stage.tenant, "weg")
            notifier.tenant_failed(None, "alles weg")
        await _mails(stage, 1)
        notifier.tenant_recovered(None)
        notifier.tenant_recovered(None)
        notifier.tenant_recovered(other)
        notifier.tenant_failed(stage.tenant, "noch weg")
        await _mails(stage, 3)
        notifier.tenant_failed(stage.tenant, "noch weg")
        notifier.tenant_recovered(stage.tenant)
        await notifier.close(30)

    _wait(test)
    assert sorted(stage.subjects) == sorted(
        [
            "kivitendo Task-Server: Hintergrundjob fehlgeschlagen",
            "kivitendo Task-Server: arbeitet wieder",
            "kivitendo Task-Server: Hintergrundjob fehlgeschlagen",
            "kivitendo Task-Server: Mandant Müller & Söhne wird wieder bedient",
        ]
    )


async def _mails(stage: Stage, count: int) -> None:
    while len(stage.mailbox.messages) < count:
        await asyncio.sleep(0.02)


def test_what_an_earlier_service_left_is_sent_unless_it_is_too_old(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a tenant that works again by now, both are told: the failure, and that it works."""
    file = tmp_path / "x.mails"
    old = Notice(None, NOW - timedelta(days=1), error="lange her", since=NOW)
    KeptNotices(file).keep([old, Notice(stage.tenant, NOW, error="weg", since=NOW)])

    async def test() -> None:
        notifier = stage.notifier(kept=KeptNotices(file))
        notifier.take_up([stage.tenant])
        notifier.take_up([stage.tenant])
        notifier.tenant_recovered(stage.tenant)
        await _mails(stage, 2)
        await notifier.close(30)

    _wait(test)
    assert stage.subjects == [
        "kivitendo Task-Server: Hintergrundjob fehlgeschlagen",
        "kivitendo Task-Server: Mandant Müller & Söhne wird wieder bedient",
    ]
    assert "lange her" not in stage.bodies[0]
    given_up = [r for r in caplog.records if "given up" in r.getMessage()]
    assert len(given_up) == 1
    assert not file.exists()


def test_a_sending_process_that_dies_or_hangs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = add_job(stage.tenant.access)
    package = tmp_path / "stand_in_sender.py"
    package.write_text("import sys; print('Traceback: oh', file=sys.stderr); sys.exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("kivitendo_task_server.scheduling.notification.SENDER", "stand_in_sender")

    async def dies() -> None:
        answer = await stage.notifier()._send(_run(stage, job), True)
        assert answer == Answer(False, error="the sending process ended early: Traceback: oh")

    _wait(dies)
    pid_file = tmp_path / "pid"
    package.write_text(
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    monkeypatch.setattr("kivitendo_task_server.scheduling.notification.LONGEST_SENDING", 1.0)

    async def hangs() -> None:
        answer = await stage.notifier()._send(_run(stage, job), True)
        assert not answer.done and "did not end within" in answer.error

    _wait(hangs)
    if pid_file.exists():
        until(lambda: not Path(f"/proc/{pid_file.read_text()}").exists())


def test_the_sending_process_gets_nothing_that_is_ours_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    (tmp_path / "stand_in_sender.py").write_text(
        "import os, pickle, sys\n"
        f"open({str(seen)!r}, 'w').write(repr([sys.argv, dict(os.environ)]))\n"
        "from kivitendo_task_server.scheduling.notice import Answer\n"
        "sys.stdout.buffer.write(pickle.dumps(Answer(True)))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setattr("kivitendo_task_server.scheduling.notification.SENDER", "stand_in_sender")
    settings = stage.settings
    mail = replace(settings.mail, password="SehrGeheim")

    async def test() -> None:
        notifier = stage.notifier()
        notifier.use(replace(settings, mail=mail))
        assert await notifier._send(_run(stage, 1), True) == Answer(True)

    _wait(test)
    assert "NOTIFY_SOCKET" not in seen.read_text()
    assert "SehrGeheim" not in seen.read_text(), "passwords go through the pipe"
