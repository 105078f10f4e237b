"""``jobs``: shows and changes the background jobs of the tenants."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kivitendo_task_server.cli.tenants import add_tenant_option
from kivitendo_task_server.errors import TaskServerError, UsageError

if TYPE_CHECKING:
    from kivitendo_task_server.database.connection import Connection
    from kivitendo_task_server.database.job_rows import ListedJob
    from kivitendo_task_server.database.tenants import Tenant
    from kivitendo_task_server.scheduling.job_editing import Installation

LARGEST_DATA = 1_000_000  # bytes


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its own commands."""
    parser = commands.add_parser(
        "jobs",
        help="list, create, switch on and off, and delete background jobs",
        description="Without a command of its own it lists the jobs of all tenants.",
    )
    parser.add_argument(
        "--runners", action="store_true", help="show who runs which job, and why, and nothing else"
    )
    parser.set_defaults(run=run_list_or_runners, tenant=[])
    actions = parser.add_subparsers(metavar="ACTION")
    _add(actions, "list", run_list, "list jobs (default: of all tenants)")
    _add_create(actions)
    for name, function, text in (
        ("enable", run_enable, "let a job run again by its schedule"),
        ("disable", run_disable, "let a job not run any more"),
        ("delete", run_delete, "remove a job; its history stays"),
    ):
        _add(actions, name, function, text).add_argument("id", metavar="ID", type=_job_id)


def _add(actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, function: object,
         text: str) -> argparse.ArgumentParser:  # fmt: skip
    parser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    add_tenant_option(parser)
    parser.set_defaults(run=function)
    return parser


def _add_create(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(actions, "create", run_create, "create a job, or all standard jobs")
    parser.add_argument("name", metavar="NAME", nargs="?", help="such as CloseQuotations")
    parser.add_argument(
        "--standard",
        action="store_true",
        help="create what is missing of the jobs every tenant should have, in all tenants unless"
        " --tenant is given",
    )
    parser.add_argument(
        "--cron", metavar="SPEC", help="minute hour day month weekday (default: the job's own)"
    )
    parser.add_argument(
        "--data", metavar="FILE", help="options of the job, 'key: value' lines; - reads stdin"
    )
    parser.add_argument(
        "--once", action="store_true", help="run once: by --cron, or at once without it"
    )


def run_list_or_runners(arguments: argparse.Namespace) -> int:
    """``jobs`` and ``jobs --runners``."""
    return run_runners(arguments) if arguments.runners else run_list(arguments)


def run_runners(arguments: argparse.Namespace) -> int:
    """Print who runs which job, and why."""
    from kivitendo_task_server.cli.table import print_table
    from kivitendo_task_server.cli.target import target
    from kivitendo_task_server.config.settings import load
    from kivitendo_task_server.jobs import registry

    aim = target(arguments)
    runners = load(aim.config_file, kivitendo_dir=aim.kivitendo_dir).settings.runners
    choices = [
        registry.choose(name, runners, aim.kivitendo_dir)
        for name in registry.known_names(runners, aim.kivitendo_dir)
    ]
    print_table(
        ("JOB", "RUNNER", "WHY"),
        [(choice.name, choice.runner, " ".join(choice.why.split())) for choice in choices],
    )
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Print the jobs; 1 if a tenant's database could not be read, which is told and passed over."""
    from kivitendo_task_server.database import job_rows

    here, tenants = _here(arguments)
    code = 0
    for number, tenant in enumerate(tenants):
        print(f"{'' if number == 0 else chr(10)}tenant {tenant}")
        try:
            with _database(tenant) as connection:
                _print_jobs(here, job_rows.all_jobs(connection))
        except TaskServerError as error:
            print(f"kivitendo-task-server: {error}", file=sys.stderr)
            code = error.exit_code
    return code


def run_create(arguments: argparse.Namespace) -> int:
    """Create one job, or the standard jobs."""
    if arguments.standard == (arguments.name is not None):
        raise UsageError("either NAME or --standard is needed", remedy="see jobs create --help")
    if arguments.standard and (arguments.cron or arguments.data or arguments.once):
        raise UsageError("--standard goes with no other option but --tenant")
    here, tenants = _here(arguments)
    if arguments.standard:
        for tenant in tenants:
            _create_standard(here, tenant)
        return 0
    from kivitendo_task_server.database import job_rows

    tenant = _one_tenant(tenants)
    new = here.checked(
        arguments.name,
        type="once" if arguments.once else "interval",
        cron_spec=arguments.cron,
        data=_read_data(arguments.data),
    )
    with _database(tenant) as connection:
        job_id = job_rows.insert(connection, new)
    due = "at once" if new.type == "once" and not new.cron_spec else f"{new.next_run_at}"
    print(f"job {job_id} created: {new.package_name}, {new.type}, next run: {due}")
    return 0


def run_enable(arguments: argparse.Namespace) -> int:
    """Activate a job, from now on."""
    from kivitendo_task_server.database import job_rows

    here, tenants = _here(arguments)
    with _database(_one_tenant(tenants)) as connection:
        row = _existing(connection, arguments.id)
        next_run_at = here.next_run(row.cron_spec)
        job_rows.activate(connection, row.id, next_run_at)
    print(f"job {row.id} ({row.package_name}) enabled, next run: {next_run_at}")
    return 0


def run_disable(arguments: argparse.Namespace) -> int:
    """Deactivate a job."""
    from kivitendo_task_server.database import job_rows

    return _change(arguments, job_rows.deactivate, "disabled")


def run_delete(arguments: argparse.Namespace) -> int:
    """Delete a job."""
    from kivitendo_task_server.database import job_rows

    return _change(arguments, job_rows.delete, "deleted")


def _change(
    arguments: argparse.Namespace, change: Callable[[Connection, int], None], done: str
) -> int:
    _, tenants = _here(arguments)
    with _database(_one_tenant(tenants)) as connection:
        row = _existing(connection, arguments.id)
        change(connection, row.id)
    print(f"job {row.id} ({row.package_name}) {done}")
    return 0


def _create_standard(here: Installation, tenant: Tenant) -> None:
    from kivitendo_task_server.database import job_rows

    with _database(tenant) as connection:
        new, remarks = here.missing_standard_jobs(connection)
        for each in new:
            job_id = job_rows.insert(connection, each)
            print(f"tenant {tenant}: job {job_id} created: {each.package_name}, {each.cron_spec}")
    for remark in remarks:
        print(f"tenant {tenant}: {remark}")
    if not new:
        print(f"tenant {tenant}: nothing to create")


def _print_jobs(here: Installation, rows: list[ListedJob]) -> None:
    from kivitendo_task_server.cli.table import print_table
    from kivitendo_task_server.jobs import registry

    settings, folder = here.settings.runners, here.kivitendo_dir
    names = {row.package_name for row in rows}
    runners = {name: registry.choose(name, settings, folder).runner for name in names}
    header = ("ID", "JOB", "TYPE", "SCHEDULE", "ACTIVE", "LAST RUN", "STATUS", "NEXT RUN", "RUNNER")
    print_table(
        header,
        [
            (
                *(str(row.id), row.package_name, row.type or "-", row.cron_spec or "-"),
                *("yes" if row.active else "no", _time(row.last_run_at), row.last_status or "-"),
                _time(row.next_run_at),
                runners[row.package_name],
            )
            for row in rows
        ],
    )


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else moment.isoformat(" ", "minutes")


def _here(arguments: argparse.Namespace) -> tuple[Installation, list[Tenant]]:
    """The installation, and the tenants the command is for."""
    from kivitendo_task_server.cli.tenants import served
    from kivitendo_task_server.clock import SystemClock
    from kivitendo_task_server.scheduling.job_editing import Installation

    found = served(arguments)
    return Installation(found.settings, found.kivitendo_dir, SystemClock()), found.tenants


def _one_tenant(tenants: list[Tenant]) -> Tenant:
    if not tenants:
        raise UsageError(
            "no tenant is served",
            remedy="choose a task server user for the client in kivitendo's administration",
        )
    if len(tenants) > 1:
        names = ", ".join(map(str, tenants))
        raise UsageError("one tenant must be named with --tenant", remedy=f"choices: {names}")
    return tenants[0]


@contextmanager
def _database(tenant: Tenant) -> Iterator[Connection]:
    """The tenant's database in one transaction, committed if nothing goes wrong."""
    import psycopg2

    from kivitendo_task_server.database.connection import connect, one_line
    from kivitendo_task_server.errors import DatabaseError

    try:
        with closing(connect(tenant.access, purpose="jobs")) as connection, connection:
            yield connection
    except psycopg2.Error as error:
        raise DatabaseError(one_line(error), where=f"tenant {tenant}") from error


def _existing(connection: Connection, job_id: int) -> ListedJob:
    from kivitendo_task_server.scheduling.job_editing import existing

    return existing(connection, job_id)


def _read_data(name: str | None) -> str | None:
    """The text of the file, UTF-8, or of stdin."""
    if name is None:
        return None
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(LARGEST_DATA + 1)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(LARGEST_DATA + 1)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", where="--data") from error
    if len(raw) > LARGEST_DATA:
        raise UsageError(f"more than {LARGEST_DATA} bytes", where="--data")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8", where="--data") from error


def _job_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:10]) < 2**31):
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a job")
    return int(text)
