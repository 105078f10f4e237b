"""Mails that jobs send: their text, to whom, and what became of them.

These jobs write nothing but kivitendo's journal, so their mails may go out before the commit, and
their result can tell what became of them. A job that changes data mails after the commit instead
(:meth:`JobContext.after_commit`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from kivitendo_task_server.database.email_journal import record
from kivitendo_task_server.database.users import emails_of
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import JobContext
from kivitendo_task_server.log import fields
from kivitendo_task_server.mail import AddressError, Mail, delivery_settings, send
from kivitendo_task_server.mail.journal import journal_entry, unsendable_entry
from kivitendo_task_server.template_toolkit import TemplateError, render_file

DEFAULT_SENDER = "kivitendo Daemon <root@localhost>"


@dataclass(frozen=True)
class Text:
    """The body of a mail."""

    body: str
    content_type: Literal["text/plain", "text/html"] = "text/plain"


def templated(
    context: JobContext,
    chosen: str | None,
    delivered: str,
    variables: Mapping[str, Any],
    *,
    must_show: Iterable[str],
) -> Text | None:
    """The text by the ``chosen`` template, or else by the one kivitendo delivers.

    Relative paths start in its directory. None if there is none, or if it cannot be used, which
    the log tells: the caller has a text of its own then. It cannot be used either if the result
    lacks what it ``must_show``: templates may ask kivitendo's objects for more than we know of,
    and what is not known is empty.
    """
    path = context.kivitendo_dir / (chosen or delivered)
    if not chosen and not path.is_file():
        return None
    try:
        body = render_file(path, variables)
        is_html = path.suffix == ".html"
        for needed in must_show:
            if needed not in body and not (is_html and escape(needed) in body):
                raise TemplateError(f"does not show {needed!r}", where=str(path))
    except TemplateError as error:
        context.log.warning(
            "a mail template is not used: %s", error, extra=fields("template_unusable")
        )
        return None
    return Text(body, "text/html" if is_html else "text/plain")


def template_of_data(context: JobContext, template: str) -> str:
    """A template that the job's data name, which anybody can write who may edit jobs.

    Raises JobFailed unless it is a file below kivitendo's ``templates``: it goes out by mail.
    """
    folder = (context.kivitendo_dir / "templates").resolve()
    path = (context.kivitendo_dir / template).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise JobFailed(
            f"there is no mail template {template}", remedy=f"name a file below {folder}"
        )
    return str(path)


def send_mail(context: JobContext, mail: Mail) -> str | None:
    """Send now and write the journal. What went wrong, on one line, or None; never raises."""
    user, now = context.tenant.user, context.clock.now()
    try:
        message, outcome = send(delivery_settings(context.settings, user.email), mail, now)
    except AddressError as error:
        record(context.connection, unsendable_entry(mail, error, login=user.login, now=now))
        return str(error)
    record(context.connection, journal_entry(mail, message, outcome, login=user.login, now=now))
    return None if outcome.sent else outcome.answer


def composed(sender: str, to: str, subject: str, text: Text, *, bcc: str = "") -> Mail:
    """A mail that says of itself that no person wrote it, so that nobody's absence is answered."""
    return Mail(
        sender=sender,
        to=to,
        subject=subject,
        body=text.body,
        content_type=text.content_type,
        bcc=bcc,
        headers={"Auto-Submitted": "auto-generated"},
    )


def emails(context: JobContext, logins: list[str]) -> dict[str, str]:
    """Login -> address of those users who exist and have one that is not blank."""
    with closing(context.auth_connection()) as auth, auth:
        return emails_of(auth, logins)


def address_of(context: JobContext, configured: str) -> str | None:
    """An address as it is, a login by its user's settings; None if that leads to none."""
    if "@" in configured:
        return configured
    return emails(context, [configured]).get(configured)
