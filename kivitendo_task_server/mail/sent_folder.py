"""A copy of each sent mail in an IMAP folder (task-server.md, a.5, ``[sent_emails_in_imap]``).

In the original a failure here makes the mail count as failed although it is out; here it is told,
and nothing else.
"""

from __future__ import annotations

import imaplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.message import EmailMessage

from kivitendo_task_server.config.parsers import NotAllowed, switch
from kivitendo_task_server.config.settings import MailDelivery
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.mail.message import serialised
from kivitendo_task_server.mail.smtp import verifies_certificate

SECTION = "sent_emails_in_imap"
TIMEOUT = 30.0  # seconds for each answer


@dataclass(frozen=True)
class SentFolder:
    """Where the copies go."""

    host: str
    port: int
    ssl: bool
    username: str
    password: str = field(repr=False)
    folder: str


def sent_folder(
    sections: Mapping[str, Mapping[str, str]], sender: str, user_email: str
) -> SentFolder | None:
    """The folder for mails of this sender: by its own section, by the user's, or for all.

    None if there is none or it is not enabled. Raises TaskServerError for unusable values.
    """
    for name in (f"{SECTION}/email/{sender}", f"{SECTION}/email/{user_email}", SECTION):
        if name in sections:
            return _parsed(name, sections[name])
    return None


def _parsed(section: str, values: Mapping[str, str]) -> SentFolder | None:
    try:
        if not switch(values.get("enabled", ""), lambda _: None):
            return None
        secure = switch(values.get("ssl") or "1", lambda _: None)
        return SentFolder(
            host=values.get("hostname") or "localhost",
            port=int(values.get("port") or (993 if secure else 143)),
            ssl=secure,
            username=values.get("username", ""),
            password=values.get("password", ""),
            folder=values.get("folder") or "Sent/Kivitendo",
        )
    except (NotAllowed, ValueError) as error:
        raise TaskServerError(str(error), where=f"[{section}]") from error


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
            where=f"[{SECTION}] {target.host}:{target.port}",
            remedy="correct the section, or switch it off",
        ) from error


def _connect(target: SentFolder) -> imaplib.IMAP4:
    if not target.ssl:
        return imaplib.IMAP4(target.host, target.port, timeout=TIMEOUT)
    context = ssl.create_default_context()
    if not verifies_certificate(replace(MailDelivery(), host=target.host)):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return imaplib.IMAP4_SSL(target.host, target.port, ssl_context=context, timeout=TIMEOUT)


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
