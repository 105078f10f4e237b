"""The supervisor's connection to one tenant's database, and what it asks there.

It stays open between ticks if there are not too many of them.
"""

from __future__ import annotations

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database import own_schema
from kivitendo_task_server.database.asynchronous import AsyncConnection
from kivitendo_task_server.database.due import (
    COLUMNS,
    DueRule,
    Found,
    TableShape,
    look,
    schedule,
)
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.database.upgrades import missing
from kivitendo_task_server.errors import DatabaseError
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling.calendar import Calendar
from kivitendo_task_server.scheduling.service import Service

log = logger(__name__)


_COUNT = "SELECT current_setting('max_connections')::int, count(*)::int FROM pg_stat_activity"
_STATE = f"""
    SELECT ARRAY({own_schema.PRESENT}), ARRAY({COLUMNS}), allowed, used
    FROM ({_COUNT}) AS sessions (allowed, used)
    """  # noqa: S608 - put together from constants


class TenantDatabase:
    """Opens and closes the connection as needed; all methods raise DatabaseError."""

    def __init__(self, tenant: Tenant, service: Service) -> None:
        self._tenant = tenant
        self._service = service
        self._connection: AsyncConnection | None = None
        self._kept = False
        self._shape: TableShape | None = None
        """Remembered while the connection is closed: one round trip less to open it again."""
        self._tags_present: frozenset[str] = frozenset()
        """kivitendo's upgrades that the database was seen to have."""
        self._calendar = Calendar()
        self._bad_schedules: set[tuple[int, str | None]] = set()

    async def look(self, settings: Settings) -> tuple[DueRule, Found]:
        """Ask for due jobs; a connection that was cut since the last time is opened again."""
        if self._shape is not None:
            await self._open(settings)
            try:
                return await self._look(settings, self._shape)
            except DatabaseError:
                self.close()  # it was cut, or there are other tables now
        return await self._look(settings, await self._prepared(settings))

    async def _look(self, settings: Settings, shape: TableShape) -> tuple[DueRule, Found]:
        assert self._connection is not None
        access, connections = self._tenant.access, self._service.kept_connections
        if self._kept and connections.count_is_due(access):
            ((allowed, used),) = await self._connection.query(_COUNT)
            connections.counted(access, allowed, used)
        rule = DueRule.at(self._service.clock, settings.task_server, shape)
        return rule, await look(self._connection.query, rule)

    async def rule(self, settings: Settings) -> DueRule:
        """The due rule now, for this tenant's tables."""
        shape = await self._prepared(settings)
        return DueRule.at(self._service.clock, settings.task_server, shape)

    async def lacking(self, tags: frozenset[str]) -> frozenset[str]:
        """Which of kivitendo's upgrades the tenant has yet to get; after a look."""
        if tags == self._tags_present:
            return frozenset()
        assert self._connection is not None
        lacking = await missing(self._connection.query, "tenant", tags)
        self._tags_present = frozenset() if lacking else tags
        return lacking

    async def schedule(self, found: Found) -> None:
        """Active jobs without a next time get one, or a word in the log why they cannot."""
        for job_id, spec in found.unscheduled:
            next_run_at = self._calendar.next_run(spec, self._service.clock.now())
            if next_run_at is not None:
                assert self._connection is not None
                await schedule(self._connection.query, job_id, spec, next_run_at)
            elif (job_id, spec) not in self._bad_schedules:
                self._bad_schedules.add((job_id, spec))
                log.warning(
                    "the job's schedule %r is wrong, so it does not run",
                    spec,
                    extra=fields("bad_schedule", tenant=self._tenant.name, job=job_id),
                )

    def rest(self) -> None:
        """Nothing is to be asked until the next tick."""
        if not self._kept or self._service.kept_connections.is_surplus(self._tenant.access):
            self._disconnect()

    def close(self) -> None:
        """Close the connection, and forget what was found in the database."""
        self._disconnect()
        self._shape = None
        self._tags_present = frozenset()

    def _disconnect(self) -> None:
        if self._connection is None:
            return
        self._connection.close()
        self._connection = None
        if self._kept:
            self._service.kept_connections.release(self._tenant.access)
            self._kept = False
        else:
            self._service.kept_connections.others(self._tenant.access).release()

    async def _prepared(self, settings: Settings) -> TableShape:
        """Connect, and see that all is there that a look needs."""
        connection = await self._open(settings)
        if self._shape is None:
            ((present, columns, allowed, used),) = await connection.query(_STATE)
            await own_schema.create_missing(connection, present)
            self._shape = TableShape.of(columns)
            self._service.kept_connections.counted(self._tenant.access, allowed, used)
            self._keep()
        return self._shape

    async def _open(self, settings: Settings) -> AsyncConnection:
        if self._connection is None:
            others = self._service.kept_connections.others(self._tenant.access)
            await others.acquire()
            try:
                self._connection = await AsyncConnection.open(
                    self._tenant.access, purpose=f"supervisor on {settings.task_server.node_id}"
                )
            except BaseException:
                others.release()
                raise
            if self._shape is not None:
                self._keep()
        return self._connection

    def _keep(self) -> None:
        connections, access = self._service.kept_connections, self._tenant.access
        if not self._kept and connections.keep(access):
            self._kept = True
            connections.others(access).release()
