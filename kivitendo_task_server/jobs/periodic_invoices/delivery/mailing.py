"""The mail of one invoice to one recipient, and its way from "pending" to "sent" (8.3).

What must never happen is a second mail after a server has accepted the first. So "sending" is
stored before the mail is handed over, and what became of it, with kivitendo's journal row, right
after; a process that dies in between leaves "sending" behind, and nobody sends that again unasked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal

import psycopg2

from kivitendo_task_server.database.connection import Connection, one_line
from kivitendo_task_server.database.email_journal import record
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.interface import JobContext
from kivitendo_task_server.jobs.periodic_invoices.behaviour import Behaviour
from kivitendo_task_server.jobs.periodic_invoices.delivery.documents import attachment_name
from kivitendo_task_server.jobs.periodic_invoices.delivery.invoice import (
    Invoice,
    Row,
    mail_values,
)
from kivitendo_task_server.jobs.periodic_invoices.delivery.queue import (
    Delivery,
    Queue,
    State,
    set_state,
)
from kivitendo_task_server.jobs.periodic_invoices.periods import period_end
from kivitendo_task_server.jobs.periodic_invoices.wording import (
    Variable,
    Wording,
    period_variables,
)
from kivitendo_task_server.log import fields
from kivitendo_task_server.mail import (
    AddressError,
    Attachment,
    Mail,
    Outcome,
    compose,
    deliver,
    delivery_settings,
)
from kivitendo_task_server.mail.journal import journal_entry, unsendable_entry
from kivitendo_task_server.mail.sent_folder import keep_copy, sent_folder


@dataclass(frozen=True)
class Text:
    """Subject and body, the same for all recipients of an invoice."""

    subject: str
    body: str
    content_type: Literal["text/plain", "text/html"] = "text/html"


def mail_text(
    context: JobContext,
    behaviour: Behaviour,
    invoice: Invoice,
    defaults: Row,
    exact: Mapping[str, str],
) -> Text:
    """Subject and body with their variables replaced (3.5); the client's signature follows.

    Up to release 3.5 bodies are plain text without a signature (1.10). Raises TaskServerError for
    a pattern that means nothing.
    """
    user = context.tenant.user
    end = period_end(
        invoice.terms, invoice.period, one_time_uses_value=behaviour.one_time_uses_value
    )
    columns: dict[str, Variable] = {}
    if behaviour.invoice_columns_in_mails:
        columns = {name: Variable(text) for name, text in mail_values(invoice, exact).items()}
    wording = Wording(
        columns | period_variables(invoice.period, end, user),
        english=user.countrycode == "en",
        drop_unknown=behaviour.drop_unknown_variables,
    )
    subject, body = (invoice.config.get(name) for name in ("email_subject", "email_body"))
    if not behaviour.html_mails:
        return Text(wording.text(subject), wording.text(body), "text/plain")
    return Text(wording.text(subject), wording.html(body) + (defaults.get("signature") or ""))


def sender(context: JobContext, invoice: Invoice, defaults: Row) -> str:
    """Whose mail it is: the client's setting, the configuration's, the file's (8.3).

    Raises TaskServerError if there is none.
    """
    found = (
        (defaults.get("email_sender_invoice") or "").strip()
        or (invoice.config.get("email_sender") or "").strip()
        or context.settings.periodic_invoices.email_from.strip()
    )
    if not found:
        raise TaskServerError(
            "there is no sender address",
            where="[periodic_invoices] email_from",
            remedy="set it there, in the order's configuration, or in the client's",
        )
    return found


class Mailer:
    """Sends the mails of one tenant's invoices."""

    def __init__(self, context: JobContext, queue: Queue) -> None:
        self._context = context
        self._connection: Connection = context.connection
        self._queue = queue

    def send(
        self, delivery: Delivery, invoice: Invoice, text: Text, pdf: bytes, defaults: Row
    ) -> str | None:
        """One attempt. Returns what went wrong, or None if everybody's copy was accepted."""
        mail = Mail(
            sender=sender(self._context, invoice, defaults),
            to=delivery.recipient,
            bcc=defaults.get("global_bcc") or "",
            subject=text.subject,
            body=text.body,
            content_type=text.content_type,
            attachments=(
                Attachment(
                    attachment_name(invoice, self._context.tenant.user.countrycode),
                    "application/pdf",
                    pdf,
                ),
            ),
        )
        user, now = self._context.tenant.user, self._context.clock.now()
        try:
            message = compose(mail, now)
            envelope = mail.envelope_sender(), mail.recipients()
        except AddressError as error:
            with self._connection, self._connection.cursor() as cursor:
                entry = unsendable_entry(mail, error, login=user.login, now=now)
                record(self._connection, entry, linked_from=("ar", invoice.id))
                set_state(cursor, delivery, "failed", str(error), attempted=True)
            return str(error)
        outcome = deliver(
            delivery_settings(self._context.settings, user.email),
            message,
            sender=envelope[0],
            recipients=envelope[1],
            before_handover=lambda: self._queue.set(delivery, "sending"),
        )
        state, reason = judgement(outcome, envelope[1][0])
        entry = journal_entry(mail, message, outcome, login=user.login, now=now)
        try:
            with self._connection, self._connection.cursor() as cursor:
                record(self._connection, entry, linked_from=("ar", invoice.id))
                set_state(cursor, delivery, state, reason, attempted=True)
        except psycopg2.Error as error:
            if self._connection.closed:
                raise
            # the mail is out or not, whatever the journal says
            reason = f"{reason or 'sent'}, but kivitendo's journal refuses it: {one_line(error)}"
            with self._connection, self._connection.cursor() as cursor:
                set_state(cursor, delivery, state, reason, attempted=True)
        if state == "sent":
            self._keep_copy(mail, message)
        return reason

    def _keep_copy(self, mail: Mail, message: EmailMessage) -> None:
        """Put a copy where the settings want one; that it failed is a matter for the log."""
        user = self._context.tenant.user
        try:
            folder = sent_folder(self._context.settings, mail.sender, user.email)
            if folder is not None:
                keep_copy(folder, message, self._context.clock.now())
        except TaskServerError as error:
            self._context.log.warning("%s", error, extra=fields("sent_copy_failed"))


def judgement(outcome: Outcome, recipient: str) -> tuple[State, str | None]:
    """The state after an attempt to send to ``recipient`` and perhaps others (bcc), and why.

    Once the recipient's copy is accepted the mail is out, whatever became of the others'.
    """
    if recipient in outcome.accepted:
        return "sent", outcome.answer if outcome.refused else None
    if outcome.uncertain:
        return "ambiguous", outcome.answer
    refused = [refusal for refusal in outcome.refused if refusal.recipient == recipient]
    if refused and refused[0].permanent:
        return "failed", outcome.answer
    return "pending", outcome.answer
