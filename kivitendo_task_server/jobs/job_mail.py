"""Mails that jobs send: to whom, and what became of them.

These jobs write nothing but kivitendo's journal, so their mails may go out before the commit, and
their result can tell what became of them. A job that changes data mails after the commit instead
(:meth:`JobContext.after_commit`).
"""

from __future__ import annotations

from contextlib import closing

from kivitendo_task_server.database.email_journal import record
from kivitendo_task_server.jobs.interface import JobContext
from kivitendo_task_server.mail import AddressError, Mail, delivery_settings, send
from kivitendo_task_server.mail.journal import journal_entry, unsendable_entry


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


def emails(context: JobContext, logins: list[str]) -> dict[str, str]:
    """Login -> address of those users who exist and have one that is not blank."""
    with closing(context.auth_connection()) as auth, auth, auth.cursor() as cursor:
        cursor.execute(
            """SELECT u.login, btrim(c.cfg_value)
               FROM auth."user" u
               JOIN auth.user_config c ON c.user_id = u.id AND c.cfg_key = 'email'
               WHERE u.login = ANY(%s) AND btrim(c.cfg_value) <> ''""",
            (logins,),
        )
        return dict(cursor.fetchall())


def address_of(context: JobContext, configured: str) -> str | None:
    """An address as it is, a login by its user's settings; None if that leads to none."""
    if "@" in configured:
        return configured
    return emails(context, [configured]).get(configured)
