"""CloseQuotations: closes quotations that are too old (jobs.md, 1.8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from kivitendo_task_server.clock import today
from kivitendo_task_server.jobs.dates import minus_years
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import read_options, switch, whole_number

_RESULT = {
    ("de", False): "Preisanfragen geschlossen: {} Angebote geschlossen: {}",
    ("de", True): "Preisanfragen noch nicht geschlossen: {} Angebote noch nicht geschlossen: {}",
    ("en", False): "Request quotations closed: {} Sales quotations closed: {}",
    ("en", True): "Request quotations not yet closed: {} Sales quotations not yet closed: {}",
}


@dataclass(frozen=True)
class Options:
    """``years``: age from which on quotations are closed; ``dry_run``: only list them."""

    years: int = whole_number(1, maximum=1000)
    dry_run: bool = switch()


class CloseQuotations(Job):
    """Closes old sales quotations and requests for quotation.

    Unlike kivitendo it leaves empty quotation numbers alone (the original draws a new number for
    each, and advances the range), and counts the years from the local day, not from UTC's.
    """

    name = "CloseQuotations"
    summary = "closes quotations older than some years"
    Options = Options

    def run(self, context: JobContext) -> str:
        """The numbers of what was (or would be) closed, in the user's language."""
        options = read_options(Options, context.options)
        rows = _open_quotations(context, minus_years(today(context.clock), options.years))
        if not options.dry_run:
            with context.connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE oe SET closed = true WHERE id = ANY(%s)", ([row[0] for row in rows],)
                )
        numbers = (
            ", ".join(number or "" for _, kind, number in rows if kind == wanted)
            for wanted in ("request_quotation", "sales_quotation")
        )
        return _RESULT[context.tenant.user.countrycode, options.dry_run].format(*numbers)


def _open_quotations(context: JobContext, limit: date) -> list[tuple[int, str, str | None]]:
    """Id, record type and number, locked, so that none is changed before it is closed."""
    with context.connection.cursor() as cursor:
        cursor.execute(
            """SELECT id, record_type::text, quonumber FROM oe
               WHERE record_type IN ('request_quotation', 'sales_quotation')
                 AND transdate <= %s AND closed IS NOT TRUE
               ORDER BY id FOR UPDATE""",
            (limit,),
        )
        return cursor.fetchall()
