"""Jobs that mail: the scenarios of jobs.md, 1.13 to 1.15, with a real SMTP server."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from jobs_bench import Bench
from mail_peer import Mailbox

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.check_below_minimum_stock import CheckBelowMinimumStock
from kivitendo_task_server.jobs.failed_background_jobs_report import FailedBackgroundJobsReport
from kivitendo_task_server.jobs.interface import JobResult
from kivitendo_task_server.jobs.send_follow_up_reminder import SendFollowUpReminder


def _users(auth: Connection, **emails: str | None) -> None:
    """Users with their addresses."""
    with auth.cursor() as cursor:
        for login, email in emails.items():
            cursor.execute('INSERT INTO auth."user" (login) VALUES (%s) RETURNING id', (login,))
            (user,) = cursor.fetchall()
            cursor.execute(
                "INSERT INTO auth.user_config (user_id, cfg_key, cfg_value)"
                " VALUES (%s, 'email', %s)",
                (user[0], email),
            )


def _body(mailbox: Mailbox, number: int = -1) -> str:
    """A mail's text with plain line ends."""
    return str(mailbox.messages[number].get_content()).replace("\r\n", "\n")


def _template(bench: Bench, name: str, text: str) -> None:
    path = bench.kivitendo_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# 1.13 CheckBelowMinimumStock

SECTION = "check_below_minimum_stock"
ERROR = (
    "Artikel unter Mindestbestand:\n"
    "Artikelnummer\t- Name\t- Auf Lager\t- Mindestlagerbestand\n"
    "A1\t- Schraube <M4>\t- 3.50000\t- 10\n"
    "A3\t- \t- 0.00000\t- 5\n"
    "A4\t- \t- 0.00000\t- 1\n"
    "A6\t- \t- -2.00000\t- 0\n"
)


@pytest.fixture
def parts(bench: Bench, auth: Connection, mailbox: Mailbox) -> Bench:
    _users(auth, demo="demo@x.de", ohne="")
    rows = [
        ("A1", 10, 3.5, False, "part"), ("A2", 5, 5, False, "part"), ("A3", 5, 0, True, "part"),
        ("A4", 1, 0, False, "service"), ("A5", None, 0, False, "part"),
        ("A6", 0, -2, False, "part"), ("A7", 5, None, False, "part"),
    ]  # fmt: skip
    bench.insert(
        "parts",
        [
            {"partnumber": number, "rop": rop, "onhand": onhand, "obsolete": obsolete,
             "part_type": kind, "unit": "Stck"}
            for number, rop, onhand, obsolete, kind in rows
        ],
    )  # fmt: skip
    bench.execute("UPDATE parts SET description = 'Schraube <M4>' WHERE partnumber = 'A1'")
    return bench


def test_stock_scenario_1(parts: Bench, mailbox: Mailbox) -> None:
    assert parts.run(CheckBelowMinimumStock) == JobResult(None, ERROR)
    assert mailbox.messages == []


def test_stock_of_a_million(parts: Bench) -> None:
    parts.execute("UPDATE parts SET rop = 1234567, onhand = 1000000.5 WHERE partnumber = 'A1'")
    assert "\t- 1000000.50000\t- 1234567\n" in (parts.run(CheckBelowMinimumStock).error or "")


def test_stock_in_english(parts: Bench) -> None:
    parts.user = replace(parts.user, countrycode="en")
    error = parts.run(CheckBelowMinimumStock).error
    assert error is not None
    assert error.startswith("Missing parts:\nPartnumber\t- Name\t- Onhand\t- ROP\nA1\t- ")


def test_stock_scenario_2(parts: Bench, mailbox: Mailbox) -> None:
    parts.section(SECTION, send_email_to="demo")
    assert parts.run(CheckBelowMinimumStock).error == ERROR
    (message,) = mailbox.messages
    assert message["To"] == "demo@x.de"
    assert message["From"] == "kivitendo Daemon <root@localhost>"
    assert message["Subject"] == "Benachrichtigung: Artikel unter Mindestbestand"
    assert message.get_content_type() == "text/html"
    assert "<td>A1</td><td>Schraube &lt;M4&gt;</td><td>10</td><td>3.50000</td>" in (
        message.get_content()
    )
    assert parts.rows("SELECT status, sender_id FROM email_journal") == [("sent", 100)]


def test_stock_scenario_3(parts: Bench, mailbox: Mailbox) -> None:
    parts.run(CheckBelowMinimumStock, "mail_to: chef@x.de\nemail: lager@x.de")
    assert mailbox.envelopes[0].rcpt_tos == ["chef@x.de", "lager@x.de"]


@pytest.mark.parametrize("login", ["nosuch", "ohne"])
def test_stock_scenario_4_no_address(parts: Bench, mailbox: Mailbox, login: str) -> None:
    parts.section(SECTION, send_email_to=login)
    error = parts.run(CheckBelowMinimumStock).error
    # the original fails with an error of Perl's, without the parts
    assert error == f"{ERROR}Emailfehler: {login} ([{SECTION}] send_email_to) has no address\n"


def test_stock_scenario_4_an_address(parts: Bench, mailbox: Mailbox) -> None:
    parts.section(SECTION, send_email_to="a@b.de")
    assert parts.run(CheckBelowMinimumStock).error == ERROR
    assert mailbox.envelopes[0].rcpt_tos == ["a@b.de"]


def test_stock_scenario_5_all_is_well(parts: Bench, mailbox: Mailbox) -> None:
    parts.section(SECTION, send_email_to="demo")
    parts.execute("UPDATE parts SET rop = NULL")
    assert parts.run(CheckBelowMinimumStock) == JobResult(None)
    assert mailbox.messages == []


def test_stock_mail_refused(parts: Bench, mailbox: Mailbox) -> None:
    error = parts.run(CheckBelowMinimumStock, "mail_to: refuse@x.de").error
    assert error == f"{ERROR}Emailfehler: refuse@x.de: 550 5.1.1 no such mailbox\n"
    assert parts.column("SELECT status FROM email_journal") == ["send_failed"]


def test_stock_with_templates(parts: Bench, mailbox: Mailbox) -> None:
    delivered = "templates/mail/below_minimum_stock/error_email.html"
    _template(parts, delivered, "<p>Zu wenig:</p>[% part_table %]")
    parts.section(SECTION, send_email_to="demo")
    parts.run(CheckBelowMinimumStock)
    assert _body(mailbox).startswith("<p>Zu wenig:</p><table>")

    _template(parts, "eigene.txt", "[% FOREACH p IN PARTS %][% p.partnumber %] [% END %]")
    parts.section(SECTION, send_email_to="demo", email_template="eigene.txt")
    parts.run(CheckBelowMinimumStock)
    assert _body(mailbox).strip() == "A1 A3 A4 A6"
    assert mailbox.messages[-1].get_content_type() == "text/plain"

    _template(parts, "print/below_minimum_stock/error_email.html", "Mandant [% part_table %]")
    parts.execute("UPDATE defaults SET templates = 'print'")
    parts.section(SECTION, send_email_to="demo", email_template="")
    parts.run(CheckBelowMinimumStock)
    assert _body(mailbox).startswith("Mandant <table>")


@pytest.mark.parametrize(
    "text", [None, "[% INCLUDE other %]", "[% FOREACH p IN PARTS %][% p.unknown %][% END %]"]
)
def test_stock_with_an_unusable_template(
    parts: Bench, mailbox: Mailbox, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    if text is not None:
        _template(parts, "eigene.html", text)
    parts.section(SECTION, send_email_to="demo", email_template="eigene.html")
    assert parts.run(CheckBelowMinimumStock).error == ERROR
    assert "Schraube &lt;M4&gt;" in _body(mailbox, 0)
    assert "a mail template is not used" in caplog.text


# 1.14 SendFollowUpReminder

BASE = "base_url: https://h/k/\n"


@pytest.fixture
def follow_ups(bench: Bench, auth: Connection, mailbox: Mailbox) -> Bench:
    """The scenario's six notes and follow-ups; employee weg is deleted."""
    _users(auth, demo="demo@x.de", neu="neu@x.de", weg="weg@x.de")
    bench.insert(
        "employee",
        [
            {"id": 101, "login": "neu", "name": None},
            {"id": 102, "login": "weg", "name": "Weg", "deleted": True},
        ],
    )
    ages = {1: 0, 2: -1, 3: 1, 4: 5, 5: 5, 6: 5}
    authors = {4: 101}
    for number, age in ages.items():
        author = authors.get(number, 100)
        bench.insert(
            "notes", [{"id": number, "subject": f"Notiz {number} <&>", "created_by": author}]
        )
        day = bench.now.date() - timedelta(days=age)
        bench.insert(
            "follow_ups",
            [{"id": number, "follow_up_date": day, "note_id": number, "created_by": author}],
        )
    for follow_up, employee in [(1, 100), (2, 100), (3, 100), (4, 100), (4, 101), (6, 102)]:
        bench.insert(
            "follow_up_created_for_employees",
            [{"follow_up_id": follow_up, "employee_id": employee}],
        )
    bench.insert("follow_up_done", [{"follow_up_id": 3}])
    return bench


def _notes(mailbox: Mailbox) -> dict[str, list[int]]:
    """Recipient -> the numbers of the notes in the mail, in their order."""
    found = {}
    for message in mailbox.messages:
        text = message.get_content()
        positions = {n: text.find(f"Notiz {n}") for n in range(1, 7) if f"Notiz {n}" in text}
        found[str(message["To"])] = sorted(positions, key=lambda n: positions[n])
    return found


SENT = JobResult("Erinnerung an Wiedervorlagen versendet.")


def test_follow_up_scenario_1_without_base_url(follow_ups: Bench, mailbox: Mailbox) -> None:
    assert follow_ups.run(SendFollowUpReminder) == SENT  # the original fails
    assert _notes(mailbox) == {"demo@x.de": [4, 1], "neu@x.de": [4]}
    assert "href" not in _body(mailbox, 0)


def test_follow_up_scenario_2(follow_ups: Bench, mailbox: Mailbox) -> None:
    assert follow_ups.run(SendFollowUpReminder, BASE) == SENT
    assert _notes(mailbox) == {"demo@x.de": [4, 1], "neu@x.de": [4]}
    message = mailbox.messages[0]
    assert message["Subject"] == "kivitendo: fällige Wiedervorlagen"
    assert message.get_content_type() == "text/html"
    text = _body(mailbox, 0)
    assert (
        '<tr><td>17.11.2026</td><td><a href="https://h/k/fu.pl?action=edit&amp;id=4">'
        "Notiz 4 &lt;&amp;&gt;</a></td><td>neu</td></tr>"
    ) in text
    assert "<td>Demo Benutzer</td>" in text
    assert follow_ups.value("SELECT count(*) FROM email_journal WHERE status = 'sent'") == 2


def test_follow_up_base_url_of_the_configuration(follow_ups: Bench, mailbox: Mailbox) -> None:
    follow_ups.section("follow_up_reminder", base_url="https://h/", email_subject="Denk dran")
    follow_ups.run(SendFollowUpReminder)
    assert "https://h/fu.pl?action=edit&amp;id=4" in _body(mailbox, 0)
    assert mailbox.messages[0]["Subject"] == "Denk dran"


@pytest.mark.parametrize(
    ("dateformat", "first", "last"),
    [
        ("dd.mm.yy", "21.11.2026", "31.12.30"),
        ("dd/mm/yy", "21/11/2026", "31/12/2030"),
        ("mm/dd/yy", "11/21/2026", "12/31/2030"),
        ("yyyy-mm-dd", "2026-11-21", "2030-12-31"),
        ("dd.mm.yy", "yesterday", "2030-12-31"),
    ],
)
def test_follow_up_scenario_3_dates(
    follow_ups: Bench, mailbox: Mailbox, dateformat: str, first: str, last: str
) -> None:
    follow_ups.user = replace(follow_ups.user, dateformat=dateformat)
    follow_ups.run(SendFollowUpReminder, f"{BASE}from_date: {first}\nto_date: {last}")
    assert _notes(mailbox) == {"demo@x.de": [1, 2]}


def test_follow_up_scenario_4_nothing_due(follow_ups: Bench, mailbox: Mailbox) -> None:
    assert follow_ups.run(SendFollowUpReminder, "to_date: 01.01.2020") == SENT
    assert mailbox.messages == []


def test_follow_up_scenario_5_global_bcc(follow_ups: Bench, mailbox: Mailbox) -> None:
    follow_ups.execute("UPDATE defaults SET global_bcc = 'archiv@x.de'")
    follow_ups.run(SendFollowUpReminder, BASE)
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [
        ["demo@x.de", "archiv@x.de"],
        ["neu@x.de", "archiv@x.de"],
    ]


def test_follow_up_scenario_6_one_is_refused(
    follow_ups: Bench, auth: Connection, mailbox: Mailbox
) -> None:
    with auth.cursor() as cursor:
        cursor.execute(
            "UPDATE auth.user_config SET cfg_value = 'refuse@x.de' WHERE cfg_value LIKE 'neu%'"
        )
    assert follow_ups.run(SendFollowUpReminder, BASE).error == (
        "Erinnerung an Wiedervorlagen versendet.\nFolgende Fehler sind aufgetreten:\n"
        "refuse@x.de: refuse@x.de: 550 5.1.1 no such mailbox\n"
    )
    assert list(_notes(mailbox)) == ["demo@x.de"]


@pytest.mark.parametrize("email", [None, " "])
def test_follow_up_scenario_7_without_address(
    follow_ups: Bench, auth: Connection, mailbox: Mailbox, email: str | None
) -> None:
    with auth.cursor() as cursor:
        cursor.execute(
            "UPDATE auth.user_config SET cfg_value = %s WHERE cfg_value LIKE 'neu%%'", (email,)
        )
    assert follow_ups.run(SendFollowUpReminder, BASE) == SENT
    assert list(_notes(mailbox)) == ["demo@x.de"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("foo: 1", "unknown: foo"),
        ("to_date: quatsch", "^Kann das Datum nicht verarbeiten: quatsch"),
        ("to_date: 31.02.2026", "^Kann das Datum nicht verarbeiten"),
        ("from_date: 1.1.123", "^Kann das Datum nicht verarbeiten"),
        ("email_from: ' '", "^Es ist keine E-Mail-Absender-Adresse angegeben"),
        ("base_url: javascript:alert(1)//", "^base_url is not the address of a web site"),
        ("base_url: http://[", "^base_url is not the address of a web site"),
        ("email_template: /etc/passwd", "there is no mail template"),
        ("email_template: templates/../config/kivitendo.conf", "there is no mail template"),
    ],
)
def test_follow_up_scenario_8_refuses(
    follow_ups: Bench, mailbox: Mailbox, data: str, complaint: str
) -> None:
    _template(follow_ups, "config/kivitendo.conf", "secret")
    (follow_ups.kivitendo_dir / "templates").mkdir()
    with pytest.raises(JobFailed, match=complaint):
        follow_ups.run(SendFollowUpReminder, data)
    assert mailbox.messages == []


def test_follow_up_scenario_9_base_url_without_slash(follow_ups: Bench, mailbox: Mailbox) -> None:
    follow_ups.run(SendFollowUpReminder, "base_url: https://h/k")
    assert '"https://h/fu.pl?' in _body(mailbox, 0)


def test_follow_up_templates(follow_ups: Bench, mailbox: Mailbox) -> None:
    _template(
        follow_ups,
        "templates/wv.txt",
        "[% FOREACH f IN follow_ups %]* [% f.date %] [% f.subject %] [% f.link %]\n[% END %]",
    )
    follow_ups.run(SendFollowUpReminder, f"{BASE}email_template: templates/wv.txt")
    assert _body(mailbox, 1).startswith(
        "* 17.11.2026 Notiz 4 <&> https://h/k/fu.pl?action=edit&id=4"
    )

    # a configured template that is not there: plain text
    mailbox.envelopes.clear()
    follow_ups.section("follow_up_reminder", email_template="templates/fehlt.html")
    follow_ups.run(SendFollowUpReminder, BASE)
    assert _body(mailbox, 1) == (
        "Nicht erledigte Wiedervorlagen:\n"
        "Wiedervorlagedatum: 17.11.2026: Notiz 4 <&>: (von neu)"
        " (https://h/k/fu.pl?action=edit&id=4)\n\n\n"
    )


# 1.15 FailedBackgroundJobsReport

REPORT = "recipients:\n  - a@x.de\n  - b@x.de\nfrom: kivi@x.de\nsubject: Fehler\n"


@pytest.fixture
def failures(bench: Bench, mailbox: Mailbox) -> Bench:
    rows = [
        ("Neuer", "failure", 2, "kaputt"), ("Aelter", "failure", 23.98, "ganz\nkaputt"),
        ("Zu alt", "failure", 25, "egal"), ("Erfolg", "success", 1, None),
    ]  # fmt: skip
    bench.insert(
        "background_job_histories",
        [
            {"package_name": name, "status": status, "run_at": bench.now - timedelta(hours=hours),
             "error": error}
            for name, status, hours, error in rows
        ],
    )  # fmt: skip
    return bench


def test_report_scenario_1(failures: Bench, mailbox: Mailbox) -> None:
    assert failures.run(FailedBackgroundJobsReport, REPORT) == JobResult("1")
    (message,) = mailbox.messages
    assert mailbox.envelopes[0].rcpt_tos == ["a@x.de", "b@x.de"]
    assert (message["From"], message["Subject"]) == ("kivi@x.de", "Fehler")
    assert _body(mailbox) == (
        "Seit 2026-11-21 16:00 sind folgende Hintergrundjobs fehlgeschlagen:\n\n"
        "2026-11-21 16:01:28  Aelter\nganz\nkaputt\n\n2026-11-22 14:00:16  Neuer\nkaputt\n"
    )


def test_report_scenario_2_no_failures(failures: Bench, mailbox: Mailbox) -> None:
    failures.execute("DELETE FROM background_job_histories WHERE status = 'failure'")
    assert failures.run(FailedBackgroundJobsReport, REPORT) == JobResult("1")
    assert mailbox.messages == []


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (None, "recipients is missing; from is missing; subject is missing"),
        (REPORT.replace("  - a@x.de\n  - b@x.de\n", ""), "recipients must be a list"),
        (REPORT.replace("from: kivi@x.de\n", ""), "from is missing"),
        (REPORT.replace("subject: Fehler\n", "subject:\n"), "subject must be text that is not"),
        (REPORT.replace("\n  - a@x.de\n  - b@x.de\n", " a@x.de\n"), "recipients must be a list"),
        (REPORT + "template: templates/fehlt.txt", "no mail template templates/fehlt.txt"),
    ],
)
def test_report_scenarios_3_to_5_refuse(
    failures: Bench, mailbox: Mailbox, data: str | None, complaint: str
) -> None:
    with pytest.raises(JobFailed, match=complaint):
        failures.run(FailedBackgroundJobsReport, data)
    assert mailbox.messages == []


def test_report_scenario_6_refused(failures: Bench, mailbox: Mailbox) -> None:
    result = failures.run(FailedBackgroundJobsReport, REPORT.replace("b@x.de", "refuse@x.de"))
    # a success in the original
    assert result.failed and "refuse@x.de: 550" in str(result.error)
    assert failures.column("SELECT status FROM email_journal") == ["send_failed"]


def test_report_with_a_template(failures: Bench, mailbox: Mailbox) -> None:
    text = "[% FOREACH e IN SELF.entries %][% e.package_name %]: [% e.error_col %];[% END %]"
    _template(failures, "templates/fehler.txt", text)
    failures.run(FailedBackgroundJobsReport, REPORT + "template: templates/fehler.txt")
    assert _body(mailbox, 0).strip() == "Aelter: ganz\nkaputt;Neuer: kaputt;"


def test_report_of_an_older_release(failures: Bench, mailbox: Mailbox) -> None:
    failures.execute("ALTER TABLE background_job_histories DROP COLUMN description")
    assert failures.run(FailedBackgroundJobsReport, REPORT) == JobResult("1")
    assert "Neuer" in _body(mailbox, 0)
