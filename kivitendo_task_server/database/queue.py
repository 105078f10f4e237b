"""A worker's hold on the job queue: claim a job, record how its run ended.

The claim is a session-level advisory lock, under which the row is read again: the lock ends with
the connection, whatever happens to the worker, and nobody else can begin the same run. Both steps
take one round trip each. Claiming and recording are statements of their own transactions; see
:meth:`JobQueue.record` for what a job left uncommitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.due import LOCK_CLASS, DueRule
from kivitendo_task_server.jobs.interface import JobResult, JobRow

_REMOVE_MARK = "DELETE FROM kivitendo_task_server.running_jobs WHERE job_id = %(id)s"


@dataclass(frozen=True)
class Mark:
    """A run that began and was not recorded: found under the lock, so whoever did it is gone."""

    package_name: str
    node: str
    pid: int
    started_at: datetime


@dataclass(frozen=True)
class Claim:
    """What the claim of one job came to."""

    locked: bool
    """The lock is ours; otherwise somebody else is at it."""
    row: JobRow | None = None
    """The row as it is now, if it still exists."""
    due: bool = False
    """Still due: it is ours to run now, and marked as running."""
    mark: Mark | None = None
    """The mark of a run that was interrupted, to be recorded first."""
    interruptions: int = 0
    """How often the job was interrupted without having come to an end since."""


class JobQueue:
    """The queue of one tenant, seen by the worker that owns ``connection``."""

    def __init__(self, connection: Connection, rule: DueRule, pid: int) -> None:
        self._connection = connection
        self._rule = rule
        self._pid = pid
        self._held: int | None = None

    def claim(self, job_id: int, started_at: datetime, *, forced: bool = False) -> Claim:
        """Try to take one job; gives back the job claimed before. ``forced``: due or not."""
        shape = self._rule.shape
        row = self._execute(
            {
                **self._rule.values,
                "id": job_id,
                "held": self._held,
                "pid": self._pid,
                "started_at": started_at,
            },
            f"""
            SELECT pg_advisory_unlock({LOCK_CLASS}, %(held)s) WHERE %(held)s::int IS NOT NULL;
            -- losing the mark in a crash of PostgreSQL costs a history row, waiting costs each job
            SELECT set_config('synchronous_commit', 'off', true);
            SELECT set_config('kivitendo_task_server.locked',
                pg_try_advisory_lock({LOCK_CLASS}, %(id)s)::text, true);
            WITH job AS (
                SELECT j.id, j.type, j.package_name, j.last_run_at, j.next_run_at, j.data,
                    j.active, j.cron_spec,
                    {"j.node_id" if shape.node_id else "NULL"} AS node_id,
                    {"j.description" if shape.description else "NULL"} AS description,
                    COALESCE({"true" if forced else self._rule.due}, false) AS due
                FROM background_jobs j
                WHERE j.id = %(id)s AND current_setting('kivitendo_task_server.locked')::boolean
            ), marked AS (
                INSERT INTO kivitendo_task_server.running_jobs
                    (job_id, package_name, node, pid, started_at)
                SELECT id, package_name, %(node)s, %(pid)s, %(started_at)s FROM job WHERE due
                ON CONFLICT (job_id) DO NOTHING
            )
            SELECT current_setting('kivitendo_task_server.locked')::boolean,
                m.package_name, m.node, m.pid, m.started_at,
                r.interruptions_in_a_row, job.due,
                job.id, job.type, job.package_name, job.last_run_at, job.next_run_at, job.data,
                job.active, job.cron_spec, job.node_id, job.description
            FROM (SELECT %(id)s::int AS id) asked
            LEFT JOIN kivitendo_task_server.running_jobs m ON m.job_id = asked.id
            LEFT JOIN kivitendo_task_server.job_runs r ON r.job_id = asked.id
            LEFT JOIN job ON job.id = asked.id
            """,  # noqa: S608 - put together from constants
        )
        assert row is not None
        self._held = job_id if row[0] else None
        if not row[0]:
            return Claim(locked=False)
        mark = Mark(*row[1:5]) if row[1] is not None else None
        job = JobRow(*row[7:]) if row[7] is not None else None
        return Claim(True, job, bool(row[6]) and mark is None, mark, row[5] or 0)

    def record(
        self,
        job: JobRow,
        started_at: datetime,
        result: JobResult,
        next_run_at: datetime | None,
        seconds: float,
    ) -> None:
        """Write the history row and the job's two times, and end the mark: one transaction.

        What the job left uncommitted is committed in the same transaction. Only last_run_at and
        next_run_at of the row are written; a row that was deleted meanwhile stays deleted.
        Raises psycopg2.Error if nothing was recorded, in particular if what the job left cannot
        be committed.
        """
        self._execute(
            {
                **self._history(job, started_at, result),
                "next_run_at": next_run_at,
                "failures": int(result.failed),
                "seconds": seconds,
                "node": self._rule.node,
            },
            self._history_insert,
            """
            UPDATE background_jobs SET last_run_at = %(run_at)s, next_run_at = %(next_run_at)s
            WHERE id = %(id)s
            """,
            _REMOVE_MARK,
            """
            INSERT INTO kivitendo_task_server.job_runs AS r
                (job_id, runs, failures_in_a_row, last_started_at, last_seconds, last_node)
            VALUES (%(id)s, 1, %(failures)s, %(run_at)s, %(seconds)s, %(node)s)
            ON CONFLICT (job_id) DO UPDATE SET
                runs = r.runs + 1,
                failures_in_a_row = (r.failures_in_a_row + 1) * %(failures)s,
                interruptions_in_a_row = 0,
                last_started_at = EXCLUDED.last_started_at,
                last_seconds = EXCLUDED.last_seconds,
                last_node = EXCLUDED.last_node
            """,
        )

    def record_not_run(self, job: JobRow, at: datetime, error: str) -> None:
        """Record that a due job was not run, and take its next time away."""
        self._execute(
            self._history(job, at, JobResult(None, error)),
            self._history_insert,
            "UPDATE background_jobs SET next_run_at = NULL WHERE id = %(id)s",
            _REMOVE_MARK,
        )

    def record_interruption(
        self,
        job_id: int,
        claim: Claim,
        reason: str,
        next_run_at: datetime | None,
        *,
        given_up: bool,
    ) -> None:
        """Record the run of ``claim.mark`` as failed.

        The row stays due and so is repeated, unless it is ``given_up``: then it gets its next
        time as after any other failure.
        """
        mark = claim.mark
        assert mark is not None
        job = claim.row or JobRow(id=job_id, type=None, package_name=mark.package_name)
        self._execute(
            {
                **self._history(job, mark.started_at, JobResult(None, reason)),
                "next_run_at": next_run_at,
                "given_up": given_up,
                "mark_node": mark.node,
            },
            self._history_insert,
            """
            UPDATE background_jobs SET last_run_at = %(run_at)s, next_run_at = %(next_run_at)s
            WHERE id = %(id)s AND %(given_up)s
            """,
            _REMOVE_MARK,
            """
            INSERT INTO kivitendo_task_server.job_runs AS r
                (job_id, runs, failures_in_a_row, interruptions_in_a_row, last_started_at,
                last_node)
            VALUES (%(id)s, 1, 1, 1, %(run_at)s, %(mark_node)s)
            ON CONFLICT (job_id) DO UPDATE SET
                runs = r.runs + 1,
                failures_in_a_row = r.failures_in_a_row + 1,
                interruptions_in_a_row =
                    CASE WHEN %(given_up)s THEN 0 ELSE r.interruptions_in_a_row + 1 END,
                last_started_at = EXCLUDED.last_started_at,
                last_node = EXCLUDED.last_node
            """,
        )

    def end_session(self, application_name: str) -> None:
        """End the database sessions of a dead worker of ours, which may still hold its lock.

        Its last statement goes on in PostgreSQL until that notices that nobody is there.
        """
        self._execute(
            {"name": application_name},
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %(name)s AND datname = current_database()"
            " AND pid <> pg_backend_pid()",
        )

    @property
    def _history_insert(self) -> str:
        """One history row; the data as they are after the run (task-server.md, e.3)."""
        column, value = (
            (", description", ", %(description)s")
            if self._rule.shape.history_description
            else ("", "")
        )
        return f"""
            INSERT INTO background_job_histories
                (package_name, run_at, status, result, error, data{column})
            SELECT %(package_name)s, %(run_at)s, %(status)s, %(result)s, %(error)s,
                CASE WHEN j.id IS NULL THEN %(data)s ELSE j.data END{value}
            FROM (SELECT %(id)s::int AS id) asked LEFT JOIN background_jobs j ON j.id = asked.id
            """  # noqa: S608 - put together from constants

    def _history(self, job: JobRow, run_at: datetime, result: JobResult) -> dict[str, Any]:
        return {
            "id": job.id,
            "package_name": job.package_name,
            "description": job.description,
            "run_at": run_at,
            "status": "failure" if result.failed else "success",
            "result": None if result.failed else _storable(result.text),
            "error": _storable(result.error),
            "data": job.data,
        }

    def _execute(self, values: dict[str, Any], *statements: str) -> tuple[Any, ...] | None:
        """Run statements in one round trip and one transaction; the row of the last of them.

        An open transaction is joined, and committed.
        """
        connection = self._connection
        status = connection.info.transaction_status
        if status == TRANSACTION_STATUS_INERROR:
            raise psycopg2.InternalError(
                "a statement of the job failed, and the job went on without a rollback"
            )
        alone = status == TRANSACTION_STATUS_IDLE
        if alone:
            # several statements sent at once are one transaction to PostgreSQL
            connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(";".join(statements), values)
                row = cursor.fetchone() if cursor.description else None
            if not alone:
                connection.commit()
            return row
        finally:
            if alone and not connection.closed:
                connection.autocommit = False


def _storable(text: str | None) -> str | None:
    """Text as PostgreSQL takes it: no NUL characters, no halves of surrogate pairs."""
    if text is None:
        return None
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
