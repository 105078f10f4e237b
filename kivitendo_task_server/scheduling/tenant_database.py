"""The supervisor's connection to one tenant's database, and what it asks there.

It stays open between ticks if there are not too many of them.
"""

from __future__ import annotations

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database import own_schema
from kivitendo_task_server.database.asynchronous import AsyncConnection
from kivitendo_task_server.database.due import DueRule, Found, TableShape, look, schedule
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.database.upgrades import missing
from kivitendo_task_server.errors import DatabaseError
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling.calendar import Calendar
from kivitendo_task_server.scheduling.service import Service

log = logger(__name__)


class TenantDatabase:
    """Opens and closes the connection as needed; all methods raise DatabaseError."""

    def __init__(self, tenant: Tenant, service: Service) -> None:
        self._tenant = tenant
        self._service = service
        self._connection: AsyncConnection | None = None
        self._kept = False
        self._shape = TableShape()
        self._calendar = Calendar()
        self._bad_schedules: set[tuple[int, str | None]] = set()

    async def look(self, settings: Settings) -> tuple[DueRule, Found]:
        """Ask for due jobs; a connection that was cut since the last time is opened again."""
        if self._connection is not None:
            rule = self._rule(settings)
            try:
                return rule, await look(self._connection.query, rule)
            except DatabaseError:
                self.close()
        connection = await self._connected(settings)
        rule = self._rule(settings)
        return rule, await look(connection.query, rule)

    async def rule(self, settings: Settings) -> DueRule:
        """The due rule now, for this tenant's tables."""
        await self._connected(settings)
        return self._rule(settings)

    async def lacking(self, tags: frozenset[str]) -> frozenset[str]:
        """Which of kivitendo's upgrades the tenant has yet to get; after a look."""
        assert self._connection is not None
        return await missing(self._connection.query, "tenant", tags)

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
        if not self._kept:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._kept:
            self._service.kept_connections.release(self._tenant.access)
            self._kept = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _rule(self, settings: Settings) -> DueRule:
        return DueRule.at(self._service.clock, settings.task_server, self._shape)

    async def _connected(self, settings: Settings) -> AsyncConnection:
        if self._connection is None:
            access = self._tenant.access
            purpose = f"supervisor on {settings.task_server.node_id}"
            connection = await AsyncConnection.open(access, purpose=purpose)
            try:
                await own_schema.ensure_by(connection)
                self._shape = await TableShape.read(connection.query)
                ((limit,),) = await connection.query(
                    "SELECT current_setting('max_connections')::int"
                )
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._kept = self._service.kept_connections.keep(access, limit)
        return self._connection
