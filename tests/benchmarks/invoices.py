"""``tools/bench invoices``: how fast recurring invoices are posted, beside two floors.

All figures of a size come from one run on one PostgreSQL with default durability. The floors write
the very rows that our run produced: (a) by multi-row INSERTs, one transaction an invoice; (b) by
COPY, all in one transaction. Every measurement has a fresh copy of the database.
"""

from __future__ import annotations

import argparse
import io
import logging
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2.extensions
from replay import GOLDEN, Database, tenant_database

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import DatabaseAccess, Settings
from kivitendo_task_server.database.connection import connect
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.demo.postgres import EmbeddedPostgres
from kivitendo_task_server.jobs.interface import JobContext, JobRow
from kivitendo_task_server.jobs.periodic_invoices.job import CreatePeriodicInvoices

TODAY = datetime(2026, 3, 15, 12, tzinfo=UTC)
ITEMS = 3
# what an invoice consists of: table, and the column that tells which invoice a row belongs to
WRITTEN = {
    "ar": "id",
    "invoice": "trans_id",
    "acc_trans": "trans_id",
    "periodic_invoices": "ar_id",
}
REPEATS = 3


@dataclass
class Measured:
    """One run: seconds, statements and round trips, peak memory in MB."""

    seconds: float
    statements: int = 0
    round_trips: int = 0
    memory: float = 0.0


class CountingCursor(psycopg2.extensions.cursor):
    """Counts what is sent; a text with several statements is one round trip."""

    statements = 0
    round_trips = 0

    def execute(self, query: Any, vars: Any = None) -> None:
        CountingCursor.round_trips += 1
        CountingCursor.statements += str(query).count(";") + 1
        super().execute(query, vars)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        CountingCursor.round_trips += 1
        CountingCursor.statements += 1
        super().copy_expert(sql, file, size)


def main() -> int:
    """Measure the sizes asked for and print one table."""
    parser = argparse.ArgumentParser(prog="bench invoices", description=__doc__)
    parser.add_argument("--orders", type=int, nargs="*", default=[300, 3600])
    parser.add_argument("--existing", type=int, nargs="*", default=[1000, 200_000])
    arguments = parser.parse_args()
    print("starting PostgreSQL (default durability) …", flush=True)
    with EmbeddedPostgres() as cluster:
        bench = Bench(cluster)
        for orders in arguments.orders:
            bench.compare_with_floors(orders)
        if arguments.existing:
            bench.compare_existing(300, arguments.existing)
    return 0


class Bench:
    """The measurements, on one cluster."""

    def __init__(self, cluster: EmbeddedPostgres) -> None:
        self._cluster = cluster
        self._serial = 0

    def compare_with_floors(self, orders: int) -> None:
        """Ours and both floors, each the best of some repeats, interleaved."""
        template = self._template(orders, existing=0)
        ours: list[Measured] = []
        single: list[float] = []
        copied: list[float] = []
        for _ in range(REPEATS):
            with self._copy(template) as access:
                ours.append(_in_child(run_job, access))
                rows = read_written(access)
            with self._copy(template) as access:
                single.append(write_singly(access, rows))
            with self._copy(template) as access:
                copied.append(write_by_copy(access, rows))
        best = min(ours, key=lambda one: one.seconds)
        print(f"\n{orders} orders with {ITEMS} items, one due period each; best of {REPEATS}:")
        for name, seconds in (
            ("ours", best.seconds),
            ("(a) rows by INSERT, a transaction an invoice", min(single)),
            ("(b) rows by COPY, one transaction", min(copied)),
        ):
            print(f"  {name:46} {orders / seconds:8.0f} invoices/s  {seconds:7.3f} s")
        print(
            f"  ours: {best.statements} statements ({best.statements / orders:.2f} an invoice),"
            f" {best.round_trips} round trips, peak memory {best.memory:.0f} MB"
        )
        print(
            f"  ours / (a) = {min(single) / best.seconds:.2f},"
            f" ours / (b) = {min(copied) / best.seconds:.2f}",
            flush=True,
        )

    def compare_existing(self, orders: int, sizes: list[int]) -> None:
        """The same orders beside more and more existing invoices."""
        print(f"\n{orders} orders beside existing invoices, best of {REPEATS}:")
        first = 0.0
        for existing in sizes:
            template = self._template(orders, existing)
            seconds = []
            for _ in range(REPEATS):
                with self._copy(template) as access:
                    seconds.append(_in_child(run_job, access).seconds)
            best = min(seconds)
            first = first or best
            print(
                f"  {existing:8} existing {orders / best:8.0f} invoices/s"
                f"  {best:7.3f} s  ratio to the first {best / first:.2f}",
                flush=True,
            )

    def _template(self, orders: int, existing: int) -> str:
        name = f"bench_{orders}_{existing}"
        print(f"preparing {orders} orders, {existing} existing invoices …", flush=True)
        access = tenant_database(self._cluster, name)
        fill(access, orders, existing)
        return name

    @contextmanager
    def _copy(self, template: str) -> Iterator[DatabaseAccess]:
        self._serial += 1
        name = f"copy_{self._serial}"
        self._maintain(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield self._cluster.access(name)
        self._maintain(f"DROP DATABASE {name} WITH (FORCE)")

    def _maintain(self, statement: str) -> None:
        connection = connect(self._cluster.access("postgres"), purpose="bench")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            cursor.execute("CHECKPOINT")
        connection.close()


def fill(access: DatabaseAccess, orders: int, existing: int) -> None:
    """Master data of the golden vectors, our orders, and invoices of earlier years."""
    import json

    database = Database(access)
    database.clear()
    base = json.loads((GOLDEN / "base.json").read_text("utf-8"))
    database.load(base, {"input": {}})
    cursor = database.cu
    cursor.execute(
        "INSERT INTO oe (id, record_type, ordnumber, transdate, customer_id, taxzone_id,"
        "                currency_id, taxincluded, employee_id, salesman_id, notes)"
        " SELECT 2000000 + n, 'sales_order', 'AB-' || n, '2025-11-20', 1001, 401, 1, n %% 2 = 0,"
        "        202, 202, '<p>Wartung &lt;%%current_month_long%%&gt;</p>'"
        "   FROM generate_series(1, %(orders)s) n;"
        "INSERT INTO orderitems (id, trans_id, parts_id, position, qty, unit, sellprice, base_qty,"
        "                        discount, description)"
        " SELECT 3000000 + n * 3 + i, 2000000 + n, 2002 + i %% 2, i, 1 + i,"
        "        CASE WHEN i %% 2 = 0 THEN 'Std' ELSE 'Stk' END, 10.5 + n %% 97 + i, 1 + i, 0.03,"
        "        'Wartung <%%current_month_long%%> <%%current_year%%>'"
        "   FROM generate_series(1, %(orders)s) n, generate_series(1, 3) i;"
        "INSERT INTO periodic_invoices_configs (id, oe_id, periodicity, order_value_periodicity,"
        "                                       active, start_date, ar_chart_id)"
        " SELECT 4000000 + n, 2000000 + n, 'm', 'p', true, '2026-03-01', 101"
        "   FROM generate_series(1, %(orders)s) n;"
        "INSERT INTO oe (id, record_type, ordnumber, customer_id, taxzone_id, currency_id)"
        " VALUES (1999999, 'sales_order', 'alt', 1001, 401, 1);"
        "INSERT INTO periodic_invoices_configs (id, oe_id, periodicity, order_value_periodicity,"
        "                                       active, start_date, ar_chart_id)"
        " VALUES (1999999, 1999999, 'm', 'p', false, '2020-01-01', 101);"
        "INSERT INTO ar (id, invnumber, customer_id, taxzone_id, currency_id, amount, netamount)"
        " SELECT 5000000 + n, 'ALT-' || n, 1001, 401, 1, 119, 100"
        "   FROM generate_series(1, %(existing)s) n;"
        "INSERT INTO invoice (id, trans_id, parts_id, qty, base_qty, position)"
        " SELECT 5000000 + n, 5000000 + n, 2003, 1, 1, 1 FROM generate_series(1, %(existing)s) n;"
        "INSERT INTO acc_trans (trans_id, chart_id, amount, taxkey, chart_link, tax_id)"
        " SELECT 5000000 + n, 101, a, 0, 'AR', 700"
        "   FROM generate_series(1, %(existing)s) n, unnest(ARRAY[100, 19, -119]) a;"
        "INSERT INTO periodic_invoices (config_id, ar_id, period_start_date)"
        " SELECT 1999999, 5000000 + n, '2020-01-01' FROM generate_series(1, %(existing)s) n;"
        "SELECT setval('glid', 6000000), setval('invoiceid', 6000000), setval('id', 6000000)",
        {"orders": orders, "existing": existing},
    )
    cursor.execute("VACUUM ANALYZE")
    database.cx.close()


def run_job(access: DatabaseAccess) -> Measured:
    """Our job, once, with what it sends counted."""
    logging.getLogger("bench").addHandler(logging.NullHandler())
    logging.getLogger("bench").propagate = False
    connection = connect(access, purpose="bench")
    connection.cursor_factory = CountingCursor
    context = JobContext(
        tenant=Tenant(1, "bench", access, TenantUser("bench")),
        connection=connection,
        settings=Settings(access, Path("config/kivitendo.conf")),
        clock=FixedClock(TODAY),
        log=logging.getLogger("bench"),
        job=JobRow(1, "interval", "CreatePeriodicInvoices"),
        options={},
        kivitendo_dir=Path.cwd(),
    )
    began = time.perf_counter()
    result = CreatePeriodicInvoices().run(context)
    seconds = time.perf_counter() - began
    connection.close()
    if result.failed:
        raise SystemExit(f"the job failed: {result.error}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(seconds, CountingCursor.statements, CountingCursor.round_trips, memory)


Rows = dict[str, tuple[list[str], list[list[Any]]]]


def read_written(access: DatabaseAccess) -> Rows:
    """All rows of the new invoices, as text, with their ids, ordered by invoice."""
    connection = connect(access, purpose="bench")
    rows: Rows = {}
    with connection, connection.cursor() as cursor:
        for table, key in WRITTEN.items():
            cursor.execute(f"SELECT * FROM {table} LIMIT 0")  # noqa: S608
            names = [column.name for column in cursor.description or ()]
            texts = ", ".join(f'"{name}"::text' for name in names)
            cursor.execute(f"SELECT {key}, {texts} FROM {table} WHERE {key} > 6000000 ORDER BY 1")  # noqa: S608
            rows[table] = (names, [list(row) for row in cursor.fetchall()])
        cursor.execute(
            "SELECT coalesce(invoice.trans_id, link.to_id), from_table, from_id::text, to_table,"
            "       to_id::text"
            "  FROM record_links link"
            "  LEFT JOIN invoice ON link.to_table = 'invoice' AND invoice.id = link.to_id"
            " ORDER BY 1"
        )
        names = ["from_table", "from_id", "to_table", "to_id"]
        rows["record_links"] = (names, [list(row) for row in cursor.fetchall()])
    connection.close()
    return rows


def write_singly(access: DatabaseAccess, rows: Rows) -> float:
    """Floor (a): one transaction an invoice, one multi-row INSERT a table."""
    by_invoice: dict[int, dict[str, list[list[Any]]]] = {}
    for table, (_, lines) in rows.items():
        for key, *values in lines:
            by_invoice.setdefault(key, {}).setdefault(table, []).append(values)
    connection = connect(access, purpose="bench")
    began = time.perf_counter()
    with connection.cursor() as cursor:
        for tables in by_invoice.values():
            for table, lines in tables.items():
                names = ", ".join(f'"{name}"' for name in rows[table][0])
                one = "(" + ", ".join(["%s"] * len(lines[0])) + ")"
                cursor.execute(
                    f"INSERT INTO {table} ({names}) VALUES {', '.join([one] * len(lines))}",  # noqa: S608
                    [value for line in lines for value in line],
                )
            cursor.execute("UPDATE defaults SET invnumber = %s", (tables["ar"][0][1],))
            connection.commit()
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


def write_by_copy(access: DatabaseAccess, rows: Rows) -> float:
    """Floor (b): all rows by COPY in one transaction."""
    connection = connect(access, purpose="bench")
    began = time.perf_counter()
    with connection, connection.cursor() as cursor:
        for table, (names, lines) in rows.items():
            text = "".join(
                "\t".join("\\N" if v is None else v.replace("\\", "\\\\").replace("\n", "\\n")
                          for v in values) + "\n"
                for _, *values in lines
            )  # fmt: skip
            columns = ", ".join(f'"{name}"' for name in names)
            cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", io.StringIO(text))
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


def _in_child(function: Callable[[DatabaseAccess], Measured], access: DatabaseAccess) -> Measured:
    """Run in a fresh process, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (access,))


if __name__ == "__main__":
    raise SystemExit(main())
