"""The mail about a whole run: what was posted and delivered, and what was not (8.6)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import date
from typing import Any, Literal

import jinja2

from kivitendo_task_server.database.email_journal import record
from kivitendo_task_server.database.users import emails_of
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.interface import JobContext
from kivitendo_task_server.jobs.periodic_invoices.date_format import in_user_format
from kivitendo_task_server.jobs.periodic_invoices.delivery.report import DeliveryReport
from kivitendo_task_server.jobs.periodic_invoices.outcome import Outcome
from kivitendo_task_server.log import fields
from kivitendo_task_server.mail import AddressError, Mail, delivery_settings, send
from kivitendo_task_server.mail.journal import journal_entry, unsendable_entry
from kivitendo_task_server.template_toolkit import TemplateError, render_file
from kivitendo_task_server.templating import templates_directory

TEMPLATE = "mail/periodic_invoices.txt.j2"
SENDER = "kivitendo Daemon <root@localhost>"
SUBJECT = "Wiederkehrende Rechnungen"


def send_summary(context: JobContext, outcome: Outcome, report: DeliveryReport) -> None:
    """Send it if the settings want one and there is something to tell.

    Unlike the original's it is also sent if all orders failed or nothing but an earlier invoice
    was delivered. Raises TaskServerError if it cannot be sent.
    """
    settings = context.settings.periodic_invoices
    failed = bool(report.print_failed or report.email_failed or report.problems or outcome.failures)
    happened = failed or bool(outcome.posted or report.emailed or report.printed)
    if not settings.send_email_to or not happened or (settings.send_for_errors_only and not failed):
        return
    recipient = _recipient(context, settings.send_email_to)
    body, content_type = _text(context, outcome, report)
    mail = Mail(
        sender=settings.email_from or SENDER,
        to=recipient,
        subject=settings.email_subject or SUBJECT,
        body=body,
        content_type=content_type,
        headers={"Auto-Submitted": "auto-generated"},
    )
    user, now = context.tenant.user, context.clock.now()
    try:
        message, sent = send(delivery_settings(context.settings, user.email), mail, now)
        entry = journal_entry(mail, message, sent, login=user.login, now=now)
        problem = None if sent.sent else sent.answer
    except AddressError as error:
        entry = unsendable_entry(mail, error, login=user.login, now=now)
        problem = str(error)
    with context.connection:
        record(context.connection, entry)
    if problem is not None:
        raise TaskServerError(f"the summary could not be mailed to {recipient}: {problem}")


def _recipient(context: JobContext, configured: str) -> str:
    """An address as it is; of a login the address that its user entered."""
    if "@" in configured:
        return configured
    user = context.tenant.user
    address = user.email if configured == user.login else _email_of(context, configured)
    if not address:
        raise TaskServerError(
            f"the user {configured!r} has no e-mail address",
            where="[periodic_invoices] send_email_to",
            remedy="enter an address there, or in the user's settings",
        )
    return address


def _email_of(context: JobContext, login: str) -> str:
    with closing(context.auth_connection()) as auth, auth:
        return emails_of(auth, [login]).get(login, "")


def _text(
    context: JobContext, outcome: Outcome, report: DeliveryReport
) -> tuple[str, Literal["text/plain", "text/html"]]:
    """The text by the configured template of kivitendo's, or by ours."""
    configured = context.settings.periodic_invoices.email_template
    if configured:
        path = context.kivitendo_dir / configured
        try:
            body = render_file(path, kivitendo_variables(outcome, report))
            return body, "text/html" if path.name.endswith("html") else "text/plain"
        except (TemplateError, OSError) as error:
            context.log.warning(
                "the template of the summary is not used: %s",
                error,
                extra=fields("template_unusable", file=path),
            )
    return own_text(context, outcome, report), "text/plain"


def kivitendo_variables(outcome: Outcome, report: DeliveryReport) -> dict[str, Any]:
    """The variables of kivitendo's own template."""
    posted: dict[str, Mapping[str, Any]] = {
        one.invnumber: {
            "id": one.ar_id,
            "invnumber": one.invnumber,
            "ordnumber": one.ordnumber,
            "amount": one.amount,
            "netamount": one.netamount,
        }
        for one in outcome.posted
    }

    def invoice(number: str) -> Mapping[str, Any]:
        return posted.get(number, {"invnumber": number})

    return {
        "POSTED_INVOICES": list(posted.values()),
        "PRINTED_INVOICES": [invoice(number) for number in report.printed],
        "EMAILED_INVOICES": [invoice(number) for number in report.emailed],
        "PRINTED_FAILED": [[invoice(number), reason] for number, reason in report.print_failed],
        "EMAILED_FAILED": [[invoice(number), reason] for number, reason in report.email_failed],
        "DISABLED_ORDERS": outcome.finished_orders,
    }


def own_text(context: JobContext, outcome: Outcome, report: DeliveryReport) -> str:
    """Our German text: kivitendo's facts, and those the original cannot know."""
    dateformat = context.tenant.user.dateformat

    def day(value: date | None) -> str:
        return "?" if value is None else in_user_format(value, dateformat)

    def amount(value: float) -> str:
        return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_directory()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # plain text
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE).render(
        tenant=context.tenant.name,
        date=day(context.clock.now().date()),
        posted=[
            f"{one.invnumber}: Auftrag {one.ordnumber}, Zeitraum ab {day(one.period)},"
            f" netto {amount(one.netamount)}, gesamt {amount(one.amount)}"
            for one in outcome.posted
        ],
        failures=[
            f"Auftrag {one.ordnumber}"
            + (f", Zeitraum ab {day(one.period)}" if one.period else "")
            + f": {one.message}"
            for one in outcome.failures
        ],
        skipped=outcome.skipped,
        printed=report.printed,
        emailed=report.emailed,
        print_failed=[f"{number}: {reason}" for number, reason in report.print_failed],
        email_failed=[f"{number}: {reason}" for number, reason in report.email_failed],
        disabled_orders=outcome.finished_orders,
        extended=[
            f"Auftrag {one.ordnumber}: vom {day(one.old_end)} bis zum {day(one.new_end)}"
            for one in outcome.extended
        ],
        deactivated=[
            f"Auftrag {one.ordnumber}: Ende {day(one.end_date)}"
            + (f", nie berechnet: {', '.join(map(day, one.lost))}" if one.lost else "")
            for one in outcome.deactivated
        ],
        warnings=[*outcome.warnings, *report.problems],
    )
