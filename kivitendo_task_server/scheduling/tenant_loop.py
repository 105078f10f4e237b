"""One tenant's coroutine: look for due jobs, have a worker run them, wait for the next tick.

Whatever is wrong with a tenant (slow, gone, wrong password) stays here: it is tried again with
growing pauses, and the log has one line per change of state, not per attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database import own_schema
from kivitendo_task_server.database.asynchronous import AsyncConnection
from kivitendo_task_server.database.due import DueRule, Found, TableShape, look, schedule
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.database.upgrades import missing, pending_text
from kivitendo_task_server.errors import DatabaseError
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling.batch_run import BatchEnd, BatchRun
from kivitendo_task_server.scheduling.calendar import Calendar
from kivitendo_task_server.scheduling.messages import Batch, Interruption
from kivitendo_task_server.scheduling.service import Service

log = logger(__name__)

PAUSES = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Seconds until the next attempt after failures in a row; the last one for all later ones."""

WAITING = "waiting"


class TenantLoop:
    """Serves one tenant until :meth:`retire` or the end of the service."""

    def __init__(self, tenant: Tenant, service: Service) -> None:
        self.tenant = tenant
        self.state = WAITING
        self._service = service
        self._wake = asyncio.Event()
        self._looking = False
        self._retired = False
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._connection: AsyncConnection | None = None
        self._shape = TableShape()
        self._run: BatchRun | None = None
        self._interrupted: dict[int, Interruption] = {}
        self._tags_present: frozenset[str] = frozenset()
        self._held = False
        self._calendar = Calendar()
        self._bad_schedules: set[tuple[int, str | None]] = set()

    @property
    def idle(self) -> bool:
        """Whether it only waits for the next tick."""
        return not self._looking and not self._wake.is_set()

    # --- what the supervisor says -----------------------------------------------------------

    def tick(self) -> None:
        """A minute began. A tenant that fails keeps to its pauses."""
        if self._retry is None:
            self._wake.set()

    def wake_up(self) -> None:
        """Somebody wants us to look now."""
        self._wake.set()

    def retire(self) -> None:
        """Serve it no longer: a running job is finished."""
        self._retired = True
        self.finish_run()
        self._wake.set()

    def finish_run(self) -> None:
        """Let the running job finish and no other begin until the next look."""
        if self._run is not None:
            self._run.stop()

    def interrupt(self, reason: str) -> None:
        """End a running job now."""
        if self._run is not None:
            self._run.interrupt(reason)

    # --- the coroutine ----------------------------------------------------------------------

    async def serve(self) -> None:
        """Serve until retired; the first look is at once."""
        self._wake.set()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._retired or self._service.stopping:
                    return
                self._looking = True
                await self.pass_once()
                self._looking = False
        finally:
            self._forget_retry()
            self._disconnect()

    async def serve_until_idle(self) -> bool:
        """Run what is due, and what becomes due meanwhile; whether the tenant could be served."""
        try:
            while not self._service.stopping and await self.pass_once():
                pass
            return self._failures == 0
        finally:
            self._forget_retry()
            self._disconnect()

    async def run_job(self, job_id: int) -> bool:
        """Run one job now, due or not (``--run-job``); whether the tenant could be served."""
        settings = self._service.settings
        try:
            await self._connected(settings)
            await self._work(self._rule(settings), settings, (job_id,), {}, forced=True)
        except DatabaseError as error:
            self._failed(error)
        finally:
            self._forget_retry()
            self._disconnect()
        return self._failures == 0

    async def pass_once(self) -> bool:
        """One look and what follows from it; whether a worker got anywhere."""
        settings = self._service.settings
        if (reason := self._service.hold.log_changes()) is not None:
            self._set_state(f"held back: {reason}")
            return False
        try:
            rule, found = await self._look(settings)
            if await self._upgrade_pending():
                return False
            await self._schedule(found)
        except DatabaseError as error:
            self._failed(error)
            return False
        interrupted = dict.fromkeys(found.interrupted) | self._interrupted
        if interrupted or found.jobs:
            # what was interrupted comes last: it may be interrupted again
            jobs = sorted(found.jobs, key=lambda job: job in interrupted)
            return await self._work(rule, settings, tuple(jobs), interrupted)
        self._works()
        return False

    async def _look(self, settings: Settings) -> tuple[DueRule, Found]:
        """Ask for due jobs; a connection that was cut since the last time is opened again."""
        if self._connection is not None:
            rule = self._rule(settings)
            try:
                return rule, await look(self._connection.query, rule)
            except DatabaseError:
                self._disconnect()
        connection = await self._connected(settings)
        rule = self._rule(settings)
        return rule, await look(connection.query, rule)

    async def _upgrade_pending(self) -> bool:
        """Whether the tenant has to wait for a schema upgrade; said once (weakness 30)."""
        tags = self._service.upgrade_scripts.tags("tenant")
        if tags == self._tags_present:
            return False
        assert self._connection is not None
        lacking = await missing(self._connection.query, "tenant", tags)
        if lacking:
            if not self._held:
                self._held = True
                text = pending_text("tenant", lacking)
                log.warning("%s", text, extra=fields("tenant_held", tenant=self.tenant.name))
                self._set_state(f"held back: {text}")
            return True
        if self._held:
            self._held = False
            self._disconnect()  # the tables may have other columns now
            log.info("is upgraded", extra=fields("tenant_upgraded", tenant=self.tenant.name))
            self._wake.set()
            return True
        self._tags_present = tags
        return False

    def _rule(self, settings: Settings) -> DueRule:
        return DueRule.at(self._service.clock, settings.task_server, self._shape)

    async def _connected(self, settings: Settings) -> AsyncConnection:
        if self._connection is None:
            purpose = f"supervisor on {settings.task_server.node_id}"
            connection = await AsyncConnection.open(self.tenant.access, purpose=purpose)
            try:
                await own_schema.ensure_by(connection)
                self._shape = await TableShape.read(connection.query)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _schedule(self, found: Found) -> None:
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
                    extra=fields("bad_schedule", tenant=self.tenant.name, job=job_id),
                )

    # --- running jobs -----------------------------------------------------------------------

    async def _work(
        self,
        rule: DueRule,
        settings: Settings,
        jobs: tuple[int, ...],
        interrupted: Mapping[int, Interruption | None],
        *,
        forced: bool = False,
    ) -> bool:
        """Have a worker run the jobs; whether it got anywhere."""
        service = self._service
        async with service.slots:
            if service.stopping or self._retired or service.hold.reason():
                return False
            batch = Batch(
                tenant=self.tenant,
                settings=settings,
                clock=service.clock,
                kivitendo_dir=service.kivitendo_dir,
                rule=rule,
                jobs=jobs,
                forced=forced,
                interrupted=interrupted,
            )
            end = await self._follow(batch)
            if self._interrupted and service.stopping:
                last_words = replace(batch, jobs=(), interrupted=dict(self._interrupted))
                await self._follow(last_words)
        progress = end.recorded > 0 or end.interruption is not None
        if end.trouble is not None and not progress:
            self._failed(end.trouble)
        else:
            self._works()
            if end.trouble is not None:
                self._wake.set()  # record the interruption, go on with the rest
        return progress

    async def _follow(self, batch: Batch) -> BatchEnd:
        self._run = BatchRun(batch, self._service, self._set_state)
        try:
            end = await self._run.follow()
        finally:
            self._run = None
        for job_id in end.settled:
            self._interrupted.pop(job_id, None)
        if end.interruption is not None:
            self._interrupted[end.interruption[0]] = end.interruption[1]
        return end

    # --- states -----------------------------------------------------------------------------

    def _set_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._service.state_changed()

    def _works(self) -> None:
        if self._failures:
            log.info("works again", extra=fields("tenant_back", tenant=self.tenant.name))
        self._failures = 0
        self._forget_retry()
        self._service.notifier.tenant_recovered(self.tenant)
        self._set_state(WAITING)

    def _failed(self, error: Exception) -> None:
        self._disconnect()
        if not self._failures:
            log.warning("%s", error, extra=fields("tenant_failing", tenant=self.tenant.name))
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        self._forget_retry()
        self._retry = asyncio.get_running_loop().call_later(pause, self._wake.set)
        self._service.notifier.tenant_failed(self.tenant, str(error))
        self._set_state(f"failing: {error}")

    def _forget_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
