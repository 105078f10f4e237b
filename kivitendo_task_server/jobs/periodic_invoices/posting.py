"""Writing invoices: the one place that does (sections 5.1 to 5.8, 6.8, 6.9).

:func:`write` puts whole invoices into the transaction it is given, many at a time: ids in blocks,
rows by COPY, the number range locked once and as late as possible. Locking the configurations and
committing is the caller's business (see run.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any

import psycopg2.errors

from kivitendo_task_server.database.schema import Columns
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices import closing
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import sent
from kivitendo_task_server.jobs.periodic_invoices.cloning import (
    clone_addresses,
    clone_item_variables,
)
from kivitendo_task_server.jobs.periodic_invoices.copying import copy_lines, copy_rows, lines_of
from kivitendo_task_server.jobs.periodic_invoices.lines import (
    POSTING_COLUMNS,
    head_columns,
    line_columns,
    row_lines,
)
from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor, Defaults
from kivitendo_task_server.jobs.periodic_invoices.model import (
    Line,
    PlannedInvoice,
    PostedInvoice,
    RowLines,
)
from kivitendo_task_server.jobs.periodic_invoices.numbers import successors

MOST_CANDIDATES = 1000
"""Invoice numbers that are looked up at a time, where many that follow are taken."""


class NumberRangeBusy(TaskServerError):  # noqa: N818 - read as a state, not as an error class
    """Somebody holds the number range for so long that the run has to end."""


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A planned invoice with the id and the number it gets."""

    ar_id: int
    invnumber: str
    planned: PlannedInvoice
    rows: RowLines


@dataclass(frozen=True, slots=True)
class _Reserved:
    """What the number range and the sequences gave for one block of invoices."""

    database_date: date
    numbers: list[str]
    ar_ids: list[int]
    line_ids: Iterator[int]
    shipto_ids: Iterator[int]


def write(
    cursor: Cursor, block: Sequence[PlannedInvoice], columns: Columns, defaults: Defaults
) -> list[PostedInvoice]:
    """Write these invoices with all their rows; the caller holds their configurations' locks.

    Raises psycopg2.Error, TaskServerError (an existing project), NumberRangeBusy. Nothing is
    committed here.
    """
    reserved = _reserve(cursor, block)
    numbered = [
        _Numbered(key, invnumber, planned, planned.rows or row_lines(planned, columns))
        for key, invnumber, planned in zip(reserved.ar_ids, reserved.numbers, block, strict=True)
    ]
    _write_heads(cursor, numbered, columns)
    addresses = [
        (one.planned.order.own_shipto_id, next(reserved.shipto_ids), one.ar_id)
        for one in numbered
        if one.planned.order.own_shipto_id is not None
    ]
    clone_addresses(cursor, addresses, columns["shipto"])
    lines = _write_lines(cursor, numbered, reserved.line_ids, columns)
    clone_item_variables(
        cursor, [(line.item_id, key) for key, line in lines if line.has_custom_variables]
    )
    _write_links(cursor, numbered, lines)
    _write_postings(cursor, numbered, reserved.database_date)
    _allocate(cursor, numbered)
    _mark_once_items(cursor, numbered)
    _remember_periods(cursor, numbered)
    finished = [one.planned for one in numbered if one.planned.config.terms.one_time]
    if finished:
        closing.finish(cursor, finished, columns, defaults)
    returned = _returned_goods(numbered, lines)
    return [
        PostedInvoice.of(one.planned, one.ar_id, one.invnumber, returned.get(one.ar_id, ()))
        for one in numbered
    ]


def _reserve(cursor: Cursor, block: Sequence[PlannedInvoice]) -> _Reserved:
    """Lock the number range (kivitendo's order: ar, then defaults) and take numbers and ids.

    Without the planner's setting, foreign keys into a table that was empty when they were first
    checked would be checked by reading all of it, again and again while it grows.
    """
    lines = sum(len(planned.lines) for planned in block)
    addresses = sum(planned.order.own_shipto_id is not None for planned in block)
    try:
        cursor.execute(
            "SET LOCAL enable_seqscan = off;"
            "LOCK TABLE ar IN ROW EXCLUSIVE MODE;"
            "SELECT id, invnumber, current_date,"
            "       ARRAY(SELECT nextval('glid')::int FROM generate_series(1, %s)),"
            "       ARRAY(SELECT nextval('invoiceid')::int FROM generate_series(1, %s)),"
            "       ARRAY(SELECT nextval('id')::int FROM generate_series(1, %s))"
            "  FROM defaults ORDER BY id LIMIT 1 FOR UPDATE",
            (len(block), lines, addresses),
        )
    except psycopg2.errors.LockNotAvailable as error:
        raise NumberRangeBusy(
            "the number range for invoices is locked by somebody else",
            where="defaults.invnumber",
            remedy="find the transaction that holds it (pg_stat_activity); the next run goes on",
        ) from error
    row = cursor.fetchone()
    if row is None:
        raise TaskServerError("the table defaults has no row", where="defaults")
    numbers = _free_numbers(cursor, row[1], len(block))
    cursor.execute("UPDATE defaults SET invnumber = %s WHERE id = %s", (numbers[-1], row[0]))
    return _Reserved(row[2], numbers, row[3], iter(row[4]), iter(row[5]))


def _free_numbers(cursor: Cursor, last: str | None, count: int) -> list[str]:
    """The next ``count`` numbers that no row of ar has (5.8); asks only for candidates."""
    candidates = successors(last)
    free: list[str] = []
    more = count
    while len(free) < count:
        asked = list(islice(candidates, more))
        # lower() is what the index is on; the comparison itself is exact
        cursor.execute(
            "SELECT invnumber FROM ar"
            " WHERE lower(invnumber) = ANY(ARRAY(SELECT lower(c) FROM unnest(%s::text[]) c))",
            (asked,),
        )
        taken = {number for (number,) in cursor}
        free += [number for number in asked if number not in taken]
        more = min(2 * more, MOST_CANDIDATES)  # everybody waits while we look for the end of a run
    return free[:count]


def _write_heads(cursor: Cursor, numbered: list[_Numbered], columns: Columns) -> None:
    keys = lines_of([(one.ar_id, one.invnumber) for one in numbered])
    copy_lines(
        cursor,
        "ar",
        ["id", "invnumber", *head_columns(numbered[0].planned, columns)],
        [f"{key}\t{one.rows.head}" for key, one in zip(keys, numbered, strict=True)],
    )


def _write_lines(
    cursor: Cursor, numbered: list[_Numbered], ids: Iterator[int], columns: Columns
) -> list[tuple[int, Line]]:
    """Write table invoice; returns each line with its id."""
    written: list[tuple[int, Line]] = []
    texts = []
    for one in numbered:
        for line, text in zip(one.planned.lines, one.rows.lines, strict=True):
            key = next(ids)
            written.append((key, line))
            texts.append(f"{key}\t{one.ar_id}\t{text}")
    copy_lines(cursor, "invoice", ["id", "trans_id", *line_columns(columns)], texts)
    return written


def _write_links(cursor: Cursor, numbered: list[_Numbered], lines: list[tuple[int, Line]]) -> None:
    """Order to invoice, and item to item (5.5)."""
    links: list[tuple[Any, ...]] = [
        ("oe", one.planned.order.id, "ar", one.ar_id) for one in numbered
    ]
    links += [
        ("orderitems", line.item_id, "invoice", key)
        for key, line in lines
        if line.item_id is not None
    ]
    copy_rows(cursor, "record_links", ("from_table", "from_id", "to_table", "to_id"), links)


def _write_postings(cursor: Cursor, numbered: list[_Numbered], database_date: date) -> None:
    copy_lines(
        cursor,
        "acc_trans",
        ["trans_id", "gldate", *POSTING_COLUMNS],
        [f"{one.ar_id}\t{database_date}\t{text}" for one in numbered for text in one.rows.postings],
    )


def _remember_periods(cursor: Cursor, numbered: list[_Numbered]) -> None:
    copy_rows(
        cursor,
        "periodic_invoices",
        ("config_id", "ar_id", "period_start_date"),
        ((one.planned.config.id, one.ar_id, one.planned.period) for one in numbered),
    )


def _allocate(cursor: Cursor, numbered: list[_Numbered]) -> None:
    """Take the goods from the purchases (6.9); several takes of one row in their order."""
    takes = [
        (key, sent(taken)) for one in numbered for key, taken in one.planned.taken.items() if taken
    ]
    for key, taken in takes:
        cursor.execute(
            "UPDATE invoice SET allocated = allocated + %s::real WHERE id = %s", (taken, key)
        )


def _returned_goods(
    numbered: list[_Numbered], lines: list[tuple[int, Line]]
) -> dict[int, tuple[int, ...]]:
    """The rows that later invoices may take goods from (6.9), by ar.id."""
    returned: dict[int, tuple[int, ...]] = {}
    first = 0
    for one in numbered:
        behind = first + len(one.planned.lines)
        if one.planned.returns_goods:
            returned[one.ar_id] = tuple(
                key for key, line in lines[first:behind] if str(line.values["base_qty"])[:1] == "-"
            )
        first = behind
    return returned


def _mark_once_items(cursor: Cursor, numbered: list[_Numbered]) -> None:
    """Items billed once remember their invoice (5.7)."""
    pairs = [(item, one.ar_id) for one in numbered for item in one.planned.once_items]
    if pairs:
        cursor.execute(
            "UPDATE orderitems SET recurring_billing_invoice_id = billed.ar_id"
            "  FROM unnest(%s::int[], %s::int[]) billed (item_id, ar_id)"
            " WHERE orderitems.id = billed.item_id"
            "   AND orderitems.recurring_billing_invoice_id IS NULL",
            ([item for item, _ in pairs], [ar_id for _, ar_id in pairs]),
        )
