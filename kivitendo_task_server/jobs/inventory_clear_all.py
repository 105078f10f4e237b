"""InventoryClearAll: books all stock out, before stocktaking (jobs.md, 1.16)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kivitendo_task_server.clock import today
from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import read_options, switch, text

_RESULT = {
    ("de", False): "Lager: {} Buchungen ausgeführt, um alle Lagerplätze zu leeren. Artikel: {}",
    ("de", True): "Lager: {} Buchungen noch nicht ausgeführt, um alle Lagerplätze zu leeren."
    " Artikel: {}",
    ("en", False): "Inventory: {} transfers executed to empty all bins. Parts: {}",
    ("en", True): "Inventory: {} transfers not yet executed to empty all bins. Parts: {}",
}


@dataclass(frozen=True)
class Options:
    """``correction_date`` is today's date as YYYY-MM-DD: a safety catch, as is ``dry_run``."""

    correction_date: str | None = text()
    comment: str = text("vor Inventur")
    warehouse: str | None = text()
    dry_run: bool = switch()


@dataclass(frozen=True)
class _Stock:
    part: int
    unit: str
    bin: int
    warehouse: int
    charge: str
    quantity: Decimal


class InventoryClearAll(Job):
    """Brings the stock of every bin to zero by correction transfers. Meant for use by hand."""

    name = "InventoryClearAll"
    summary = "books all stock out, before stocktaking"
    Options = Options

    def run(self, context: JobContext) -> str:
        """How many transfers, then ``PART QUANTITY UNIT`` of each, in the user's language.

        Raises JobFailed for a wrong date, an unknown warehouse, or a user without employee.
        """
        options = read_options(Options, context.options)
        warehouse = _warehouse(context, options.warehouse) if options.warehouse else None
        _check_date(options.correction_date, today(context.clock).isoformat())
        if not options.dry_run:
            with context.connection.cursor() as cursor:
                # nobody may book between our reading of the stock and our clearing it
                cursor.execute("LOCK TABLE inventory IN SHARE ROW EXCLUSIVE MODE")
        stock = _stock(context.connection, warehouse)
        if not options.dry_run:
            _clear(context, stock, options.comment)
        parts = ",".join(f"{row.part} {-row.quantity} {row.unit}" for row in stock)
        return _RESULT[context.tenant.user.countrycode, options.dry_run].format(len(stock), parts)


def _check_date(given: str | None, today_: str) -> None:
    if not given:
        raise JobFailed(
            "No parameter correction_date given", remedy=f"set it to the day of the run: {today_}"
        )
    if given != today_:
        raise JobFailed(f"Parameter correction_date {given} is not today {today_}")


def _warehouse(context: JobContext, description: str) -> int:
    with context.connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM warehouse WHERE description = %s ORDER BY id LIMIT 1", (description,)
        )
        row = cursor.fetchone()
    if row is None:
        german = context.tenant.user.countrycode == "de"
        raise JobFailed(
            f"{'Lager existiert nicht' if german else 'Warehouse does not exist'}: {description}"
        )
    return int(row[0])


def _stock(connection: Connection, warehouse: int | None) -> list[_Stock]:
    """What lies where; best-before dates are put together."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT i.parts_id, p.unit, i.bin_id, i.warehouse_id, i.chargenumber, sum(i.qty)
               FROM inventory i JOIN parts p ON p.id = i.parts_id
               WHERE %(warehouse)s IS NULL OR i.warehouse_id = %(warehouse)s
               GROUP BY i.parts_id, p.unit, i.bin_id, i.warehouse_id, i.chargenumber
               HAVING sum(i.qty) <> 0
               ORDER BY i.parts_id, i.warehouse_id, i.bin_id, i.chargenumber""",
            {"warehouse": warehouse},
        )
        return [_Stock(*row) for row in cursor.fetchall()]


def _clear(context: JobContext, stock: list[_Stock], comment: str) -> None:
    """One transfer for each, with a number of its own."""
    with context.connection.cursor() as cursor:
        cursor.execute("SELECT id FROM employee WHERE login = %s", (context.tenant.user.login,))
        employee = cursor.fetchone()
        cursor.execute(
            "SELECT direction::text, min(id) FROM transfer_type"
            " WHERE description = 'correction' GROUP BY direction"
        )
        types = dict(cursor.fetchall())
        if employee is None:
            raise JobFailed(
                f"the user {context.tenant.user.login} is no employee of this tenant",
                remedy="let the user log in once, or run the job UpdateEmployeeBaseData",
            )
        if not {"in", "out"} <= set(types):
            raise JobFailed("the transfer types 'correction' (in and out) do not exist")
        for row in stock:
            cursor.execute(
                """INSERT INTO inventory (bin_id, warehouse_id, chargenumber, parts_id, qty,
                       comment, shippingdate, employee_id, trans_type_id, trans_id)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, nextval('id'))""",
                (
                    *(row.bin, row.warehouse, row.charge, row.part, -row.quantity, comment),
                    *(today(context.clock), employee[0]),
                    types["out" if row.quantity > 0 else "in"],
                ),
            )
