"""A worker's hold on the job queue: claim a job, record how its run ended.

The claim is a session-level advisory lock, under which the row is read again: the lock ends with
the connection, whatever happens to the worker, and nobody else can begin the same run. Should a job
give up the lock itself, another worker may take its run over, and with it the mark of the run:
whoever has no mark any more can record nothing. Both steps take one round trip each; their
statements are prepared, which halves PostgreSQL's work.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.errors import InvalidSqlStatementName
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR, cursor

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.due import LOCK_CLASS, DueRule, representable
from kivitendo_task_server.database.runs import Claim, Mark, Record
from kivitendo_task_server.jobs.interface import JobRow

LOCK_PATIENCE = "10s"
"""For a table that somebody has locked; the place of a worker that waits is wanted by others."""


class ClaimLostError(Exception):
    """Somebody else has taken the run over: nothing was recorded, what was open is rolled back."""


_CLAIM_TYPES = "int, text, int, timestamp, timestamp, timestamp, boolean"
_RECORD_TYPES = (
    "int, text, text, text, timestamp, text, text, text,"
    " boolean, timestamp, timestamp, boolean, boolean, float8, text, text, int"
)


_DEFAULTS = (None, None, None)
"""A session's isolation level, and whether it is read-only and deferrable: as the server says."""


def _call(name: str, types: str) -> str:
    return f"EXECUTE {name} ({', '.join('%s' for _ in types.split(','))})"


_CLAIM, _RECORD = _call("kts_claim", _CLAIM_TYPES), _call("kts_record", _RECORD_TYPES)


class JobQueue:
    """The queue of one tenant, seen by the worker that owns ``connection``."""

    def __init__(
        self, connection: Connection, rule: DueRule, pid: int, *, forced: bool = False
    ) -> None:
        """``forced``: claim jobs whether they are due or not."""
        self._connection = connection
        self._rule = rule
        self._pid = pid
        self._forced = forced
        self._held: int | None = None
        self._prepare()

    def _prepare(self) -> None:
        self._execute(
            f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'; DEALLOCATE ALL;"
            f"PREPARE kts_claim ({_CLAIM_TYPES}) AS {self._claim_statement()};"
            f"PREPARE kts_record ({_RECORD_TYPES}) AS {self._record_statement()}",
            None,
        )

    def claim(self, job_id: int, started_at: datetime, *, to_run: bool = True) -> Claim:
        """Try to take one job; gives back the job claimed before.

        Not ``to_run``: only to see to a mark that was left behind, so it is not due and not marked.
        """
        rule = self._rule
        self._restore_session()
        # The lock is taken by a statement of its own: only the next one is sure to see what was
        # committed until then. Losing the mark in a crash of PostgreSQL would cost a history row,
        # waiting for the disk would cost every job.
        row = self._execute(
            f"""
            SELECT pg_advisory_unlock({LOCK_CLASS}, %s),
                set_config('synchronous_commit', 'off', true),
                set_config('lock_timeout', '{LOCK_PATIENCE}', true),
                set_config('kivitendo_task_server.locked',
                    pg_try_advisory_lock({LOCK_CLASS}, %s)::text, true);
            """
            + _CLAIM,
            (
                *(self._held, job_id),
                *(job_id, rule.node, self._pid, _timestamp(started_at)),
                *(_timestamp(rule.now), _timestamp(rule.repeated_from) or "infinity", to_run),
            ),
        )
        assert row is not None
        self._held = job_id if row[0] else None
        mark = Mark(*row[1:5]) if row[1] is not None else None
        if not row[0]:
            return Claim(locked=False, mark=mark)
        job = JobRow(*row[8:]) if row[8] is not None else None
        return Claim(True, job, bool(row[7]) and mark is None, mark, row[5] or 0, row[6] or 0)

    def _claim_statement(self) -> str:
        shape = self._rule.shape
        due = self._rule.due % {"node": "$2", "now": "$5", "repeated_from": "$6"}
        return f"""
            WITH mark AS (
                SELECT * FROM kivitendo_task_server.running_jobs WHERE job_id = $1
            ), job AS (
                SELECT j.id, j.type, j.package_name, j.data, j.active, j.cron_spec,
                    {representable("j.last_run_at")} AS last_run_at,
                    {representable("j.next_run_at")} AS next_run_at,
                    {"j.node_id" if shape.node_id else "NULL"} AS node_id,
                    {"j.description" if shape.description else "NULL"} AS description,
                    $7 AND (COALESCE({due}, false) OR {self._forced}) AS due
                FROM background_jobs j
                WHERE j.id = $1 AND current_setting('kivitendo_task_server.locked')::boolean
            ), marked AS (
                INSERT INTO kivitendo_task_server.running_jobs
                    (job_id, package_name, node, pid, started_at)
                SELECT id, COALESCE(package_name, ''), $2, $3, $4 FROM job
                WHERE due AND NOT EXISTS (SELECT FROM mark)
                ON CONFLICT (job_id) DO NOTHING
            )
            SELECT current_setting('kivitendo_task_server.locked')::boolean,
                m.package_name, m.node, m.pid, m.started_at,
                r.interruptions_in_a_row, r.failures_in_a_row, job.due,
                job.id, job.type, COALESCE(job.package_name, ''), job.last_run_at,
                job.next_run_at, job.data, job.active, job.cron_spec, job.node_id, job.description
            FROM (SELECT $1 AS id) asked
            LEFT JOIN mark m ON m.job_id = asked.id
            LEFT JOIN kivitendo_task_server.job_runs r ON r.job_id = asked.id
            LEFT JOIN job ON job.id = asked.id
            """  # noqa: S608 - put together from constants

    def record(self, record: Record, *, durable: bool = True) -> None:
        """Write the history row and the job's times, and end the mark: one transaction.

        What the job left uncommitted is committed in the same transaction. Only last_run_at and
        next_run_at of the row are written; a row that was deleted meanwhile stays deleted, and one
        whose schedule was changed keeps the next time that came with it (or gets one, see look).
        Not ``durable``: does not wait for the disk; a crash of PostgreSQL may lose the record,
        together with what the job left uncommitted, until another one has waited. Raises
        ClaimLostError if the run is no longer ours, and psycopg2.Error if nothing was recorded
        otherwise, in particular if what the job left cannot be committed.
        """
        job, result = record.job, record.result
        node, pid = self._rule.node, self._pid
        if record.mark is not None:
            node, pid = record.mark.node, record.mark.pid
        try:
            self._execute(
                # the job may have set a search_path, a time limit or a role
                "RESET ALL; RESET SESSION AUTHORIZATION;"
                + ("" if durable else "SELECT set_config('synchronous_commit', 'off', true);")
                + _RECORD,
                (
                    job.id,
                    _storable(job.package_name),
                    job.description,
                    job.data,
                    _timestamp(record.run_at),
                    "failure" if result.failed else "success",
                    None if result.failed else _storable(result.text),
                    _storable(result.error),
                    record.times is not None,
                    _timestamp(record.times.last_run_at if record.times else None),
                    _timestamp(record.times.next_run_at if record.times else None),
                    result.failed,
                    record.interrupted,
                    record.seconds,
                    node,
                    job.cron_spec,
                    pid,
                ),
                must_be_ours=True,
            )
        except InvalidSqlStatementName as error:
            self._connection.rollback()
            self._prepare()
            raise psycopg2.InternalError(
                "the job has discarded what is prepared in the session (DISCARD ALL, DEALLOCATE"
                " ALL); it is not all its own"
            ) from error

    def _record_statement(self) -> str:
        """History as in kivitendo (task-server.md, e.3), with the data as they are after the run.

        $1 to $5: job's id, package_name, description, data, run_at; $6 to $8: status, result,
        error; $9 to $11: set the row's times, last_run_at, next_run_at; $12, $13: failed,
        interrupted; $14 to $17: seconds, node, cron_spec, pid.
        """
        description, value = (
            (", description", ", $3") if self._rule.shape.history_description else ("", "")
        )
        return f"""
            WITH mark AS (
                DELETE FROM kivitendo_task_server.running_jobs
                WHERE job_id = $1 AND node = $15 AND pid = $17
                RETURNING job_id
            ), history AS (
                INSERT INTO background_job_histories
                    (package_name, run_at, status, result, error, data{description})
                SELECT $2, $5, $6, $7, $8, CASE WHEN j.id IS NULL THEN $4 ELSE j.data END{value}
                FROM mark LEFT JOIN background_jobs j ON j.id = mark.job_id
            ), job AS (
                UPDATE background_jobs j SET last_run_at = $10,
                    next_run_at = CASE WHEN cron_spec IS NOT DISTINCT FROM $16 THEN $11
                        WHEN next_run_at > $5 THEN next_run_at END
                FROM mark WHERE j.id = mark.job_id AND $9
            )
            INSERT INTO kivitendo_task_server.job_runs AS r
                (job_id, runs, failures_in_a_row, interruptions_in_a_row,
                last_started_at, last_seconds, last_node)
            SELECT job_id, 1, $12::int, $13::int, $5, $14, $15 FROM mark
            ON CONFLICT (job_id) DO UPDATE SET
                runs = r.runs + 1,
                failures_in_a_row = (r.failures_in_a_row + 1) * EXCLUDED.failures_in_a_row,
                interruptions_in_a_row =
                    (r.interruptions_in_a_row + 1) * EXCLUDED.interruptions_in_a_row,
                last_started_at = EXCLUDED.last_started_at,
                last_seconds = EXCLUDED.last_seconds,
                last_node = EXCLUDED.last_node
            RETURNING job_id
            """  # noqa: S608 - put together from constants

    def wait_for_disk(self, job_id: int) -> None:
        """Return when all records so far are on PostgreSQL's disk; ``job_id``: of any of them."""
        self._execute(
            "UPDATE kivitendo_task_server.job_runs SET last_node = last_node WHERE job_id = %s",
            (job_id,),
        )

    def end_session(self, application_name: str) -> None:
        """End the database sessions of a dead worker of ours, which may still hold its lock.

        Its last statement goes on in PostgreSQL until that notices that nobody is there.
        """
        self._execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()"
            " AND pid <> pg_backend_pid()",
            (application_name,),
        )

    def _restore_session(self) -> None:
        """Undo what the job before has set on our side of the session."""
        connection = self._connection
        connection.cursor_factory = cursor
        if (connection.isolation_level, connection.readonly, connection.deferrable) != _DEFAULTS:
            connection.isolation_level, connection.readonly, connection.deferrable = _DEFAULTS

    def _execute(
        self, statements: str, values: tuple[Any, ...] | None, *, must_be_ours: bool = False
    ) -> tuple[Any, ...] | None:
        """Run statements in one round trip and one transaction; the row of the last of them.

        An open transaction is joined, and committed. ``must_be_ours``: if there is no row, nothing
        is committed and ClaimLostError raised.
        """
        connection = self._connection
        status = connection.get_transaction_status()
        if status == TRANSACTION_STATUS_INERROR:
            raise psycopg2.InternalError(
                "a statement of the job failed, and the job went on without a rollback"
            )
        alone = status == TRANSACTION_STATUS_IDLE
        if alone:
            # several statements sent at once are one transaction to PostgreSQL
            connection.autocommit = True
        try:
            with connection.cursor(cursor_factory=cursor) as ours:
                ours.execute(statements, values)
                row: tuple[Any, ...] | None = ours.fetchone() if ours.description else None
            if must_be_ours and row is None:
                connection.rollback()
                raise ClaimLostError
            if not alone:
                connection.commit()
            return row
        finally:
            if alone and not connection.closed:
                connection.autocommit = False


def _timestamp(moment: datetime | None) -> str | None:
    """What psycopg2 would write itself, in a third of its time; the statements know the type."""
    return None if moment is None else moment.isoformat()


def _storable(text: str | None) -> str | None:
    """Text as PostgreSQL takes it: no NUL characters, no halves of surrogate pairs."""
    if text is None:
        return None
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
