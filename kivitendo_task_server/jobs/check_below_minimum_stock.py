"""CheckBelowMinimumStock: warns about parts that run out (jobs.md, 1.13)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any

from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.jobs.job_mail import (
    DEFAULT_SENDER,
    Text,
    address_of,
    composed,
    send_mail,
    templated,
)
from kivitendo_task_server.jobs.options import address, read_options

SECTION = "check_below_minimum_stock"
TEMPLATE = "templates/mail/below_minimum_stock/error_email.html"
OWN_TEMPLATE = "below_minimum_stock/error_email.html"
"""Below the tenant's own template directory: used if email_template is set to nothing."""
SUBJECT = "Benachrichtigung: Artikel unter Mindestbestand"
_COLUMNS = {
    "de": ("Artikelnummer", "Name", "Auf Lager", "Mindestlagerbestand"),
    "en": ("Partnumber", "Name", "Onhand", "ROP"),
}
_HEADING = {"de": "Artikel unter Mindestbestand:", "en": "Missing parts:"}


@dataclass(frozen=True)
class Options:
    """``mail_to`` replaces the configured recipient, ``email`` gets the mail as well."""

    mail_to: str | None = address()
    email: str | None = address()


@dataclass(frozen=True)
class _Part:
    id: int
    number: str
    description: str
    onhand: Decimal
    rop: float


class CheckBelowMinimumStock(Job):
    """Fails, and mails, as long as parts are below their minimum stock.

    Unlike kivitendo it tells the parts also if the configured login has no address, takes an
    address instead of a login, and writes German for German users.
    """

    name = "CheckBelowMinimumStock"
    summary = "warns about parts below their minimum stock"
    Options = Options

    def run(self, context: JobContext) -> JobResult:
        """No text if all is well; otherwise a failure with a table of the parts."""
        options = read_options(Options, context.options)
        parts = _missing_parts(context)
        if not parts:
            return JobResult(None)
        language = context.tenant.user.countrycode
        error = _table(parts, language)
        if problem := _notify(context, options, parts, language):
            error += f"{'Emailfehler' if language == 'de' else 'Mail error'}: {problem}\n"
        return JobResult(None, error)


def _missing_parts(context: JobContext) -> list[_Part]:
    with context.connection.cursor() as cursor:
        cursor.execute(
            """SELECT id, partnumber, coalesce(description, ''), onhand, rop FROM parts
               WHERE onhand < rop ORDER BY partnumber"""
        )
        return [_Part(*row) for row in cursor.fetchall()]


def _table(parts: list[_Part], language: str) -> str:
    lines = ["\t- ".join(_COLUMNS[language])]
    lines += [f"{p.number}\t- {p.description}\t- {p.onhand:.5f}\t- {p.rop:.15g}" for p in parts]
    return "\n".join([_HEADING[language], *lines]) + "\n"


def _notify(context: JobContext, options: Options, parts: list[_Part], language: str) -> str | None:
    """Send the mail if somebody is to get it; what went wrong."""
    section = context.settings.sections.get(SECTION, {})
    configured = section.get("send_email_to", "").strip()
    to = options.mail_to or (configured and address_of(context, configured))
    if not to and configured:
        return f"{configured} ([{SECTION}] send_email_to) has no address"
    recipients = ", ".join(filter(None, (to, options.email)))
    if not recipients:
        return None
    table = _html_table(parts, language)
    variables: dict[str, Any] = {
        "SELF": {},
        "PARTS": [vars(part) | {"partnumber": part.number} for part in parts],
        "part_table": table,
    }
    chosen = section.get("email_template")
    delivered = f"{_templates_of_tenant(context)}/{OWN_TEMPLATE}" if chosen == "" else TEMPLATE
    numbers = [part.number for part in parts]
    text = templated(context, chosen, delivered, variables, must_show=numbers) or Text(
        f"<h1>{escape(_HEADING[language])}</h1>\n{table}\n", "text/html"
    )
    sender = section.get("email_from") or DEFAULT_SENDER
    subject = section.get("email_subject") or SUBJECT
    return send_mail(context, composed(sender, recipients, subject, text))


def _templates_of_tenant(context: JobContext) -> str:
    with context.connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(templates), '') FROM defaults")
        row = cursor.fetchone()
    return str(row[0]) if row else ""


def _html_table(parts: list[_Part], language: str) -> str:
    """Like kivitendo's, with the part's name instead of a link that leads nowhere in a mail."""
    number, name, onhand, rop = map(escape, _COLUMNS[language])
    rows = [f"<tr><th>{number}</th><th>{name}</th><th>{rop}</th><th>{onhand}</th></tr>"]
    rows += [
        f"<tr><td>{escape(p.number)}</td><td>{escape(p.description)}</td>"
        f"<td>{p.rop:.15g}</td><td>{p.onhand:.5f}</td></tr>"
        for p in parts
    ]
    return "<table>\n" + "\n".join(rows) + "\n</table>"
