"""Reading what is to be billed: configurations, orders, items (sections 1.1 to 1.4).

The number of queries does not depend on the number of orders.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.schema import Columns, existing_columns
from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor
from kivitendo_task_server.jobs.periodic_invoices.model import Config, Item, Order
from kivitendo_task_server.jobs.periodic_invoices.periods import Terms

TABLES = (
    "periodic_invoices_configs", "oe", "orderitems", "ar", "invoice", "acc_trans", "shipto",
    "defaults", "project",
)  # fmt: skip

COPIED_FROM_ORDER = (
    "customer_id", "taxzone_id", "currency_id", "ordnumber", "quonumber", "cusordnumber",
    "department_id", "cp_id", "language_id", "salesman_id", "globalproject_id", "delivery_term_id",
    "billing_address_id", "delivery_customer_id", "delivery_vendor_id", "shippingpoint", "shipvia",
    "employee_id", "shipto_id",
)  # fmt: skip
"""Columns that ar takes over from oe as they are (5.2)."""


def read_columns(connection: Connection) -> Columns:
    """The columns the tables have in this database; absent ones are left out (1.9)."""
    return existing_columns(connection, TABLES)


def read_configs(
    cursor: Cursor,
    columns: Columns,
    ids: list[int] | None = None,
    *,
    ended_by: date | None = None,
) -> list[Config]:
    """All active configurations by ascending id, or those of ``ids`` that still are active.

    ``ended_by``: only those that the first pass has to look at on that day (2.3).
    """
    known = _known("config", columns["periodic_invoices_configs"])
    cursor.execute(
        "WITH chosen AS MATERIALIZED ("  # noqa: S608
        " SELECT id FROM periodic_invoices_configs WHERE active"
        "    AND (%(ids)s::int[] IS NULL OR id = ANY(%(ids)s::int[]))"
        "    AND (%(ended_by)s::date IS NULL"
        "         OR end_date <= %(ended_by)s::date AND terminated IS NOT TRUE))"
        " SELECT config.id, config.oe_id, oe.ordnumber, config.periodicity,"
        " config.order_value_periodicity,"
        f" config.start_date, {known('first_billing_date')}, config.end_date,"
        " coalesce(config.terminated, false), config.extend_automatically_by,"
        f" config.ar_chart_id, {known('direct_debit')},"
        f" config.print, {known('send_email')}, billed.previous, config.xmin::text"
        "  FROM chosen JOIN periodic_invoices_configs config USING (id)"
        "  JOIN oe ON oe.id = config.oe_id"
        "  LEFT JOIN (SELECT config_id, max(period_start_date) AS previous"
        "               FROM periodic_invoices"
        "              WHERE config_id IN (SELECT id FROM chosen)"
        "              GROUP BY config_id)"
        "            billed ON billed.config_id = config.id"
        " ORDER BY config.id",
        {"ids": ids, "ended_by": ended_by},
    )
    return [
        Config(
            id=row[0],
            oe_id=row[1],
            ordnumber=row[2],
            terms=Terms(*row[3:10]),
            ar_chart_id=row[10],
            direct_debit=bool(row[11]),
            print=bool(row[12]),
            send_email=bool(row[13]),
            previous=row[14],
            version=row[15],
        )
        for row in cursor
    ]


def read_orders(cursor: Cursor, columns: Columns, ids: Iterable[int]) -> dict[int, Order]:
    """The orders with these ids, with customer, payment terms and own delivery address."""
    known = _known("oe", columns["oe"])
    copied = ", ".join(known(name) for name in COPIED_FROM_ORDER)
    # before 3.9 a boolean told quotations from orders
    record_type = (
        "oe.record_type::text"
        if "record_type" in columns["oe"]
        else "CASE WHEN oe.quotation THEN 'sales_quotation' ELSE 'sales_order' END"
    )
    # an order without transdate counts as one of the database's today, as in the original
    cursor.execute(
        f"SELECT oe.id, oe.xmin::text, oe.ordnumber, {record_type},"  # noqa: S608
        " coalesce(oe.transdate, current_date)::text, oe.customer_id,"
        " customer.name, customer.payment_id, coalesce(oe.taxincluded, false), oe.taxzone_id,"
        " oe.currency_id, oe.payment_id, terms.terms_netto, terms.auto_calculation, oe.notes,"
        " oe.intnotes,"
        f" oe.transaction_description, {known('tax_point')}, oe.shipto_id, own.shipto_id,"
        f" oe.globalproject_id, {copied}"
        "  FROM oe"
        "  LEFT JOIN customer ON customer.id = oe.customer_id"
        "  LEFT JOIN payment_terms terms"
        "         ON terms.id = coalesce(oe.payment_id, customer.payment_id)"
        "  LEFT JOIN (SELECT trans_id, min(shipto_id) AS shipto_id FROM shipto"
        "              WHERE module = 'OE' AND trans_id = ANY(%(ids)s) GROUP BY trans_id)"
        "            own ON own.trans_id = oe.id AND oe.shipto_id IS NULL"
        " WHERE oe.id = ANY(%(ids)s)",
        {"ids": list(ids)},
    )
    return {
        row[0]: Order(*(*row[:21], dict(zip(COPIED_FROM_ORDER, row[21:], strict=True))))
        for row in cursor
    }


def read_items(cursor: Cursor, columns: Columns, orders: Iterable[int]) -> dict[int, list[Item]]:
    """The items of these orders that are billed at all, by position (5.3)."""
    known = _known("item", columns["orderitems"])
    modes = "recurring_billing_mode" in columns["orderitems"]
    mode = "item.recurring_billing_mode::text" if modes else "'always'"
    once = "item.recurring_billing_invoice_id IS NOT NULL" if modes else "false"
    cursor.execute(
        "SELECT item.id, item.trans_id, item.parts_id, item.description, item.longdescription,"  # noqa: S608
        " item.qty::text, item.sellprice::text, item.discount::text, item.base_qty::text,"
        " item.lastcost::text, item.unit,"
        " item.price_factor_id, item.project_id, item.pricegroup_id, item.reqdate::text,"
        " item.serialnumber, item.transdate, item.cusordnumber, item.subtotal,"
        f" coalesce({known('active_price_source')}, ''),"
        f" coalesce({known('active_discount_source')}, ''), {mode}, {once},"
        " EXISTS (SELECT 1 FROM custom_variables variable"
        "          WHERE variable.trans_id = item.id AND variable.sub_module = 'orderitems')"
        "  FROM orderitems item WHERE item.trans_id = ANY(%s)"
        f" AND {mode} <> 'never'"
        " ORDER BY item.trans_id, item.position, item.id",
        (list(orders),),
    )
    items: dict[int, list[Item]] = {}
    for row in cursor:
        items.setdefault(row[1], []).append(Item(*row))
    return items


def _known(alias: str, columns: frozenset[str]) -> Any:
    """A function that names a column, or NULL where this release does not have it."""
    return lambda name: f"{alias}.{name}" if name in columns else "NULL"
