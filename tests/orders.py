"""A tenant's books for tests of recurring invoices: orders are added, billed, and looked at.

The master data are those of the golden vectors (tests/golden/base.json).
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import psycopg2.extensions
from replay import GOLDEN, Database

from kivitendo_task_server.config.settings import DatabaseAccess, PeriodicInvoicesSettings
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.database.tenants import TenantUser
from kivitendo_task_server.jobs.periodic_invoices.behaviour import Behaviour
from kivitendo_task_server.jobs.periodic_invoices.due import Circumstances
from kivitendo_task_server.jobs.periodic_invoices.outcome import Outcome
from kivitendo_task_server.jobs.periodic_invoices.run import BillingRun
from kivitendo_task_server.jobs.periodic_invoices.transaction import Patience

Rows = list[tuple[Any, ...]]

USER = TenantUser("buchhaltung", countrycode="de", dateformat="dd.mm.yy")
TODAY = date(2026, 3, 15)
FIRST_NEW_ID = 1_000_000  # master data have smaller ones

# what belongs to an invoice, and how many rows of it one with one taxed item has
PARTS_OF_AN_INVOICE = {
    "invoice": ("trans_id", 1),
    "acc_trans": ("trans_id", 3),
    "periodic_invoices": ("ar_id", 1),
}


def fill_with_master_data(access: DatabaseAccess) -> None:
    """Load base.json into a tenant database without rows."""
    database = Database(access)
    with closing(database.cx):
        database.load(json.loads((GOLDEN / "base.json").read_text("utf-8")), {"input": {}})
        for sequence in database.seqs:
            database.q("SELECT setval(%s, %s)", (f'public."{sequence}"', FIRST_NEW_ID))


def circumstances(today: date = TODAY, **changes: Any) -> Circumstances:
    """A run at noon of ``today``, as release 4.1 does it; ``changes`` replace the rest."""
    return replace(
        Circumstances(
            now=datetime(today.year, today.month, today.day, 12),
            user=USER,
            behaviour=Behaviour(),
            settings=PeriodicInvoicesSettings(),
            patience=Patience(lock="5s"),
        ),
        **changes,
    )


def bill(
    access: DatabaseAccess,
    surroundings: Circumstances,
    *,
    progress: Callable[[str], None] = lambda text: None,
    cursor_factory: type[psycopg2.extensions.cursor] | None = None,
) -> Outcome:
    """One billing run, on a connection of its own."""
    connection = connect(access, purpose="billing")
    if cursor_factory is not None:
        connection.cursor_factory = cursor_factory
    with closing(connection):
        log = logging.getLogger("billing")
        return BillingRun(connection, surroundings, log, progress=progress).run()


class Books:
    """One tenant's database, and a user's connection to it (each statement commits)."""

    def __init__(self, access: DatabaseAccess) -> None:
        self.access = access
        self.connection = connect(access, purpose="test")
        self.connection.autocommit = True
        self._ids = itertools.count(100_001)

    # -- orders ----------------------------------------------------------------------------------

    def order(self, *items: dict[str, Any], **columns: Any) -> int:
        """Add an order; without items it gets one of 100 EUR. Returns oe.id."""
        key = next(self._ids)
        self._insert(
            "oe",
            {
                "id": key, "record_type": "sales_order", "ordnumber": f"AB-{key - 100_000}",
                "transdate": "2025-11-20", "customer_id": 1001, "taxzone_id": 401,
                "currency_id": 1, "taxincluded": False, "employee_id": 202, "salesman_id": 202,
            }
            | columns,
        )  # fmt: skip
        for position, item in enumerate(items or ({},), 1):
            self.item(key, position=position, **item)
        return key

    def item(self, order: int, **columns: Any) -> int:
        """Add an item (service, 19 % tax) to an order. Returns orderitems.id."""
        key = next(self._ids)
        self._insert(
            "orderitems",
            {
                "id": key, "trans_id": order, "parts_id": 2003, "position": 1, "qty": "1",
                "unit": "Stk", "sellprice": "100", "base_qty": "1", "discount": "0",
                "description": "Lizenz Kasse",
            }
            | columns,
        )  # fmt: skip
        return key

    def config(self, order: int | None = None, **columns: Any) -> int:
        """Add a configuration, by default monthly from the first of March, of a new order."""
        key = next(self._ids)
        self._insert(
            "periodic_invoices_configs",
            {
                "id": key, "oe_id": order or self.order(), "periodicity": "m",
                "order_value_periodicity": "p", "active": True, "terminated": False,
                "start_date": "2026-03-01", "ar_chart_id": 101,
            }
            | columns,
        )  # fmt: skip
        return key

    def configs(self, count: int, **columns: Any) -> list[int]:
        """That many configurations, each of an order of its own."""
        return [self.config(**columns) for _ in range(count)]

    def ordnumber(self, config: int) -> str:
        """The order number of a configuration's order."""
        return str(
            self.value(
                "SELECT ordnumber FROM oe JOIN periodic_invoices_configs c ON c.oe_id = oe.id"
                " WHERE c.id = %s",
                config,
            )
        )

    def oe_id(self, config: int) -> int:
        """The order of a configuration."""
        return int(self.value("SELECT oe_id FROM periodic_invoices_configs WHERE id = %s", config))

    # -- billing ---------------------------------------------------------------------------------

    def bill(self, today: date = TODAY, **changes: Any) -> Outcome:
        """One run on a day; ``changes`` are those of :func:`circumstances` and :func:`bill`."""
        how = {key: changes.pop(key) for key in ("progress", "cursor_factory") if key in changes}
        return bill(self.access, circumstances(today, **changes), **how)

    # -- what has become of it -------------------------------------------------------------------

    def rows(self, sql: str, *values: Any) -> Rows:
        """Run one statement; its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row."""
        return self.rows(sql, *values)[0][0]

    def billed(self, *configs: int) -> list[tuple[int, date]]:
        """What was billed (of these configurations), in the order of the invoice numbers."""
        found = self.rows(
            "SELECT config_id, period_start_date FROM periodic_invoices"
            "  JOIN ar ON ar.id = ar_id ORDER BY lpad(invnumber, 20), period_start_date"
        )
        return [(config, period) for config, period in found if not configs or config in configs]

    def numbers(self) -> list[str]:
        """All invoice numbers, shortest first."""
        return [
            row[0] for row in self.rows("SELECT invnumber FROM ar ORDER BY lpad(invnumber, 20)")
        ]

    def faults(self) -> list[str]:
        """What must never be in the books of orders with one item each; empty if all is well.

        Periods billed twice, numbers with gaps or repeats, invoices that lack a part.
        """
        faults = [f"{key} billed {n} times" for key, n in Counter(self.billed()).items() if n > 1]
        numbers = self.numbers()
        if numbers != [str(n) for n in range(1, len(numbers) + 1)]:
            faults.append(f"numbers: {numbers}")
        last = self.value("SELECT invnumber FROM defaults")
        if last != str(len(numbers)):
            faults.append(f"the number range stands at {last} after {len(numbers)} invoices")
        for table, (column, expected) in PARTS_OF_AN_INVOICE.items():
            faults += [
                f"invoice {number} has {n} rows in {table}"
                for number, n in self.rows(
                    f"SELECT invnumber, count(part.{column}) FROM ar"  # noqa: S608
                    f"  LEFT JOIN {table} part ON part.{column} = ar.id GROUP BY ar.id"
                )
                if n != expected
            ]
            faults += [
                f"{n} rows of {table} have no invoice"
                for (n,) in self.rows(
                    f"SELECT count(*) FROM {table}"  # noqa: S608
                    f" WHERE {column} NOT IN (SELECT id FROM ar) HAVING count(*) > 0"
                )
            ]
        links = self.rows("SELECT from_table, to_table, count(*) FROM record_links GROUP BY 1, 2")
        expected_links = {("oe", "ar", len(numbers)), ("orderitems", "invoice", len(numbers))}
        if numbers and set(links) != expected_links:
            faults.append(f"links: {links}")
        return faults

    def close(self) -> None:
        """Close the user's connection."""
        self.connection.close()

    def second_user(self) -> Connection:
        """Another connection, in a transaction; the caller closes it."""
        return connect(self.access, purpose="second user")

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        names = ", ".join(row)
        self.rows(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(row))})",  # noqa: S608
            *row.values(),
        )


def periods(billed: Iterable[tuple[int, date]]) -> list[str]:
    """Only the periods, as text."""
    return [str(period) for _, period in billed]


FAILED = 255


def in_child(action: Callable[[], int]) -> int:
    """Run something in a forked process, which ends without tidying up; its process id.

    The exit code is the number returned (0 to 254), or FAILED after an exception.
    """
    child = os.fork()
    if child == 0:
        code = FAILED
        try:
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


Action = Callable[[], object]


def stopping_at(fragment: str, action: Action) -> type[psycopg2.extensions.cursor]:
    """A cursor for :func:`bill` that lets something happen before a statement is sent.

    Before the first one that contains ``fragment``, once.
    """
    waiting = [action]

    class Stopping(psycopg2.extensions.cursor):
        def execute(self, query: Any, vars: Any = None) -> None:
            if waiting and fragment in str(query):
                waiting.pop()()
            super().execute(query, vars)

    return Stopping


def counting(sent: list[str]) -> type[psycopg2.extensions.cursor]:
    """A cursor for :func:`bill` that notes what is sent."""

    class Counting(psycopg2.extensions.cursor):
        def execute(self, query: Any, vars: Any = None) -> None:
            sent.append(str(query))
            super().execute(query, vars)

        def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
            sent.append(str(sql))
            super().copy_expert(sql, file, size)

    return Counting
