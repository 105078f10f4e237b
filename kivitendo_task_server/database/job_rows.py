"""The rows of background_jobs as an administrator sees and changes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.due import representable


@dataclass(frozen=True)
class ListedJob:
    """One row, with how its last run ended."""

    id: int
    type: str | None
    package_name: str
    cron_spec: str | None
    active: bool
    last_run_at: datetime | None
    next_run_at: datetime | None
    last_status: str | None
    """``success`` or ``failure``; None if it never ran or its history is gone."""


@dataclass(frozen=True)
class NewJob:
    """What a new row holds; times are local without zone."""

    package_name: str
    type: str
    cron_spec: str | None
    next_run_at: datetime
    data: str | None = None


_SELECT = f"""
    SELECT j.id, j.type, COALESCE(j.package_name, ''), j.cron_spec, COALESCE(j.active, false),
           {representable("j.last_run_at")}, {representable("j.next_run_at")},
           (SELECT h.status FROM background_job_histories h
             WHERE h.package_name = j.package_name AND h.run_at = j.last_run_at
             ORDER BY h.id DESC LIMIT 1)
      FROM background_jobs j"""  # noqa: S608 - put together from constants


def all_jobs(connection: Connection) -> list[ListedJob]:
    """All rows by id."""
    with connection.cursor() as cursor:
        cursor.execute(f"{_SELECT} ORDER BY j.id")
        return [ListedJob(*row) for row in cursor.fetchall()]


def job(connection: Connection, job_id: int) -> ListedJob | None:
    """One row, locked against changes until the end of the transaction; None if there is none."""
    with connection.cursor() as cursor:
        cursor.execute(f"{_SELECT} WHERE j.id = %s FOR UPDATE OF j", (job_id,))
        row = cursor.fetchone()
    return ListedJob(*row) if row is not None else None


def insert(connection: Connection, new: NewJob) -> int:
    """Insert an active row; its id. The caller commits."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO background_jobs
                   (type, package_name, active, cron_spec, next_run_at, data)
               VALUES (%s, %s, true, %s, %s, %s) RETURNING id""",
            (new.type, new.package_name, new.cron_spec, new.next_run_at, new.data),
        )
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def activate(connection: Connection, job_id: int, next_run_at: datetime) -> None:
    """Let a row run again, next at that time. The caller commits."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE background_jobs SET active = true, next_run_at = %s WHERE id = %s",
            (next_run_at, job_id),
        )


def deactivate(connection: Connection, job_id: int) -> None:
    """Let a row not run any more. The caller commits."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE background_jobs SET active = false WHERE id = %s", (job_id,))


def delete(connection: Connection, job_id: int) -> None:
    """Remove a row; its history stays. The caller commits."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM background_jobs WHERE id = %s", (job_id,))
