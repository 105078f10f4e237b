"""One tenant's coroutine: look for due jobs, have a worker run them, wait for the next tick.

Whatever is wrong with a tenant (slow, gone, wrong password) stays here: it is tried again with
growing pauses, and the log has one line per change of state, not per attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database.due import DueRule
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.database.upgrades import pending_text
from kivitendo_task_server.errors import DatabaseError
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling.batch_run import BatchEnd, BatchRun
from kivitendo_task_server.scheduling.messages import Batch, Interruption
from kivitendo_task_server.scheduling.service import Service
from kivitendo_task_server.scheduling.tenant_database import TenantDatabase

log = logger(__name__)

PAUSES = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Seconds until the next attempt after failures in a row; the last one for all later ones."""

WAITING = "waiting"
CHANGED = "a job that began before the tenant was changed is still running"
QUEUING = "jobs are due and wait for their turn"


class TenantLoop:
    """Serves one tenant until :meth:`retire` or the end of the service."""

    def __init__(self, tenant: Tenant, service: Service) -> None:
        self.tenant = tenant
        self.state = WAITING
        self._service = service
        self._wake = asyncio.Event()
        self._looking = False
        self._task: asyncio.Task[None] | None = None
        self._retired = False
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._database = TenantDatabase(tenant, service)
        self._run: BatchRun | None = None
        self._interrupted: dict[int, Interruption] = {}
        self._held = False

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
        """Serve it no longer: a running job is finished, no answer of the database waited for."""
        self._retired = True
        self.finish_run()
        self._wake.set()
        if self._task is not None and self._looking and self._run is None:
            self._task.cancel()

    def reconfigured(self) -> None:
        """The running job is finished under the old settings, what is due besides under the new."""
        self.finish_run()
        self._wake.set()

    def finish_run(self) -> None:
        """Let the running job finish and no other begin until the next look."""
        if self._run is not None:
            self._run.stop()

    # --- the coroutine ----------------------------------------------------------------------

    async def serve(self, *, after: Collection[asyncio.Task[None]] = ()) -> None:
        """Serve until retired; the first look is at once.

        ``after`` are those who served the same database until now: how their last jobs end is for
        them to record, they know why.
        """
        if after:
            self._set_state(CHANGED)
            await asyncio.wait(after)
            self._set_state(WAITING)
        self._task = asyncio.current_task()
        self._wake.set()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._retired or self._service.stopping:
                    return
                self._looking = True
                await self._pass_guarded()
                self._database.rest()
                self._looking = False
        finally:
            self._forget_retry()
            self._database.close()

    async def serve_until_idle(self) -> bool:
        """Run what is due, and what becomes due meanwhile; whether the tenant could be served."""
        try:
            while not self._service.stopping and await self.pass_once():
                pass
            return self._failures == 0
        finally:
            self._forget_retry()
            self._database.close()

    async def run_job(self, job_id: int) -> bool:
        """Run one job now, due or not (``--run-job``); whether the tenant could be served.

        What holds back due jobs holds back this one as well.
        """
        settings = self._service.settings
        if self._service.hold.log_changes() is not None:
            return False
        try:
            rule = await self._database.rule(settings)
            if await self._upgrade_pending():
                return False
            self._database.rest()
            await self._work(rule, settings, (job_id,), {}, forced=True)
        except DatabaseError as error:
            self._failed(error)
        finally:
            self._forget_retry()
            self._database.close()
        return self._failures == 0

    async def _pass_guarded(self) -> None:
        """One pass; a fault of our own in it must not end the tenant's service."""
        try:
            await self.pass_once()
        except Exception as error:
            log.exception("internal error", extra=fields("internal_error", tenant=self.tenant.name))
            self._failed(error)

    async def pass_once(self) -> bool:
        """One look and what follows from it; whether a worker got anywhere."""
        settings = self._service.settings
        if (reason := self._service.hold.log_changes()) is not None:
            self._forget_retry()  # the ticks will tell when it is over
            self._database.close()  # in nobody's way who restores or renames it meanwhile
            self._set_state(f"held back: {reason}")
            return False
        try:
            rule, found = await self._database.look(settings)
            if await self._upgrade_pending():
                return False
            await self._database.schedule(found)
        except DatabaseError as error:
            self._failed(error)
            return False
        interrupted = dict.fromkeys(found.interrupted) | self._interrupted
        if interrupted or found.jobs:
            # what was interrupted comes last: it may be interrupted again
            jobs = sorted(found.jobs, key=lambda job: job in interrupted)
            self._database.rest()
            return await self._work(rule, settings, tuple(jobs), interrupted)
        self._works()
        return False

    async def _upgrade_pending(self) -> bool:
        """Whether the tenant has to wait for a schema upgrade; said once (weakness 30)."""
        lacking = await self._database.lacking(self._service.upgrade_scripts.tags("tenant"))
        if lacking:
            self._answers()
            text = pending_text("tenant", lacking)
            self._set_state(f"held back: {text}")
            if not self._held:
                self._held = True
                log.warning("%s", text, extra=fields("tenant_held", tenant=self.tenant.name))
            return True
        if self._held:  # upgraded, or kivitendo's older code is back
            self._held = False
            self._database.close()  # the tables may have other columns now
            log.info("is upgraded", extra=fields("tenant_upgraded", tenant=self.tenant.name))
            self._wake.set()
            return True
        return False

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
        self._set_state(QUEUING)
        async with service.slots:
            if service.stopping or self._retired or service.hold.reason():
                self._forget_retry()  # the ticks will tell when it is over
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
            if self._interrupted and (service.stopping or self._retired):
                last_words = replace(batch, jobs=(), interrupted=dict(self._interrupted))
                await self._follow(last_words)
        progress = end.recorded > 0 or end.interruption is not None
        if end.trouble is not None and not progress:
            self._failed(end.trouble)
        else:
            self._works()
            if end.trouble is not None or end.due_again:
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
        self._answers()
        self._set_state(WAITING)

    def _answers(self) -> None:
        if self._failures:
            log.info("works again", extra=fields("tenant_back", tenant=self.tenant.name))
        self._failures = 0
        self._forget_retry()
        self._service.notifier.tenant_recovered(self.tenant)

    def _failed(self, error: Exception) -> None:
        self._database.close()
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
