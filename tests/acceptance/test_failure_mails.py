"""Notifications from the real service: what is sent, and that nobody waits for it."""

from __future__ import annotations

import os
import signal

import pytest
from job_rows import add_job, execute
from kivitendo_fixture import KivitendoDir, until
from mail_peer import Mailbox, free_port, smtp_server
from real_service import real_service

from kivitendo_task_server.config.settings import DatabaseAccess


def a_failing_job_and_no_mail_server(kivitendo_dir: KivitendoDir, access: DatabaseAccess) -> int:
    """The port where a mail server is expected."""
    port = free_port()
    kivitendo_dir.configure("mail_delivery", host="127.0.0.1", port=str(port))
    kivitendo_dir.configure("task_server/notify_on_failure", send_email_to="admin@firma.example")
    kivitendo_dir.add_tenant("Eins", access)
    add_job(access, data="exception: kaputt", next_run_at="2020-01-01")
    return port


def test_a_mail_server_that_is_down_breaks_nothing(
    kivitendo_dir: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    port = a_failing_job_and_no_mail_server(kivitendo_dir, tenant_access)
    assert kivitendo_dir.run("start").returncode == 0
    service = kivitendo_dir.pid
    until(lambda: "action=notification_failed" in kivitendo_dir.log)

    # other jobs run meanwhile
    add_job(tenant_access, type="once", cron_spec="", data="result: läuft")
    os.kill(service, signal.SIGALRM)
    until(lambda: ("läuft",) in execute(tenant_access, "SELECT result FROM"
                                        " background_job_histories"))  # fmt: skip

    mailbox = Mailbox()
    with smtp_server(mailbox, port=port):
        # another configuration is a reason to try again at once
        kivitendo_dir.configure("task_server/notify_on_failure", send_email_to="b@firma.example")
        until(lambda: bool(mailbox.messages))
        assert mailbox.messages[0]["To"] == "b@firma.example"
        assert "Oh cruel world: kaputt" in mailbox.messages[0].get_content()
        until(lambda: "action=notification_sent" in kivitendo_dir.log)
        assert kivitendo_dir.run("stop").returncode == 0
    assert kivitendo_dir.log.count("action=notification_failed") == 1
    assert "action=notification_kept" not in kivitendo_dir.log


@pytest.mark.parametrize("end", ["stop", "kill -9"])
def test_a_mail_that_waits_survives_the_end_of_the_service(
    kivitendo_dir: KivitendoDir, tenant_access: DatabaseAccess, end: str
) -> None:
    port = a_failing_job_and_no_mail_server(kivitendo_dir, tenant_access)
    waiting = kivitendo_dir.pid_file.with_suffix(".mails")
    with real_service(kivitendo_dir) as service:
        until(lambda: bool(service.lines("notification_failed")) and waiting.exists())
        if end == "stop":
            assert service.stop() == 0
            assert len(service.lines("notification_kept")) == 1
        else:
            service.kill()
    assert "kaputt" in waiting.read_text()
    assert waiting.stat().st_mode & 0o777 == 0o640
    password = tenant_access.password
    assert not password or password not in waiting.read_text()

    execute(tenant_access, "UPDATE background_jobs SET active = false")
    mailbox = Mailbox()
    with smtp_server(mailbox, port=port), real_service(kivitendo_dir) as service:
        until(lambda: bool(service.lines("notification_sent")))
        until(lambda: not waiting.exists())
        assert service.stop() == 0
    (message,) = mailbox.messages
    assert "Oh cruel world: kaputt" in message.get_content()
    with smtp_server(mailbox, port=port), real_service(kivitendo_dir) as service:
        assert service.stop() == 0
    assert len(mailbox.messages) == 1, "told once"
