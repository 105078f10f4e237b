"""The rows of a planned invoice as lines for COPY, but for what is only known once it is written.

They are made while the block before is being written (see ahead.py). Writing the invoice then only
puts ids, number and the database's date in front.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from kivitendo_task_server.database.schema import Columns
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import sent
from kivitendo_task_server.jobs.periodic_invoices.copying import lines_of
from kivitendo_task_server.jobs.periodic_invoices.model import PlannedInvoice, RowLines

LINE_COLUMNS = (
    "position", "parts_id", "description", "longdescription", "qty", "unit", "base_qty",
    "allocated", "sellprice", "fxsellprice", "discount", "lastcost", "marge_total",
    "marge_percent", "price_factor_id", "price_factor", "marge_price_factor", "project_id",
    "pricegroup_id", "deliverydate", "serialnumber", "transdate", "cusordnumber", "ordnumber",
    "donumber", "subtotal", "assemblyitem", "active_price_source", "active_discount_source",
)  # fmt: skip
"""Columns of the table invoice, behind id and trans_id (5.3)."""

POSTING_COLUMNS = (
    "chart_id", "amount", "taxkey", "tax_id", "chart_link", "transdate", "project_id", "cleared",
    "fx_transaction", "ob_transaction", "cb_transaction",
)  # fmt: skip
"""Columns of acc_trans, behind trans_id and gldate (6.8)."""


def head_columns(planned: PlannedInvoice, columns: Columns) -> list[str]:
    """Columns of ar that this database has, behind id and invnumber (5.2)."""
    return [name for name in planned.ar if name in columns["ar"]]


def line_columns(columns: Columns) -> list[str]:
    """LINE_COLUMNS that this database has."""
    return [name for name in LINE_COLUMNS if name in columns["invoice"]]


def row_lines(planned: PlannedInvoice, columns: Columns) -> RowLines:
    """Make the lines of one invoice."""
    head = itemgetter(*head_columns(planned, columns))
    line = itemgetter(*line_columns(columns))
    day, project = planned.ar["transdate"], planned.order.globalproject_id
    postings: list[tuple[Any, ...]] = [
        (
            row.chart_id, sent(row.amount), row.taxkey, row.tax_id, row.chart_link, day, project,
            False, False, False, False,
        )
        for row in planned.postings
    ]  # fmt: skip
    return RowLines(
        lines_of([head(planned.ar)])[0],
        lines_of([line(one.values) for one in planned.lines]),
        lines_of(postings),
    )
