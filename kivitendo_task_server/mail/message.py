"""From the parts of a mail to the message that goes over the wire."""

from __future__ import annotations

import quopri
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Literal

from kivitendo_task_server import __version__
from kivitendo_task_server.mail.addresses import AddressError, addresses_or_none, parse_addresses


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a mail."""

    name: str
    mime_type: str
    content: bytes


@dataclass(frozen=True)
class Mail:
    """A mail before it is composed; addresses are texts as the users typed them."""

    sender: str
    to: str
    subject: str
    body: str
    content_type: Literal["text/plain", "text/html"] = "text/plain"
    cc: str = ""
    bcc: str = ""
    attachments: tuple[Attachment, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers, for instance Auto-Submitted."""

    def recipients(self) -> list[str]:
        """The bare addresses of to, cc and bcc, in this order, each once.

        Raises AddressError.
        """
        found = [
            address.addr_spec
            for text in (self.to, self.cc, self.bcc)
            for address in addresses_or_none(text)
        ]
        return list(dict.fromkeys(found))

    def envelope_sender(self) -> str:
        """The bare address of the sender. Raises AddressError."""
        return parse_addresses(self.sender, where="sender")[0].addr_spec


def compose(mail: Mail, now: datetime) -> EmailMessage:
    """The message, with a Bcc header if there is a bcc; ``now`` (aware) becomes its date.

    Raises AddressError for a text that is no list of addresses, and if there is no recipient.
    """
    message = EmailMessage(policy=SMTP)
    sender = parse_addresses(mail.sender, where="sender")
    message["From"] = sender[0]
    for name, text in (("To", mail.to), ("Cc", mail.cc), ("Bcc", mail.bcc)):
        if addresses := addresses_or_none(text):
            message[name] = addresses
    if not mail.recipients():
        raise AddressError("the mail has no recipient")
    message["Subject"] = _one_line(mail.subject)
    message["Date"] = format_datetime(now)
    domain = sender[0].domain
    message["Message-ID"] = make_msgid("kivitendo-task-server", domain=domain)
    message["X-Mailer"] = f"kivitendo-task-server {__version__}"
    for name, value in mail.headers.items():
        message[name] = _one_line(value)
    _set_text(message, mail.body, mail.content_type)
    for attachment in mail.attachments:
        main_type, _, sub_type = attachment.mime_type.partition("/")
        message.add_attachment(
            attachment.content,
            maintype=main_type,
            subtype=sub_type or "octet-stream",
            filename=_one_line(attachment.name),
        )
    return message


def header_lines(message: EmailMessage) -> str:
    """The header as sent, lines separated by CR LF, without Bcc; kivitendo's journal keeps it."""
    block = serialised(message).partition(b"\r\n\r\n")[0]
    return block.decode("utf-8", "replace")


def serialised(
    message: EmailMessage, *, with_bcc: bool = False, international: bool = False
) -> bytes:
    """The message's bytes, lines ending with CR LF.

    ``international`` leaves headers in UTF-8, for servers with SMTPUTF8 and addresses that need
    it.
    """
    bcc = message.get_all("Bcc", [])
    if not with_bcc:
        del message["Bcc"]
    try:
        return message.as_bytes(policy=SMTP.clone(utf8=international))
    finally:
        if not with_bcc:
            for value in bcc:
                message["Bcc"] = value


def _set_text(message: EmailMessage, text: str, content_type: str) -> None:
    """The body as quoted-printable.

    Unlike with the library's own way no line break is added to it, and no line consists of a
    single dot, at which a sendmail program without ``-i`` would stop reading.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    message["MIME-Version"] = "1.0"
    message["Content-Type"] = f'{content_type}; charset="utf-8"'
    message["Content-Transfer-Encoding"] = "quoted-printable"
    message.set_payload(quopri.encodestring(lines.encode("utf-8", "replace")).decode("ascii"))


def _one_line(text: str) -> str:
    """A header's value without line breaks, which would begin another header."""
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029\x85]+", " ", text).strip()
