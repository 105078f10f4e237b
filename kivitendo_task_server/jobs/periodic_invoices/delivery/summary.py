"""The mail about a whole run: what was posted and delivered, and what was not (8.6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import psycopg2

from kivitendo_task_server.database.connection import one_line
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.interface import JobContext
from kivitendo_task_server.jobs.job_mail import (
    DEFAULT_SENDER,
    Text,
    address_of,
    composed,
    send_mail,
    templated,
)
from kivitendo_task_server.jobs.periodic_invoices.date_format import in_user_format
from kivitendo_task_server.jobs.periodic_invoices.delivery.report import DeliveryReport
from kivitendo_task_server.jobs.periodic_invoices.outcome import Outcome
from kivitendo_task_server.templating import render

TEMPLATE = "mail/periodic_invoices.txt.j2"
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
    mail = composed(
        settings.email_from or DEFAULT_SENDER,
        recipient,
        settings.email_subject or SUBJECT,
        _text(context, outcome, report),
    )
    try:
        with context.connection:
            problem = send_mail(context, mail)
    except psycopg2.Error as error:
        if context.connection.closed:
            raise
        problem = f"sent, but kivitendo's journal refuses it: {one_line(error)}"
    if problem is not None:
        raise TaskServerError(f"the summary could not be mailed to {recipient}: {problem}")


def _recipient(context: JobContext, configured: str) -> str:
    """An address as it is; of a login the address that its user entered."""
    user = context.tenant.user
    own = user.email if configured == user.login else None
    address = own or address_of(context, configured)
    if not address:
        raise TaskServerError(
            f"the user {configured!r} has no e-mail address",
            where="[periodic_invoices] send_email_to",
            remedy="enter an address there, or in the user's settings",
        )
    return address


def _text(context: JobContext, outcome: Outcome, report: DeliveryReport) -> Text:
    """The text by the configured template of kivitendo's, or by ours."""
    configured = context.settings.periodic_invoices.email_template
    text = None
    if configured:
        text = templated(
            context,
            configured,
            configured,
            kivitendo_variables(outcome, report),
            must_show=[one.invnumber for one in outcome.posted],
        )
    return text or Text(own_text(context, outcome, report))


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

    return render(
        TEMPLATE,
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
