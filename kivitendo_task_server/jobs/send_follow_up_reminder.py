"""SendFollowUpReminder: mails employees their due follow-ups (jobs.md, 1.14)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from urllib.parse import urljoin

from kivitendo_task_server.clock import today
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.dates import parse_user_date
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.jobs.job_mail import (
    DEFAULT_SENDER,
    Text,
    composed,
    emails,
    send_mail,
    template_of_data,
    templated,
)
from kivitendo_task_server.jobs.options import read_options, text
from kivitendo_task_server.jobs.periodic_invoices.date_format import in_user_format

SECTION = "follow_up_reminder"
SUBJECT = "kivitendo: fällige Wiedervorlagen"


@dataclass(frozen=True)
class _Words:
    open_ones: str
    day: str
    subject: str
    author: str
    by: str
    sent: str
    errors: str
    bad_date: str
    no_sender: str


_WORDS = {
    "de": _Words(
        "Nicht erledigte Wiedervorlagen", "Wiedervorlagedatum", "Betreff", "Erstellt von", "von",
        "Erinnerung an Wiedervorlagen versendet.", "Folgende Fehler sind aufgetreten:",
        "Kann das Datum nicht verarbeiten", "Es ist keine E-Mail-Absender-Adresse angegeben.",
    ),
    "en": _Words(
        "Open follow-ups", "Follow-up date", "Subject", "Created by", "by",
        "Follow-up reminders have been sent.", "The following errors occurred:",
        "Cannot parse the date", "No e-mail sender address is given.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """See docs/jobs.md; what is not given comes from ``[follow_up_reminder]``."""

    from_date: str | None = text()
    to_date: str = text("today")
    email_from: str | None = text()
    email_subject: str | None = text()
    email_template: str | None = text()
    base_url: str | None = text()


@dataclass(frozen=True)
class FollowUp:
    """One follow-up of one employee."""

    id: int
    day: date
    subject: str
    author: str
    login: str
    link: str | None


class SendFollowUpReminder(Job):
    """Reminds each employee by one mail of the follow-ups that are due and not done.

    Unlike kivitendo it works without ``base_url``, with mails without links, and its default
    schedule is every workday, as the original's comment says, not days 1 to 5 of the month.
    """

    name = "SendFollowUpReminder"
    default_schedule = "7 6 * * 1-5"
    summary = "reminds employees of their due follow-ups by mail"
    Options = Options

    def run(self, context: JobContext) -> JobResult:
        """A sentence in the user's language; a failure with all errors if a mail was refused."""
        options = read_options(Options, context.options)
        words = _WORDS[context.tenant.user.countrycode]
        section = context.settings.sections.get(SECTION, {})
        sender = options.email_from or section.get("email_from") or DEFAULT_SENDER
        if not sender.strip():
            raise JobFailed(words.no_sender)
        if options.email_template:
            template: str | None = template_of_data(context, options.email_template)
        else:
            template = section.get("email_template") or None
        found = _due(
            context,
            _date(context, options.from_date),
            _date(context, options.to_date),
            _checked_url(options.base_url or section.get("base_url") or ""),
        )
        addresses = emails(context, sorted({each.login for each in found}))
        subject = options.email_subject or section.get("email_subject") or SUBJECT
        bcc = _global_bcc(context)
        errors = []
        for login, to in sorted(addresses.items()):
            due = [each for each in found if each.login == login]
            mail = composed(sender, to, subject, _text(context, template, due), bcc=bcc)
            if problem := send_mail(context, mail):
                errors.append(f"{to}: {problem}")
        if errors:
            lines = [words.sent, words.errors, *errors]
            return JobResult(None, "\n".join(lines) + "\n")
        return JobResult(words.sent)


def _checked_url(given: str) -> str:
    if given and not re.fullmatch(r"https?://[\w.:-]+(/\S*)?", given):
        raise JobFailed(
            f"base_url is not the address of a web site: {given}",
            remedy="write it as https://example.com/kivitendo/",
        )
    return given


def _date(context: JobContext, given: str | None) -> date | None:
    if given is None:
        return None
    now = today(context.clock)
    if given in ("today", "yesterday"):
        return now if given == "today" else now - timedelta(days=1)
    user = context.tenant.user
    found = parse_user_date(given, user.dateformat)
    if found is None:
        raise JobFailed(
            f"{_WORDS[user.countrycode].bad_date}: {given}",
            remedy=f"write it as {user.dateformat} or YYYY-MM-DD, or today, or yesterday",
        )
    return found


def _due(
    context: JobContext, first: date | None, last: date | None, base_url: str
) -> list[FollowUp]:
    """The open follow-ups of the time, one for each employee, by date."""
    with context.connection.cursor() as cursor:
        cursor.execute(
            """SELECT f.id, f.follow_up_date, coalesce(note.subject, ''),
                      coalesce(author.name, author.login, ''), employee.login
               FROM follow_ups f
               JOIN notes note ON note.id = f.note_id
               JOIN employee author ON author.id = f.created_by
               JOIN follow_up_created_for_employees link ON link.follow_up_id = f.id
               JOIN employee ON employee.id = link.employee_id
               WHERE NOT EXISTS (SELECT 1 FROM follow_up_done d WHERE d.follow_up_id = f.id)
                 AND (%(first)s::date IS NULL OR f.follow_up_date >= %(first)s)
                 AND f.follow_up_date <= %(last)s
                 AND employee.deleted IS NOT TRUE AND employee.login IS NOT NULL
               ORDER BY f.follow_up_date, f.id""",
            {"first": first, "last": last},
        )
        rows = cursor.fetchall()
    return [
        FollowUp(
            number, day, subject, author, login,
            link=urljoin(base_url, f"fu.pl?action=edit&id={number}") if base_url else None,
        )
        for number, day, subject, author, login in rows
    ]  # fmt: skip


def _global_bcc(context: JobContext) -> str:
    with context.connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(global_bcc), '') FROM defaults")
        row = cursor.fetchone()
    return str(row[0]).strip() if row else ""


def _text(context: JobContext, template: str | None, due: list[FollowUp]) -> Text:
    """By the template if there is one, which then falls back to plain text; else HTML."""
    user = context.tenant.user
    words = _WORDS[user.countrycode]
    rows = [(in_user_format(each.day, user.dateformat), each) for each in due]
    if template is None:
        return Text(_html(words, rows), "text/html")
    variables = [
        {"id": f.id, "follow_up_date": day, "date": day, "subject": f.subject, "author": f.author,
         "link": f.link}
        for day, f in rows
    ]  # fmt: skip
    subjects = [each.subject for each in due]
    return templated(
        context, template, template, {"follow_ups": variables}, must_show=subjects
    ) or Text(_plain(words, rows))


def _plain(words: _Words, rows: Iterable[tuple[str, FollowUp]]) -> str:
    lines = [f"{words.open_ones}:"]
    for day, each in rows:
        link = f" ({each.link})" if each.link else ""
        lines.append(f"{words.day}: {day}: {each.subject}: ({words.by} {each.author}){link}")
    return "\n".join(lines) + "\n\n\n"


def _html(words: _Words, rows: Iterable[tuple[str, FollowUp]]) -> str:
    lines = [
        f"<h1>{escape(words.open_ones)}</h1>",
        "<table>",
        f"<tr><th>{words.day}</th><th>{words.subject}</th><th>{words.author}</th></tr>",
    ]
    for day, each in rows:
        subject = escape(each.subject)
        if each.link:
            subject = f'<a href="{escape(each.link)}">{subject}</a>'
        lines.append(
            f"<tr><td>{escape(day)}</td><td>{subject}</td><td>{escape(each.author)}</td></tr>"
        )
    return "\n".join([*lines, "</table>"]) + "\n"
