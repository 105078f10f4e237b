"""The demo from beginning to end: a small kivitendo, the real service on it, what it did."""

from __future__ import annotations

import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import psycopg2
from psycopg2 import sql

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import Connection, connect, one_line
from kivitendo_task_server.demo import report
from kivitendo_task_server.demo.guardian import SERVICE_LOG
from kivitendo_task_server.demo.kivitendo_folder import write_kivitendo_folder, write_private
from kivitendo_task_server.demo.scenario import COMPANIES, Company
from kivitendo_task_server.demo.service import Note, await_running, make_due, run_until_idle
from kivitendo_task_server.demo.stage import Stage, open_stage
from kivitendo_task_server.demo.tenant_data import write_auth, write_tenant
from kivitendo_task_server.errors import DatabaseError, TaskServerError

ROLE = "kivitendo"  # owns the databases; the service needs no superuser
AUTH = "kivitendo_auth"
SCHEMAS = Path(__file__).parent
Tenants: TypeAlias = tuple[tuple[Company, DatabaseAccess], ...]
Row = TypeVar("Row")


def run_demo(*, keep: bool, folder: Path | None) -> int:
    """Run the whole demo and return the exit code.

    Raises TaskServerError if something did not come out as it must, or PostgreSQL went away.
    """
    try:
        return _run(keep, folder)
    except psycopg2.Error as error:
        raise DatabaseError(
            f"the demo's PostgreSQL went away: {one_line(error)}", remedy="start the demo again"
        ) from error


def _run(keep: bool, folder: Path | None) -> int:
    begun = time.monotonic()

    def note(text: str) -> None:
        print(f"[{time.monotonic() - begun:5.1f} s] {text}", flush=True)

    note("starting a PostgreSQL of our own")
    with open_stage(folder) as stage:
        note(f"it listens on 127.0.0.1, port {stage.superuser.port}; all files are in"
             f" {stage.folder}")  # fmt: skip
        auth, tenants = _make_databases(stage)
        configuration = write_kivitendo_folder(stage.folder / "kivitendo", auth)
        for company, access in tenants:
            connection = connect(access, purpose="demo")
            orders = report.orders_line(connection, datetime.now().date())
            connection.close()
            note(f"tenant {company.name}: {orders}")

        faults = _first_call(stage, configuration, tenants, note)
        faults += _second_call(stage, configuration, tenants, note)
        if faults:
            raise TaskServerError("the demo came out wrong: " + "; ".join(faults))
        if keep:
            stage.keep(configuration)
            await_running(configuration, stage.folder / SERVICE_LOG)
            note("done; everything keeps running")
            print(_how_to_look_around(stage, configuration, tenants))
    if not keep:
        note(f"done; PostgreSQL is stopped and {stage.folder} removed")
    return 0


def _first_call(stage: Stage, configuration: Path, tenants: Tenants, note: Note) -> list[str]:
    databases = [access for _, access in tenants]
    note(f"starting the service: kivitendo-task-server -c {configuration} -f start")
    ran = run_until_idle(configuration, databases, stage.folder / SERVICE_LOG, note)
    note(f"all due jobs done {ran.seconds:.1f} s after its start; stopped it")
    faults = []
    for company, access in tenants:
        invoices = _read(access, report.read_invoices)
        _headline(f"Invoices of {company.name}")
        print(report.invoices_table(invoices))
        print(report.totals_line(invoices))
        faults += report.faults(company.name, invoices)
    runs = _runs(tenants)
    _headline("Orders that failed; the others were not held up")
    print(report.failures_table(runs))
    _headline("Job history")
    print(report.runs_table(runs))
    print(flush=True)
    return faults


def _second_call(stage: Stage, configuration: Path, tenants: Tenants, note: Note) -> list[str]:
    databases = [access for _, access in tenants]
    before = [_read(access, report.read_invoices) for access in databases]
    already = Counter(name for name, _ in _runs(tenants))
    note("making the invoice jobs due once more, and starting the service again")
    make_due(databases, "CreatePeriodicInvoices")
    ran = run_until_idle(configuration, databases, stage.folder / SERVICE_LOG, note)
    note(f"all due jobs done {ran.seconds:.1f} s after its start; stopped it")
    _headline("The second call")
    print(report.runs_table(_runs(tenants, already)))
    print()
    faults = []
    for (company, access), known in zip(tenants, before, strict=True):
        now = _read(access, report.read_invoices)
        new = len(now) - len(known)
        print(f"{company.name}: {len(known)} invoices before, {len(now)} now, {new} new")
        faults += report.faults(company.name, now)
    print(flush=True)
    return faults


def _make_databases(stage: Stage) -> tuple[DatabaseAccess, Tenants]:
    """The auth database and the tenants', all with rows; they belong to a role of their own."""
    password = secrets.token_urlsafe(24)
    names = [AUTH, *(company.database for company in COMPANIES)]
    connection = connect(stage.access("postgres"), purpose="demo")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD %s").format(sql.Identifier(ROLE)), (password,)
        )
        for name in names:
            cursor.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(ROLE)
                )
            )
    connection.close()
    auth, *databases = (
        DatabaseAccess(stage.superuser.host, stage.superuser.port, name, ROLE, password)
        for name in names
    )
    tenants = tuple(zip(COMPANIES, databases, strict=True))
    now = datetime.now().replace(microsecond=0)
    for company, access in tenants:
        connection = _with_tables(access, "tenant_schema.sql")
        write_tenant(connection, company, now)
        connection.close()
    connection = _with_tables(auth, "auth_schema.sql")
    write_auth(connection, tenants)
    connection.close()
    return auth, tenants


def _with_tables(access: DatabaseAccess, schema: str) -> Connection:
    connection = connect(access, purpose="demo")
    with connection, connection.cursor() as cursor:
        cursor.execute((SCHEMAS / schema).read_text())
    return connection


def _read(access: DatabaseAccess, query: Callable[[Connection], list[Row]]) -> list[Row]:
    connection = connect(access, purpose="demo")
    try:
        return query(connection)
    finally:
        connection.close()


def _runs(
    tenants: Tenants, already: Mapping[str, int] = MappingProxyType({})
) -> list[tuple[str, report.Run]]:
    """History rows with their tenant, in the order they were run.

    ``already``: tenant -> how many of its first ones are to be left out.
    """
    runs = [
        (company.name, run)
        for company, access in tenants
        for run in _read(access, report.read_runs)[already.get(company.name, 0) :]
    ]
    return sorted(runs, key=lambda pair: pair[1].run_at)


def _headline(text: str) -> None:
    print(f"\n{text}\n{'=' * len(text)}")


def _how_to_look_around(stage: Stage, configuration: Path, tenants: Tenants) -> str:
    """The commands for another look, with this demo's port and paths."""
    access = tenants[0][1]
    passwords = stage.folder / "pgpass"
    write_private(passwords, f"127.0.0.1:{access.port}:*:{access.user}:{access.password}\n")
    psql = shutil.which("psql") or str(stage.programs / "psql")
    command = _command()
    others = ", ".join([*(each.name for _, each in tenants[1:]), AUTH])
    return f"""
Connect to {tenants[0][0].name} (other databases: {others}):
    PGPASSFILE={passwords} {psql} -h 127.0.0.1 -p {access.port} -U {access.user} {access.name}
Ask the service:
    {command} -c {configuration} status
Stop all of it and remove {stage.folder}:
    {command} demo --stop --folder {stage.folder}
"""


def _command() -> str:
    """How the user calls us."""
    script = Path(sys.executable).with_name("kivitendo-task-server")
    return str(script) if script.exists() else "kivitendo-task-server"
