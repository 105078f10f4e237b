"""Mails of recurring invoices against real SMTP servers, good ones and bad ones (section 8.3)."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable

import pytest
from company import CUSTOMER, PDF, SENDER, Company, FixedPdf
from mail_peer import Mailbox, free_port, scripted_server, smtp_server

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import JobResult
from kivitendo_task_server.jobs.periodic_invoices.delivery import (
    mailing,
    queue,
    repeat_deliveries,
)

FIRST_TEXT = "E-Mail-Versand von wiederkehrender Rechnung 1 schlug fehl: "


def recipients(mailbox: Mailbox) -> list[str]:
    return [address for envelope in mailbox.envelopes for address in envelope.rcpt_tos]


def repeat(company: Company, ids: list[int] | None = None) -> list[str]:
    """``deliveries --retry``; the errors."""
    report = repeat_deliveries(company.context(), ids, make_renderer=lambda *_: FixedPdf())
    return report.errors("de")


# ---- a server that works


def test_an_accepted_mail(served: Company, mailbox: Mailbox) -> None:
    result = served.run()
    assert not result.failed and "1 invoices mailed:\n1" in (result.text or "")
    assert served.deliveries() == [("1", CUSTOMER, "sent", 1)]
    [message] = mailbox.messages
    assert (message["To"], message["Subject"]) == (CUSTOMER, "Rechnung 1")
    [attachment] = message.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("Rechnung 1.pdf", PDF)
    assert served.journal() == [(CUSTOMER, "sent")]
    assert served.rows(
        "SELECT count(*) FROM record_links JOIN ar ON ar.id = from_id AND from_table = 'ar'"
        " JOIN email_journal ON email_journal.id = to_id AND to_table = 'email_journal'"
    ) == [(1,)]


BODY = "<%current_month_long%> &lt;%current_month_long%&gt; <%invnumber%>."


@pytest.mark.parametrize(
    ("release", "subject", "kind", "body"),
    [
        ("3_5_6", "Rechnung  vom 01.03.2026", "text/plain",
         "März &lt;%current_month_long%&gt; ."),
        ("3_5_7", "Rechnung 1 vom 01.03.2026", "text/plain",
         "März &lt;%current_month_long%&gt; 1."),
        ("3_6_0", "Rechnung 1 vom 01.03.2026", "text/html",
         "<%current_month_long%> März <%invnumber%>.<p>Grüße</p>"),
    ],
)  # fmt: skip
def test_mails_of_earlier_releases(
    served: Company, mailbox: Mailbox, release: str, subject: str, kind: str, body: str
) -> None:
    """Bodies were plain text up to 3.5, and the invoice's columns unknown up to 3.5.6 (1.10)."""
    served.execute(
        "DELETE FROM schema_info; INSERT INTO schema_info (tag) VALUES (%s)", [f"release_{release}"]
    )
    served.set("defaults", signature="<p>Grüße</p>")
    wanted = "Rechnung <%invnumber%> vom <%period_start_date%>"
    served.set_configs(email_subject=wanted, email_body=BODY)
    assert not served.run().failed
    [message] = mailbox.messages
    part = message.get_body()
    assert part is not None
    found = (message["Subject"], part.get_content_type(), part.get_content().strip())
    assert found == (subject, kind, body)


def test_a_second_run_sends_nothing(served: Company, mailbox: Mailbox) -> None:
    served.run()
    assert served.run() == JobResult("nothing was due")
    assert len(mailbox.envelopes) == 1


def test_what_is_delivered_is_forgotten_in_the_end(served: Company) -> None:
    served.run()
    for age, left in ((queue.KEPT_DAYS - 1, 1), (queue.KEPT_DAYS + 1, 0)):
        served.execute(
            "UPDATE kivitendo_task_server.deliveries"
            "   SET changed_at = now() - make_interval(days => %s)",
            [age],
        )
        served.run()
        assert len(served.deliveries()) == left


@pytest.mark.parametrize(
    ("client", "order", "sender"),
    [
        ("Kasse <kasse@firma.example>", SENDER, "Kasse <kasse@firma.example>"),
        ("", SENDER, SENDER),
        (None, SENDER, SENDER),
        (" ", None, "dienst@firma.example"),
        ("", "", "dienst@firma.example"),
    ],
)
def test_whose_mail_it_is(
    served: Company, mailbox: Mailbox, client: str | None, order: str | None, sender: str
) -> None:
    """The client's setting comes first, then the order's, then that of the file (8.3)."""
    served.set("defaults", email_sender_invoice=client)
    served.set_configs(email_sender=order)
    served.configure(email_from="dienst@firma.example")
    assert not served.run().failed
    [message] = mailbox.messages
    assert message["From"] == sender


def test_texts_that_are_null(served: Company, mailbox: Mailbox) -> None:
    served.set("defaults", signature=None, global_bcc=None)
    served.set_configs(email_subject=None, email_body=None)
    assert not served.run().failed
    [message] = mailbox.messages
    body = message.get_body()
    assert body is not None
    assert (message["Subject"], body.get_content(), message["Bcc"]) == ("", "", None)
    assert served.rows("SELECT subject, body FROM email_journal") == [("", "")]


# ---- recipients who are refused


def test_one_refused_recipient_does_not_touch_the_other(served: Company, mailbox: Mailbox) -> None:
    served.set_configs(email_recipient_address="refuse@a.example, b@b.example")
    result = served.run()
    assert (result.error or "").startswith(FIRST_TEXT + "refuse@a.example: ")
    assert "550 5.1.1 no such mailbox" in (result.error or "")
    assert recipients(mailbox) == ["b@b.example"]
    assert served.deliveries() == [
        ("1", "refuse@a.example", "failed", 1),
        ("1", "b@b.example", "sent", 1),
    ]
    assert served.journal() == [("refuse@a.example", "send_failed"), ("b@b.example", "sent")]
    # the server has said no: the next run leaves it alone
    assert not served.run().failed
    assert len(served.journal()) == 2


def test_a_corrected_address_gets_the_mail_on_demand(served: Company, mailbox: Mailbox) -> None:
    served.set_configs(email_recipient_address="refuse@a.example")
    served.run()
    served.set_configs(email_recipient_address="right@a.example")
    assert repeat(served) == []
    assert recipients(mailbox) == ["right@a.example"]
    assert served.deliveries() == [("1", "right@a.example", "sent", 1)]


def test_not_now_is_repeated_by_the_next_run(served: Company, mailbox: Mailbox) -> None:
    mailbox.failures = 1
    result = served.run()
    assert "451 4.3.0 busy" in (result.error or "")
    assert served.deliveries() == [("1", CUSTOMER, "pending", 1)]
    result = served.run()
    assert not result.failed and len(mailbox.envelopes) == 1
    assert served.deliveries() == [("1", CUSTOMER, "sent", 2)]
    assert served.journal() == [(CUSTOMER, "send_failed"), (CUSTOMER, "sent")]


def test_a_refused_blind_copy_is_told_and_nothing_is_repeated(
    served: Company, mailbox: Mailbox
) -> None:
    served.set("defaults", global_bcc="refuse@firma.example")
    assert "no such mailbox" in (served.run().error or "")
    assert served.deliveries() == [("1", CUSTOMER, "sent", 1)]
    served.run()
    assert recipients(mailbox) == [CUSTOMER]


def test_without_a_sender_nothing_leaves(served: Company, mailbox: Mailbox) -> None:
    served.set_configs(email_sender="")
    assert "there is no sender address" in (served.run().error or "")
    assert (served.deliveries(), mailbox.envelopes) == ([("1", CUSTOMER, "pending", 1)], [])


# ---- servers that go away


def test_a_server_that_is_down(company: Company, mailbox: Mailbox) -> None:
    port = free_port()
    company.mail_to_port(port)
    company.add_order(1)
    result = company.run()
    assert "Connection refused" in (result.error or "")
    assert company.rows("SELECT count(*) FROM ar") == [(1,)]
    assert company.deliveries() == [("1", CUSTOMER, "pending", 1)]
    with smtp_server(mailbox, port=port):
        assert not company.run().failed
    assert recipients(mailbox) == [CUSTOMER]


@pytest.mark.parametrize(
    "answers",
    [
        [None],
        [b"250 hi\r\n", None],
        [b"250 hi\r\n", b"250 ok\r\n", None],
        [b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", None],
    ],
    ids=["greeting", "MAIL", "RCPT", "DATA"],
)
def test_closed_before_the_mail(
    company: Company,
    mailbox: Mailbox,
    answers: list[bytes | None],
) -> None:
    company.add_order(1)
    with scripted_server(*answers) as port:
        company.mail_to_port(port)
        assert company.run().failed
    assert company.deliveries() == [("1", CUSTOMER, "pending", 1)]
    with smtp_server(mailbox) as port:
        company.mail_to_port(port)
        assert not company.run().failed
    assert recipients(mailbox) == [CUSTOMER]


def test_closed_after_the_mail_is_never_repeated_unasked(
    company: Company,
    mailbox: Mailbox,
) -> None:
    company.add_order(1)
    script = [b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", None]
    with scripted_server(*script) as port:
        company.mail_to_port(port)
        assert "no answer after the whole mail was sent" in (company.run().error or "")
    assert company.deliveries() == [("1", CUSTOMER, "ambiguous", 1)]
    assert company.journal() == [(CUSTOMER, "send_failed")]
    with smtp_server(mailbox) as port:
        company.mail_to_port(port)
        assert not company.run().failed
        assert repeat(company) == []  # without a number
        assert mailbox.envelopes == []
        [(number,)] = company.rows("SELECT id FROM kivitendo_task_server.deliveries")
        assert repeat(company, [number]) == []
    assert recipients(mailbox) == [CUSTOMER]
    assert company.deliveries() == [("1", CUSTOMER, "sent", 1)]


def test_in_the_end_it_is_given_up(company: Company) -> None:
    company.mail_to_port(free_port())
    company.add_order(1)
    for _ in range(queue.MAX_ATTEMPTS):
        assert company.run().failed
    assert company.deliveries() == [("1", CUSTOMER, "failed", queue.MAX_ATTEMPTS)]
    assert not company.run().failed


# ---- kill -9


def run_and_die(company: Company, where: Callable[[], None]) -> None:
    """Run the job in a process of its own that kills itself by SIGKILL.

    ``where`` arms that, in the process.
    """

    def work() -> None:
        where()
        own = Company(company.kivitendo, company.database, company.settings)
        company.kivitendo.reconnect()  # the parent's connection is not to be shared
        own.run(lambda *_: FixedPdf() if where is not die_at_rendering else DyingRenderer())

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingRenderer(FixedPdf):
    def for_mail(self, invoice: object) -> bytes:
        die()
        raise AssertionError


def die_at_rendering() -> None:
    """Between the invoice's commit and its mail."""


def die_before_the_handover() -> None:
    mailing.deliver = die  # type: ignore[assignment]


def die_after_the_answer() -> None:
    mailing.judgement = die  # type: ignore[assignment]


@pytest.mark.parametrize("where", [die_at_rendering, die_before_the_handover])
def test_killed_between_commit_and_mail(
    served: Company, mailbox: Mailbox, where: Callable[[], None]
) -> None:
    run_and_die(served, where)
    assert served.rows("SELECT count(*) FROM ar") == [(1,)]
    assert mailbox.envelopes == []
    assert not served.run().failed
    assert not served.run().failed
    assert served.rows("SELECT count(*) FROM ar") == [(1,)]
    assert recipients(mailbox) == [CUSTOMER]


def test_killed_after_the_server_accepted(served: Company, mailbox: Mailbox) -> None:
    run_and_die(served, die_after_the_answer)
    assert recipients(mailbox) == [CUSTOMER]
    result = served.run()
    assert "whether it arrived is not known" in (result.error or "")
    assert served.deliveries() == [("1", CUSTOMER, "ambiguous", 0)]
    assert not served.run().failed  # said once
    assert recipients(mailbox) == [CUSTOMER]


# ---- what changes meanwhile


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE ar SET storno = true", "the invoice has been cancelled"),
        ("DELETE FROM ar", "the invoice has been deleted"),
        ("DELETE FROM periodic_invoices_configs", "the configuration has been deleted"),
        ("UPDATE periodic_invoices_configs SET send_email = false", "switched off"),
        ("UPDATE periodic_invoices_configs SET email_recipient_address = ' , '", "no recipient"),
    ],
)
def test_what_is_not_wanted_any_more_is_dropped(
    company: Company,
    mailbox: Mailbox,
    change: str,
    reason: str,
) -> None:
    company.mail_to_port(free_port())
    company.add_order(1)
    company.run()
    company.execute(change)
    with smtp_server(mailbox) as port:
        company.mail_to_port(port)
        repeat(company)
    assert [row[2] for row in company.deliveries()] == ["dropped"]
    assert reason in (company.reasons()[0] or "")
    assert mailbox.envelopes == []


def test_a_journal_that_refuses_does_not_repeat_the_mail(served: Company, mailbox: Mailbox) -> None:
    served.execute("ALTER TABLE email_journal ADD CONSTRAINT full_up CHECK (false)")
    try:
        assert "journal refuses it" in (served.run().error or "")
        assert served.deliveries() == [("1", CUSTOMER, "sent", 1)]
        served.run()
    finally:
        served.execute("ALTER TABLE email_journal DROP CONSTRAINT full_up")
    assert recipients(mailbox) == [CUSTOMER]


def test_a_bad_pattern_in_one_mail_stops_no_other(served: Company, mailbox: Mailbox) -> None:
    served.set_configs(email_subject="<%current_month format=%Q%>")
    served.add_order(2)
    assert FIRST_TEXT in (served.run().error or "")
    assert [message["Subject"] for message in mailbox.messages] == ["Rechnung 2"]


def test_a_fault_of_this_program_stops_no_other_delivery(served: Company, mailbox: Mailbox) -> None:
    served.add_order(2)

    class Faulty(FixedPdf):
        def for_mail(self, invoice: object) -> bytes:
            return PDF if invoice.number == "2" else {}["nothing"]  # type: ignore[attr-defined]

    assert "KeyError" in (served.run(lambda *_: Faulty()).error or "")
    assert [row[:3] for row in served.deliveries()] == [
        ("1", "", "pending"),
        ("2", CUSTOMER, "sent"),
    ]


def test_an_invoice_that_was_not_posted_has_no_delivery(served: Company) -> None:
    served.add_order(2, order={"customer_id": None})
    assert served.run().failed
    assert [row[0] for row in served.deliveries()] == ["1"]


def test_two_at_once(served: Company, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "LOCK_TIMEOUT", "200ms")
    other = served.kivitendo.another_connection()
    with queue.exclusive(other, wait=False):
        result = served.run()
        assert "another process is delivering" in (result.error or "")
        assert served.rows("SELECT count(*) FROM ar") == [(1,)]
        assert any("another process" in error for error in repeat(served))
        assert mailbox.envelopes == []
    other.close()
    assert not served.run().failed
    assert recipients(mailbox) == [CUSTOMER]


def test_a_pdf_that_cannot_be_made(served: Company, mailbox: Mailbox) -> None:
    class Failing(FixedPdf):
        def for_mail(self, invoice: object) -> bytes:
            raise JobFailed("LaTeX is missing", remedy="install it")

    error, done = (served.run(lambda *_: Failing()).error or "").split("\n\n")
    assert error == FIRST_TEXT + "LaTeX is missing (install it)"
    assert done.startswith("1 invoices posted:\n1: order AB-1")
    assert served.deliveries() == [("1", "", "pending", 1)]
    assert served.reasons() == ["LaTeX is missing (install it)"]
    assert served.journal() == []
    assert not served.run().failed
    assert served.deliveries() == [("1", CUSTOMER, "sent", 1)]
