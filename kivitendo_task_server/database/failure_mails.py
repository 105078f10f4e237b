"""Which failures of a tenant's jobs have been reported by mail: a table of our own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kivitendo_task_server.database.connection import Connection


@dataclass(frozen=True)
class Episode:
    """A time of failing, from the first failure to the first success; aware times."""

    failing_since: datetime | None = None
    """None: it works at the moment."""
    reported_at: datetime | None = None
    """When the last mail about this episode was sent."""
    mails: tuple[datetime, ...] = ()
    """When mails about failures were sent lately, in earlier episodes too."""


def lock(connection: Connection, job_id: int) -> Episode:
    """The job's episode; whoever else asks for it waits for the end of this transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO kivitendo_task_server.failure_mails (job_id) VALUES (%s)"
            " ON CONFLICT (job_id) DO NOTHING",
            (job_id,),
        )
        cursor.execute(
            "SELECT failing_since, reported_at, mails FROM kivitendo_task_server.failure_mails"
            " WHERE job_id = %s FOR UPDATE",
            (job_id,),
        )
        row = cursor.fetchone()
    assert row is not None
    return Episode(row[0], row[1], tuple(row[2]))


def save(connection: Connection, job_id: int, episode: Episode) -> None:
    """Keep the episode that :func:`lock` gave; rows of jobs that are gone are dropped."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE kivitendo_task_server.failure_mails"
            " SET failing_since = %s, reported_at = %s, mails = %s::timestamptz[]"
            " WHERE job_id = %s",
            (episode.failing_since, episode.reported_at, list(episode.mails), job_id),
        )
        cursor.execute(
            "DELETE FROM kivitendo_task_server.failure_mails f WHERE NOT EXISTS"
            " (SELECT FROM background_jobs j WHERE j.id = f.job_id)"
        )


def failures_in_a_row(connection: Connection, job_id: int) -> int:
    """How often the job has failed since it last worked."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT failures_in_a_row FROM kivitendo_task_server.job_runs WHERE job_id = %s",
            (job_id,),
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def job_data(connection: Connection, job_id: int) -> str | None:
    """The job's data column."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT data FROM background_jobs WHERE id = %s", (job_id,))
        row = cursor.fetchone()
    return row[0] if row else None
