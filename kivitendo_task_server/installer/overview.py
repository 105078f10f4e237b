"""``tenant list``: every configuration with its clients, its process and the runs of its jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from kivitendo_task_server.config.settings import load
from kivitendo_task_server.daemon import pidfile
from kivitendo_task_server.daemon.piddirectory import path_for
from kivitendo_task_server.database import auth
from kivitendo_task_server.database.asynchronous import AsyncConnection
from kivitendo_task_server.database.clients import Runs, runs
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.installer import registration
from kivitendo_task_server.installer.site import Site
from kivitendo_task_server.installer.tenants import names

TITLES = ("NAME", "BOOT", "STATE", "PID", "CLIENT", "LAST RUN", "NEXT RUN", "REMARK")


@dataclass(frozen=True)
class Row:
    """One client of one configuration; a configuration without clients has one row as well."""

    name: str
    enabled: bool
    state: str
    pid: int | None
    client: str = ""
    last_run: datetime | None = None
    next_run: datetime | None = None
    remark: str = ""


def rows(at: Site) -> list[Row]:
    """All configurations of task servers; what cannot be found out is a remark."""
    return asyncio.run(_rows(at))


async def _rows(at: Site) -> list[Row]:
    return [row for each in await asyncio.gather(*(_of(at, name) for name in names(at)))
            for row in each]  # fmt: skip


async def _of(at: Site, name: str) -> list[Row]:
    file = at.config_file(name)
    enabled = registration.is_enabled(at.host, name, at.settings.instances)
    state, pid = _process(at.place, Path("config") / file.name)
    if not file.exists():
        return [Row(name, enabled, state, pid, remark="the configuration is missing")]
    try:
        settings = load(file, kivitendo_dir=at.place, environ={}).settings
        tenants = await auth.read_tenants(settings)
    except TaskServerError as error:
        return [Row(name, enabled, state, pid, remark=_one_line(error))]
    if not tenants:
        return [Row(name, enabled, state, pid, remark="no client has a task server user")]
    return [await _client(Row(name, enabled, state, pid), tenant) for tenant in tenants]


async def _client(row: Row, tenant: Tenant) -> Row:
    found, remark = Runs(None, None), ""
    try:
        connection = await AsyncConnection.open(tenant.access, purpose="tenant list")
        try:
            found = await runs(connection.query)
        finally:
            connection.close()
    except TaskServerError as error:
        remark = _one_line(error)
    return Row(row.name, row.enabled, row.state, row.pid, str(tenant), found.last, found.next,
               remark)  # fmt: skip


def _process(place: Path, config_file: Path) -> tuple[str, int | None]:
    try:
        found = pidfile.inspect(path_for(place, config_file))
    except TaskServerError as error:
        return _one_line(error), None
    state = {
        pidfile.State.NONE: "stopped",
        pidfile.State.RUNNING: "running",
        pidfile.State.FOREIGN: "Perl server",
        pidfile.State.EMPTY: "starting",
    }.get(found.state, "dead")
    return state, found.pid if found.alive else None


def as_table(rows: Sequence[Row]) -> list[str]:
    """The rows with titles, in columns; the last column appears only if it is needed."""
    cells = [TITLES, *(_cells(row) for row in rows)]
    if not any(row.remark for row in rows):
        cells = [line[:-1] for line in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def as_json(rows: Sequence[Row]) -> str:
    """The rows as a JSON list, times in ISO format."""
    return json.dumps(
        [asdict(row) for row in rows], indent=2, ensure_ascii=False,
        default=lambda value: value.isoformat(),
    )  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        "enabled" if row.enabled else "-",
        row.state,
        str(row.pid or "-"),
        row.client or "-",
        _time(row.last_run),
        _time(row.next_run),
        row.remark,
    )


def _time(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M") if moment else "-"


def _one_line(error: TaskServerError) -> str:
    return " ".join(str(error).split())
