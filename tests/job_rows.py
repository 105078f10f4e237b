"""Rows of kivitendo's tables for tests of the scheduler, and one statement at a time."""

from __future__ import annotations

from typing import Any

from kivitendo_fixture import KivitendoDir

from kivitendo_task_server.config.settings import DatabaseAccess, Settings, load
from kivitendo_task_server.database.connection import connect

Rows = list[tuple[Any, ...]]


def execute(access: DatabaseAccess, sql: str, *values: Any) -> Rows:
    """Run one statement in a transaction of its own; its rows."""
    connection = connect(access, purpose="test")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def settings_of(installation: KivitendoDir) -> Settings:
    """The settings of an installation, as the command reads them."""
    file = installation.path / "config/kivitendo.conf"
    return load(file, kivitendo_dir=installation.path).settings


def add_job(
    access: DatabaseAccess,
    package_name: str = "Test",
    *,
    type: str | None = "interval",
    active: bool | None = True,
    cron_spec: str | None = "0 3 * * *",
    next_run_at: Any = "2020-01-01 03:00:00",
    last_run_at: Any = None,
    data: str | None = None,
    node_id: str | None = None,
    description: str | None = None,
) -> int:
    """Insert a row of background_jobs, by default a due one; its id."""
    rows = execute(
        access,
        "INSERT INTO background_jobs (type, package_name, active, cron_spec, next_run_at,"
        " last_run_at, data, node_id, description)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        type, package_name, active, cron_spec, next_run_at, last_run_at, data, node_id,
        description,
    )  # fmt: skip
    return int(rows[0][0])
