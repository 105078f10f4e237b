"""A copy of each sent mail in an IMAP folder (task-server.md, a.5, ``[sent_emails_in_imap]``).

In the original a failure here makes the mail count as failed although it is out; here it is told,
and nothing else.
"""

from __future__ import annotations

import imaplib
import ssl
from dataclasses import replace
from datetime import datetime
from email.message import EmailMessage

from kivitendo_task_server.config.settings import MailDelivery, SentFolder, Settings
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.mail.message import serialised
from kivitendo_task_server.mail.smtp import verifies_certificate

SECTION = "sent_emails_in_imap"
TIMEOUT = 30.0  # seconds for each answer


def sent_folder(settings: Settings, sender: str, user_email: str) -> SentFolder | None:
    """The folder for mails of this sender: by its own section, by the user's, or for all.

    None if there is none or it is not enabled.
    """
    own = settings.sent_folder_by_address
    found = own.get(sender) or own.get(user_email) or settings.sent_folder
    return found if found.enabled else None


def keep_copy(target: SentFolder, message: EmailMessage, sent_on: datetime) -> None:
    """Append the message, seen; the folder is made if need be. Raises TaskServerError.

    ``sent_on`` must be aware.
    """
    try:
        server = _connect(target)
        try:
            server.login(target.username, target.password)
            folder = _quoted(target.folder.replace("/", _delimiter(server)))
            data = serialised(message, with_bcc=True)
            if _append(server, folder, data, sent_on) != "OK":
                server.create(folder)
                if _append(server, folder, data, sent_on) != "OK":
                    raise imaplib.IMAP4.error("the server does not take it")
        finally:
            server.shutdown()
    except (OSError, imaplib.IMAP4.error, UnicodeError) as error:
        text = str(error).replace(target.password, "***") if target.password else str(error)
        raise TaskServerError(
            f"no copy in the folder {target.folder}: {' '.join(text.split())}",
            where=f"[{SECTION}] {target.hostname}:{_port(target)}",
            remedy="correct the section, or switch it off",
        ) from error


def _connect(target: SentFolder) -> imaplib.IMAP4:
    if not target.ssl:
        return imaplib.IMAP4(target.hostname, _port(target), timeout=TIMEOUT)
    context = ssl.create_default_context()
    if not verifies_certificate(replace(MailDelivery(), host=target.hostname)):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return imaplib.IMAP4_SSL(target.hostname, _port(target), ssl_context=context, timeout=TIMEOUT)


def _port(target: SentFolder) -> int:
    return target.port or (993 if target.ssl else 143)


def _append(server: imaplib.IMAP4, folder: str, data: bytes, sent_on: datetime) -> str:
    return server.append(folder, r"(\Seen)", imaplib.Time2Internaldate(sent_on), data)[0]


def _delimiter(server: imaplib.IMAP4) -> str:
    """What separates folders from their parents on this server."""
    _, answers = server.list('""', '""')
    line = answers[0] if answers else None
    parts = line.decode("ascii", "replace").split('"') if isinstance(line, bytes) else []
    return parts[1] if len(parts) > 2 and len(parts[1]) == 1 else "/"


def _quoted(folder: str) -> str:
    """A mailbox name as IMAP writes it: modified UTF-7, in quotes."""
    encoded = ""
    pending = ""
    for character in folder + "\0":
        if not "\x20" <= character <= "\x7e" and character != "\0":
            pending += character
            continue
        if pending:
            base64 = pending.encode("utf-7").decode("ascii")
            encoded += "&" + base64[1:].rstrip("-").replace("/", ",") + "-"
            pending = ""
        encoded += {"&": "&-", "\0": ""}.get(character, character)
    return '"' + encoded.replace("\\", "\\\\").replace('"', '\\"') + '"'
