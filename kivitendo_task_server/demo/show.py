"""The demo from beginning to end: a small kivitendo, the real service on it, what it did."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import psycopg2.sql

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import connect
from kivitendo_task_server.demo import report
from kivitendo_task_server.demo.guardian import SERVICE_LOG, service_command
from kivitendo_task_server.demo.kivitendo_folder import write_kivitendo_folder
from kivitendo_task_server.demo.scenario import COMPANIES, Company
from kivitendo_task_server.demo.service import make_due, run_until_idle
from kivitendo_task_server.demo.stage import Stage, open_stage
from kivitendo_task_server.demo.tenant_data import write_auth, write_tenant
from kivitendo_task_server.errors import TaskServerError

ROLE = "kivitendo"  # owns the databases; the service needs no superuser
SCHEMAS = Path(__file__).parent
Tenants = Sequence[tuple[Company, DatabaseAccess]]


def run_demo(*, keep: bool, folder: Path | None) -> int:
    """Run the whole demo and return the exit code: 1 if something did not come out as it must."""
    begun = time.monotonic()

    def note(text: str) -> None:
        print(f"[{time.monotonic() - begun:5.1f} s] {text}", flush=True)

    note("starting a PostgreSQL of our own")
    with open_stage(folder) as stage:
        note(f"it listens on 127.0.0.1, port {stage.superuser.port}; all files are in"
             f" {stage.folder}")  # fmt: skip
        tenants = _make_databases(stage)
        auth = _own_access(stage, "kivitendo_auth")
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
            note("done; everything keeps running")
            print(_how_to_look_around(stage, configuration, tenants))
        else:
            note("done; PostgreSQL and all files are removed")
    return 0


def _first_call(stage: Stage, configuration: Path, tenants: Tenants, note: report.Note) -> list[str]:
    databases = [access for _, access in tenants]
    note("starting the service: " + " ".join(service_command(configuration, "-f", "start")[2:]))
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


def _second_call(
    stage: Stage, configuration: Path, tenants: Tenants, note: report.Note
) -> list[str]:
    databases = [access for _, access in tenants]
    before = [_read(access, report.read_invoices) for access in databases]
    already = len(_runs(tenants))
    note("making the invoice jobs due once more, and starting the service again")
    make_due(databases, "CreatePeriodicInvoices")
    ran = run_until_idle(configuration, databases, stage.folder / SERVICE_LOG, note)
    note(f"all due jobs done {ran.seconds:.1f} s after its start; stopped it")
    _headline("The second call")
    print(report.runs_table(_runs(tenants)[already:]))
    faults = []
    for (company, access), known in zip(tenants, before, strict=True):
        now = _read(access, report.read_invoices)
        new = len(now) - len(known)
        print(f"{company.name}: {len(known)} invoices before, {len(now)} now, {new} new")
        faults += report.faults(company.name, now)
    print(flush=True)
    return faults
