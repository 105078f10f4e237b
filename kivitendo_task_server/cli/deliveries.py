"""``deliveries``: invoices that are not mailed or printed yet, why, and another attempt."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from kivitendo_task_server.cli.tenants import add_tenant_option

if TYPE_CHECKING:
    from kivitendo_task_server.cli.tenants import Served
    from kivitendo_task_server.database.connection import Connection
    from kivitendo_task_server.database.tenants import Tenant
    from kivitendo_task_server.jobs.interface import JobContext
    from kivitendo_task_server.jobs.periodic_invoices.delivery.queue import Delivery


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "deliveries",
        help="show and repeat mails and prints of recurring invoices that failed",
        description="Shows the mails and prints of recurring invoices that have not been"
        " delivered. Pending ones are repeated by every run of the job; failed ones were given up;"
        " of ambiguous ones nobody knows whether they arrived.",
    )
    add_tenant_option(parser)
    parser.add_argument(
        "--retry",
        metavar="ID",
        nargs="*",
        type=int,
        help="repeat those now; without an ID all that are pending or failed. Ambiguous ones must"
        " be named: they may arrive twice",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for other programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show, or repeat; exit code 1 if a tenant cannot be reached or something failed again."""
    import json

    from kivitendo_task_server.cli.tenants import served
    from kivitendo_task_server.errors import TaskServerError, UsageError

    here = served(arguments)
    if arguments.retry and len(here.tenants) > 1:
        raise UsageError(
            "each tenant numbers its deliveries itself", remedy="name the tenant with --tenant"
        )
    if arguments.retry is not None:
        _become_run_as(here)
    trouble = False
    shown: list[dict[str, Any]] = []
    for tenant in here.tenants:
        try:
            connection = _connection(tenant)
            try:
                if arguments.retry is not None:
                    trouble |= not _repeat(here, tenant, connection, arguments.retry)
                deliveries = _undelivered(connection)
            finally:
                connection.close()
        except TaskServerError as error:
            print(f"kivitendo-task-server: tenant {tenant}: {error}", file=sys.stderr)
            trouble = True
            continue
        if arguments.json:
            shown += [_as_json(tenant, delivery) for delivery in deliveries]
        else:
            _print(tenant, deliveries)
    if arguments.json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    return 1 if trouble else 0


def _connection(tenant: Tenant) -> Connection:
    from kivitendo_task_server.database.connection import connect

    return connect(tenant.access, purpose="deliveries")


def _undelivered(connection: Connection) -> list[Delivery]:
    from kivitendo_task_server.database import own_schema
    from kivitendo_task_server.jobs.periodic_invoices.delivery.queue import Queue

    with connection, connection.cursor() as cursor:
        cursor.execute(own_schema.PRESENT)
        if "deliveries" not in {row[0] for row in cursor}:
            return []  # nothing was ever posted here
    return Queue(connection).select(["pending", "sending", "failed", "ambiguous"])


def _repeat(here: Served, tenant: Tenant, connection: Connection, ids: list[int]) -> bool:
    """Another attempt; whether nothing failed."""
    from kivitendo_task_server.database import own_schema
    from kivitendo_task_server.jobs.periodic_invoices.delivery import repeat_deliveries

    own_schema.ensure(connection)
    report = repeat_deliveries(_context(here, tenant, connection), ids or None)
    text = report.text()
    if text:
        print(text, file=sys.stderr)
    for problem in report.problems:
        print(f"kivitendo-task-server: tenant {tenant}: {problem}", file=sys.stderr)
    return not report.errors(tenant.user.countrycode)


def _context(here: Served, tenant: Tenant, connection: Connection) -> JobContext:
    import logging

    from kivitendo_task_server.clock import SystemClock
    from kivitendo_task_server.jobs.interface import JobContext, JobRow

    quiet = logging.getLogger("kivitendo_task_server.deliveries")
    quiet.addHandler(logging.NullHandler())  # what failed is said once, at the end
    quiet.propagate = False
    return JobContext(
        tenant=tenant,
        connection=connection,
        settings=here.settings,
        clock=SystemClock(),
        log=quiet,
        job=JobRow(0, None, "CreatePeriodicInvoices"),
        options={},
        kivitendo_dir=here.kivitendo_dir,
    )


def _become_run_as(here: Served) -> None:
    """Documents must belong to the user of the service, not to root."""
    import os

    from kivitendo_task_server.daemon import privileges

    where = f"{here.settings.config_file}: [task_server] run_as"
    account = privileges.look_up(here.settings.task_server.run_as, where=where)
    if account is not None and os.geteuid() == 0:
        privileges.become(account, where=where)


def _as_json(tenant: Tenant, delivery: Delivery) -> dict[str, Any]:
    return {
        "tenant": tenant.name,
        "tenant_id": tenant.id,
        "id": delivery.id,
        "invoice": delivery.invnumber,
        "kind": delivery.kind,
        "recipient": delivery.recipient or None,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "since": delivery.enqueued_at.isoformat(timespec="seconds"),
        "reason": delivery.reason,
    }


def _print(tenant: Tenant, deliveries: list[Delivery]) -> None:
    if not deliveries:
        print(f"Tenant {tenant}: everything is delivered")
        return
    count = len(deliveries)
    print(f"Tenant {tenant}: {count} {'delivery is' if count == 1 else 'deliveries are'} open")
    for one in deliveries:
        what = "mail" if one.kind == "email" else "print"
        to = f" to {one.recipient}" if one.recipient else ""
        tried = f", {one.attempts} attempt{'' if one.attempts == 1 else 's'}"
        print(
            f"  {one.id:>5}  {one.state:<9}  {what} of invoice {one.invnumber or '(deleted)'}{to}"
            f" since {one.enqueued_at:%Y-%m-%d %H:%M}{tried}"
        )
        if one.reason:
            print(f"         {' '.join(one.reason.split())}")
