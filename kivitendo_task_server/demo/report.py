"""What happened in a tenant's database, read back from kivitendo's own tables, and as tables."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from tabulate import tabulate

from kivitendo_task_server.database.connection import Connection

PERIODICITY = {"o": "once", "m": "month", "q": "quarter", "b": "half-year", "y": "year"}
# kivitendo's invoices from gross prices carry fractions of a cent (recurring-invoices.md, 6.7)
BALANCED = Decimal("0.005")

INVOICES = """
    SELECT ar.invnumber, customer.name, oe.ordnumber, config.periodicity, ar.taxincluded,
           billed.period_start_date, ar.tax_point, ar.netamount, ar.amount,
           (SELECT coalesce(sum(acc_trans.amount), 0) FROM acc_trans
             WHERE acc_trans.trans_id = ar.id),
           (SELECT count(*) FROM acc_trans WHERE acc_trans.trans_id = ar.id)
      FROM periodic_invoices billed
      JOIN periodic_invoices_configs config ON config.id = billed.config_id
      JOIN oe ON oe.id = config.oe_id
      JOIN ar ON ar.id = billed.ar_id
      JOIN customer ON customer.id = ar.customer_id
     ORDER BY ar.id
"""

HISTORY = """
    SELECT package_name, run_at, status, result, error
      FROM background_job_histories
     ORDER BY id
"""

ORDERS = """
    SELECT count(*), count(*) FILTER (WHERE NOT active),
           count(*) FILTER (WHERE start_date > %s)
      FROM periodic_invoices_configs
"""


@dataclass(frozen=True)
class Invoice:
    """One invoice of the job's; amounts in the tenant's currency."""

    number: str
    customer: str
    order: str
    periodicity: str
    gross_prices: bool
    period_start: date
    period_end: date
    net: Decimal
    gross: Decimal
    postings_sum: Decimal
    postings: int

    @property
    def balances(self) -> bool:
        """Whether debit and credit are equal, to the cent."""
        return self.postings > 0 and abs(self.postings_sum) < BALANCED


@dataclass(frozen=True)
class Run:
    """One row of background_job_histories."""

    job: str
    run_at: datetime
    status: str
    result: str | None
    error: str | None

    @property
    def failures(self) -> list[str]:
        """What went wrong, one a line; what a failed run did all the same comes after them."""
        return (self.error or "").partition("\n\n")[0].splitlines()

    @property
    def summary(self) -> str:
        """The headings of a long text ("3 invoices posted:"), or its beginning."""
        text = (self.result or self.error or "").strip()
        headings = [f"{len(self.failures)} failed"] if self.failures else []
        headings += [line[:-1] for line in text.splitlines() if line.endswith(":")]
        return ", ".join(headings) or textwrap.shorten(text, 50, placeholder=" ...")


def read_invoices(connection: Connection) -> list[Invoice]:
    """All invoices of recurring orders."""
    with connection, connection.cursor() as cursor:
        cursor.execute(INVOICES)
        return [Invoice(*row) for row in cursor.fetchall()]


def read_runs(connection: Connection) -> list[Run]:
    """The history of jobs."""
    with connection, connection.cursor() as cursor:
        cursor.execute(HISTORY)
        return [Run(*row) for row in cursor.fetchall()]


def faults(tenant: str, invoices: Sequence[Invoice]) -> list[str]:
    """What must never be: no invoices at all, a period billed twice, postings that do not balance.

    An invoice without its rows in other tables (a half one) would show here too.
    """
    found = [] if invoices else [f"{tenant}: nothing was billed"]
    periods = Counter((each.order, each.period_start) for each in invoices)
    found += [
        f"{tenant}: order {order} was billed {count} times for {period}"
        for (order, period), count in periods.items()
        if count > 1
    ]
    found += [
        f"{tenant}: the postings of invoice {each.number} add up to {each.postings_sum}"
        for each in invoices
        if not each.balances
    ]
    return found


def orders_line(connection: Connection, today: date) -> str:
    """How many orders bill themselves, and how many of them have nothing due."""
    with connection, connection.cursor() as cursor:
        cursor.execute(ORDERS, (today,))
        row = cursor.fetchone()
        assert row is not None
        total, inactive, future = row
    return f"{total} recurring orders, {future} of them begin later, {inactive} inactive"


def invoices_table(invoices: Sequence[Invoice]) -> str:
    """Number, customer, order, period, amounts, and what the postings add up to."""
    rows = [
        (
            each.number,
            each.customer,
            each.order,
            PERIODICITY[each.periodicity],
            f"{each.period_start} - {each.period_end}",
            f"{each.net:.2f}",
            f"{each.gross:.2f}",
            "gross" if each.gross_prices else "net",
            f"{each.postings_sum:+.5f}" if each.postings_sum else "0",
        )
        for each in invoices
    ]
    headers = ("invoice", "customer", "order", "every", "period", "net", "gross", "prices",
               "postings")  # fmt: skip
    align = ("left", "left", "left", "left", "left", "right", "right", "left", "right")
    return tabulate(rows, headers, colalign=align, disable_numparse=True)


def totals_line(invoices: Sequence[Invoice]) -> str:
    """The sums, and the verdict on the postings."""
    balanced = sum(each.balances for each in invoices)
    net = sum((each.net for each in invoices), Decimal(0))
    gross = sum((each.gross for each in invoices), Decimal(0))
    worst = max((abs(each.postings_sum) for each in invoices), default=Decimal(0))
    return (
        f"{len(invoices)} invoices, net {net:.2f}, gross {gross:.2f};"
        f" postings balance on {balanced} of {len(invoices)}"
        f" (largest remainder {worst:.5f}, from gross prices as in kivitendo)"
    )


def failures_table(runs: Sequence[tuple[str, Run]]) -> str:
    """Every failure in the words of the job; ``runs`` are pairs of tenant name and run."""
    rows = [(tenant, failure) for tenant, run in runs for failure in run.failures]
    return tabulate(rows, ("tenant", "what failed and why"), disable_numparse=True,
                    maxcolwidths=[None, 80])  # fmt: skip


def runs_table(runs: Sequence[tuple[str, Run]]) -> str:
    """The job history; ``runs`` are pairs of tenant name and run."""
    rows = [
        (tenant, run.job, f"{run.run_at:%Y-%m-%d %H:%M:%S}", run.status, run.summary)
        for tenant, run in runs
    ]
    headers = ("tenant", "job", "run at", "status", "result or error")
    return tabulate(rows, headers, disable_numparse=True)
