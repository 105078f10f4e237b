"""The end of one-time configurations: they are switched off and their orders closed (2.6)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kivitendo_task_server.database.schema import Columns
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor, Defaults
from kivitendo_task_server.jobs.periodic_invoices.model import Order, PlannedInvoice


def wants_project(order: Order, defaults: Defaults) -> bool:
    """Whether closing this order makes a project of its number."""
    return (
        defaults.order_always_project
        and order.record_type == "sales_order"
        and order.globalproject_id is None
    )


def taken_numbers(cursor: Cursor, ordnumbers: Collection[str]) -> frozenset[str]:
    """Those of these order numbers that a project has."""
    if not ordnumbers:
        return frozenset()
    cursor.execute(
        "SELECT projectnumber FROM project WHERE projectnumber = ANY(%s)", (list(ordnumbers),)
    )
    return frozenset(number for (number,) in cursor)


def number_taken(ordnumber: str) -> TaskServerError:
    """What is wrong if there is a project of that number already."""
    return TaskServerError(
        f"a project with number {ordnumber} exists already",
        remedy="enter that project in the order, or rename it",
    )


def finish(
    cursor: Cursor, block: Sequence[PlannedInvoice], columns: Columns, defaults: Defaults
) -> None:
    """Switch the configurations off and close the orders, with what saving an order entails.

    Raises TaskServerError if a project is to be made whose number exists already.
    """
    # kivitendo gives NULL columns their defaults whenever it saves a row
    cursor.execute(
        "UPDATE periodic_invoices_configs SET active = false,"
        "       terminated = coalesce(terminated, false), print = coalesce(print, false)"
        " WHERE id = ANY(%s)",
        ([planned.config.id for planned in block],),
    )
    orders = {planned.order.id: planned.order for planned in block}
    for order in orders.values():
        if wants_project(order, defaults):
            _make_project(cursor, order, defaults)
    saved, incomplete = _saving(columns["oe"])
    cursor.execute(
        f"UPDATE oe SET {saved} WHERE id = ANY(%s)"  # noqa: S608
        f" AND (closed IS DISTINCT FROM true OR {incomplete})",
        (list(orders),),
    )
    if "record_type" in columns["oe"]:
        _close_intakes(cursor, list(orders), saved)


def _saving(present: frozenset[str]) -> tuple[str, str]:
    """What closing an order sets, and a condition for those that lack some of it."""
    defaults = {"transdate": "current_date", "proforma": "false", "delivered": "false"}
    known = {name: value for name, value in defaults.items() if name in present}
    saved = [f"{name} = coalesce({name}, {value})" for name, value in known.items()]
    return ", ".join(["closed = true", *saved]), " OR ".join(f"{name} IS NULL" for name in known)


def _make_project(cursor: Cursor, order: Order, defaults: Defaults) -> None:
    """The project that every order must have; made after the invoice, which has none."""
    cursor.execute(
        "INSERT INTO project (projectnumber, description, customer_id, active, project_type_id,"
        "                     project_status_id)"
        " SELECT %s, %s, %s, true, %s, %s"
        "  WHERE NOT EXISTS (SELECT 1 FROM project WHERE projectnumber = %s) RETURNING id",
        (
            order.ordnumber,
            order.customer_name,
            order.customer_id,
            defaults.project_type_id,
            defaults.project_status_id,
            order.ordnumber,
        ),
    )
    made = cursor.fetchone()
    if made is None:
        raise number_taken(order.ordnumber)
    cursor.execute("UPDATE oe SET globalproject_id = %s WHERE id = %s", (made[0], order.id))


def _close_intakes(cursor: Cursor, orders: list[int], saved: str) -> None:
    """Close the sales order intakes that the orders descend from, over any number of links."""
    cursor.execute(
        "WITH RECURSIVE origin (id) AS ("  # noqa: S608
        "   SELECT unnest(%s::int[])"
        "   UNION SELECT link.from_id FROM record_links link JOIN origin"
        "             ON link.to_table = 'oe' AND link.to_id = origin.id"
        "          WHERE link.from_table = 'oe')"
        f" UPDATE oe SET {saved} FROM origin"
        "  WHERE oe.id = origin.id AND oe.record_type::text = 'sales_order_intake'"
        "    AND oe.closed IS DISTINCT FROM true",
        (orders,),
    )
