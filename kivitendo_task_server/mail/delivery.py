"""Which way a mail leaves, and sending it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from email.message import EmailMessage

from kivitendo_task_server.config.settings import MailDelivery, Settings
from kivitendo_task_server.mail.message import Mail, compose
from kivitendo_task_server.mail.outcome import Outcome, all_refused
from kivitendo_task_server.mail.sendmail import send_by_sendmail
from kivitendo_task_server.mail.smtp import send_by_smtp

TIMEOUT = 60.0  # seconds: for each answer of an SMTP server, or for the sendmail program


def delivery_settings(settings: Settings, user_email: str) -> MailDelivery:
    """``[mail_delivery/email/ADDRESS]`` of the task server user's address, if there is one.

    It replaces ``[mail_delivery]`` completely (task-server.md, a.5).
    """
    return settings.mail_by_address.get(user_email, settings.mail)


def deliver(
    settings: MailDelivery,
    message: EmailMessage,
    *,
    sender: str,
    recipients: Sequence[str],
    timeout: float = TIMEOUT,
    before_handover: Callable[[], None] = lambda: None,
) -> Outcome:
    """Make one attempt to hand ``message`` over; ``sender`` and ``recipients`` are its envelope.

    ``before_handover`` is called at the last moment at which certainly nothing was delivered; if
    it raises, nothing is. Whatever the server, the network or the program does is told in the
    outcome, never raised.
    """
    if settings.method == "smtp":
        return send_by_smtp(settings, message, sender, recipients, timeout, before_handover)
    if settings.method == "sendmail":
        return send_by_sendmail(settings, message, sender, recipients, timeout, before_handover)
    return all_refused(
        recipients, "no mails are sent: [mail_delivery] method is empty", permanent=True
    )


def send(
    settings: MailDelivery, mail: Mail, now: datetime, *, timeout: float = TIMEOUT
) -> tuple[EmailMessage, Outcome]:
    """Compose and deliver. Raises AddressError if an address is faulty or there is none."""
    message = compose(mail, now)
    outcome = deliver(
        settings,
        message,
        sender=mail.envelope_sender(),
        recipients=mail.recipients(),
        timeout=timeout,
    )
    return message, outcome
