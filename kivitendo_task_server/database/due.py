"""Which jobs are due: kivitendo's rule, and the one question a tenant is asked at every tick."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kivitendo_task_server.clock import Clock
from kivitendo_task_server.config.settings import TaskServerSettings

if TYPE_CHECKING:  # workers do without asyncio
    from kivitendo_task_server.database.asynchronous import Query

LOCK_CLASS = 0x6B747371
"""First key of our advisory locks ("ktsq"); the second is the job's id."""


COLUMNS = """
    SELECT c.relname || '.' || a.attname
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relname IN ('background_jobs', 'background_job_histories')
        AND a.attname IN ('node_id', 'description') AND NOT a.attisdropped
    """
"""Asks which of the columns that came later there are, as ``table.column``."""


def representable(column: str) -> str:
    """SQL for a time as Python can have it: PostgreSQL's may be infinite, or before Christ."""
    return (
        f"CASE WHEN {column} < '1970-01-01' THEN '1970-01-01'"
        f" WHEN {column} > '9999-01-01' THEN '9999-01-01' ELSE {column} END"
    )


@dataclass(frozen=True)
class TableShape:
    """Which of the columns that came later this tenant's release of kivitendo has."""

    node_id: bool = True
    description: bool = True
    history_description: bool = True

    @classmethod
    def of(cls, columns: Iterable[str]) -> TableShape:
        """What the answer to COLUMNS means."""
        found = frozenset(columns)
        return cls(
            node_id="background_jobs.node_id" in found,
            description="background_jobs.description" in found,
            history_description="background_job_histories.description" in found,
        )


@dataclass(frozen=True)
class DueRule:
    """The due rule at one moment for one node (task-server.md, d.1)."""

    now: datetime
    """Local time without a zone, in whole seconds, as kivitendo stores it."""
    node: str
    only_this_node: bool
    shape: TableShape
    repeated_from: datetime | None
    """In the first pass of an hour that comes twice: where that hour begins."""

    @classmethod
    def at(cls, clock: Clock, settings: TaskServerSettings, shape: TableShape) -> DueRule:
        """The rule now."""
        now = clock.now()
        return cls(
            now=now.replace(tzinfo=None, microsecond=0, fold=0),
            node=settings.node_id,
            only_this_node=settings.only_run_tasks_for_this_node,
            shape=shape,
            repeated_from=_repeated_from(now),
        )

    @property
    def due(self) -> str:
        """The condition for a row ``j`` of background_jobs, with :attr:`values`.

        A wildcard schedule goes on in the second pass of a repeated hour. Its row is told by a
        next_run_at that is not later than last_run_at; it has to wait for the first to end.
        """
        return f"""j.active AND (
            j.type = 'interval' AND j.next_run_at <= %(now)s AND (
                j.next_run_at >= %(repeated_from)s::timestamp
                AND j.last_run_at >= j.next_run_at) IS NOT TRUE
            OR j.type = 'once' AND j.last_run_at IS NULL AND (
                j.cron_spec IS NULL OR j.cron_spec = ''
                OR j.next_run_at IS NULL OR j.next_run_at <= %(now)s)
            ) AND {self.node_rule}"""

    @property
    def node_rule(self) -> str:
        """The condition that this node may run a row ``j``."""
        if not self.shape.node_id:
            return "true"
        if self.only_this_node:
            return "j.node_id = %(node)s"
        return "(j.node_id IS NULL OR j.node_id = '' OR j.node_id = %(node)s)"

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of the conditions."""
        return {
            "now": self.now,
            "node": self.node,
            "repeated_from": self.repeated_from or "infinity",
        }


def _repeated_from(now: datetime) -> datetime | None:
    def repeated(moment: datetime) -> bool:
        first, second = moment.replace(fold=0).utcoffset(), moment.replace(fold=1).utcoffset()
        return first is not None and second is not None and second < first

    moment = now.replace(second=0, microsecond=0)
    if now.fold or not repeated(moment):
        return None
    while repeated(moment - timedelta(minutes=1)):
        moment -= timedelta(minutes=1)
    return moment.replace(tzinfo=None)


@dataclass(frozen=True)
class Found:
    """What one look at a tenant found."""

    jobs: tuple[int, ...] = ()
    """Ids of the due jobs in the order in which to run them."""
    interrupted: tuple[int, ...] = ()
    """Ids of jobs that began to run and whose process or machine is gone."""
    unscheduled: tuple[tuple[int, str | None], ...] = ()
    """Ids and cron specifications of active interval jobs without a next time."""


async def look(query: Query, rule: DueRule) -> Found:
    """Ask a tenant's database, in one round trip. Needs the tables of own_schema."""
    rows = await query(
        f"""
        SELECT what, id, cron_spec FROM (
            SELECT 'due' AS what, j.id, NULL AS cron_spec, j.next_run_at,
                COALESCE(r.failures_in_a_row, 0) > 0 AS failing
            FROM background_jobs j
            LEFT JOIN kivitendo_task_server.job_runs r ON r.job_id = j.id
            WHERE {rule.due}
        UNION ALL
            SELECT 'interrupted', m.job_id, NULL, NULL, false
            FROM kivitendo_task_server.running_jobs m
            WHERE NOT EXISTS (
                SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                WHERE d.datname = current_database() AND l.locktype = 'advisory'
                    AND l.classid = {LOCK_CLASS}::oid AND l.objid = m.job_id::oid
                    AND l.objsubid = 2)
        UNION ALL
            SELECT 'unscheduled', j.id, j.cron_spec, NULL, false
            FROM background_jobs j
            WHERE j.active AND j.type = 'interval' AND j.next_run_at IS NULL
                AND {rule.node_rule}
        ) found
        ORDER BY failing, next_run_at NULLS FIRST, id
        """,  # noqa: S608 - put together from constants
        rule.values,
    )
    return Found(
        jobs=tuple(row[1] for row in rows if row[0] == "due"),
        interrupted=tuple(row[1] for row in rows if row[0] == "interrupted"),
        unscheduled=tuple((row[1], row[2]) for row in rows if row[0] == "unscheduled"),
    )


async def schedule(query: Query, job_id: int, spec: str | None, next_run_at: datetime) -> None:
    """Give an interval job its next time, unless somebody was faster."""
    await query(
        "UPDATE background_jobs SET next_run_at = %(next)s"
        " WHERE id = %(id)s AND next_run_at IS NULL"
        " AND cron_spec IS NOT DISTINCT FROM %(spec)s",
        {"id": job_id, "spec": spec, "next": next_run_at},
    )
