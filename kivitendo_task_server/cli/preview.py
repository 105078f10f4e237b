"""``preview``: which recurring invoices would be posted, with amounts, without writing anything."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from typing import TYPE_CHECKING, Any

from kivitendo_task_server.cli.tenants import add_tenant_option

if TYPE_CHECKING:
    from kivitendo_task_server.config.settings import Settings
    from kivitendo_task_server.database.tenants import Tenant
    from kivitendo_task_server.jobs.periodic_invoices.preview import Preview

FURTHEST = 10  # years; every period until then is planned


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "preview",
        help="show which recurring invoices would be posted",
        description="Shows which recurring invoices would be posted, with amounts. Plans them as"
        " the job does, and writes nothing.",
    )
    add_tenant_option(parser)
    parser.add_argument(
        "--until",
        metavar="DATE",
        type=_date,
        help="also what daily runs would post until this day, YYYY-MM-DD (default: today)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for other programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the previews; exit code 1 if a tenant could not be read or an order would fail."""
    import json

    from kivitendo_task_server.cli.tenants import served
    from kivitendo_task_server.clock import SystemClock, today
    from kivitendo_task_server.errors import TaskServerError, UsageError

    clock = SystemClock()
    until = arguments.until or today(clock)
    if until < today(clock):
        raise UsageError(f"--until {until} lies in the past", remedy="name today or a later day")
    if until.year > today(clock).year + FURTHEST:
        raise UsageError(
            f"--until {until} is too far away", remedy=f"name a day within {FURTHEST} years"
        )
    here = served(arguments)
    trouble = False
    previews: list[dict[str, Any]] = []
    for tenant in here.tenants:
        try:
            result = _preview(tenant, here.settings, until)
        except TaskServerError as error:
            print(f"kivitendo-task-server: tenant {tenant}: {error}", file=sys.stderr)
            trouble = True
            continue
        trouble = trouble or bool(result.failures)
        if arguments.json:
            previews.append(_as_json(tenant, result))
        else:
            _print(tenant, result, until)
    if arguments.json:
        print(json.dumps(previews, indent=2, ensure_ascii=False))
    return 1 if trouble else 0


def _preview(tenant: Tenant, settings: Settings, until: date) -> Preview:
    import psycopg2

    from kivitendo_task_server.clock import SystemClock
    from kivitendo_task_server.database.connection import connect, one_line
    from kivitendo_task_server.errors import DatabaseError
    from kivitendo_task_server.jobs.periodic_invoices.job import circumstances_of
    from kivitendo_task_server.jobs.periodic_invoices.preview import preview

    connection = connect(tenant.access, purpose="preview")
    try:
        return preview(
            connection,
            circumstances_of(connection, tenant.user, SystemClock(), settings.periodic_invoices),
            until,
        )
    except psycopg2.Error as error:
        raise DatabaseError(one_line(error), where=f"database {tenant.access}") from error
    finally:
        connection.close()


def _as_json(tenant: Tenant, result: Preview) -> dict[str, Any]:
    return {
        "tenant": tenant.name,
        "tenant_id": tenant.id,
        "invoices": [
            {
                "run_date": str(one.run_date),
                "order": one.ordnumber,
                "customer": one.customer,
                "period": str(one.period),
                "net": f"{one.netamount:.2f}",
                "total": f"{one.amount:.2f}",
                "warnings": list(one.warnings),
            }
            for one in result.invoices
        ],
        "failures": [
            {
                "order": one.ordnumber,
                "period": str(one.period) if one.period else None,
                "message": one.message,
            }
            for one in result.failures
        ],
        "warnings": result.warnings,
    }


def _print(tenant: Tenant, result: Preview, until: date) -> None:
    count = len(result.invoices)
    print(f"Tenant {tenant}: {count} invoice{'' if count == 1 else 's'} until {until}")
    if result.invoices:
        rows = [("posted on", "order", "customer", "period from", "net", "total")]
        rows += [
            (
                str(one.run_date),
                one.ordnumber,
                one.customer,
                str(one.period),
                f"{one.netamount:.2f}",
                f"{one.amount:.2f}",
            )
            for one in result.invoices
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        for row in rows:
            texts = [
                text.rjust(width) if column >= 4 else text.ljust(width)
                for column, (text, width) in enumerate(zip(row, widths, strict=True))
            ]
            print("  " + "  ".join(texts).rstrip())
        net = sum(one.netamount for one in result.invoices)
        total = sum(one.amount for one in result.invoices)
        print(f"  sum: net {net:.2f}, total {total:.2f}")
    for one in result.invoices:
        for warning in one.warnings:
            print(f"  warning: order {one.ordnumber}, period {one.period}: {warning}")
    for warning in result.warnings:
        print(f"  warning: {warning}")
    for failure in result.failures:
        print(f"  would fail: {failure}")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date (YYYY-MM-DD)") from error
