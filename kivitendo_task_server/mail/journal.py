"""What kivitendo's journal keeps of a mail."""

from __future__ import annotations

from datetime import datetime
from email.message import EmailMessage

from kivitendo_task_server.database.email_journal import JournalAttachment, JournalEntry
from kivitendo_task_server.mail.addresses import AddressError
from kivitendo_task_server.mail.message import Mail, header_lines
from kivitendo_task_server.mail.outcome import Outcome


def journal_entry(
    mail: Mail, message: EmailMessage, outcome: Outcome, *, login: str, now: datetime
) -> JournalEntry:
    """The entry of an attempt to deliver ``mail``, which was composed to ``message``."""
    return JournalEntry(
        login=login,
        sender=mail.sender,
        recipients=", ".join(mail.recipients()),
        subject=mail.subject,
        body=mail.body,
        headers=header_lines(message),
        sent_on=now.replace(tzinfo=None),
        sent=outcome.sent,
        extended_status=outcome.answer,
        attachments=tuple(
            JournalAttachment(a.name, a.mime_type, a.content) for a in mail.attachments
        ),
    )


def unsendable_entry(mail: Mail, error: AddressError, *, login: str, now: datetime) -> JournalEntry:
    """The entry of a mail that could not be composed: failed, without recipients.

    recurring-invoices.md, addendum 4; its attachments are not kept.
    """
    return JournalEntry(
        login=login,
        sender=mail.sender,
        recipients="",
        subject=mail.subject,
        body=mail.body,
        headers="",
        sent_on=now.replace(tzinfo=None),
        sent=False,
        extended_status=str(error),
    )
