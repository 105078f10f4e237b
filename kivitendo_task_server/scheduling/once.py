"""Runs that end by themselves: everything that is due, or one job in every tenant."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.clock import Clock
from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.scheduling import signals
from kivitendo_task_server.scheduling.pool import WorkerPool
from kivitendo_task_server.scheduling.service import Service
from kivitendo_task_server.scheduling.spawner import fork_spawner
from kivitendo_task_server.scheduling.tenant_list import TenantList
from kivitendo_task_server.scheduling.tenant_loop import TenantLoop

ONLY_MAILS = 60.0  # seconds that the end waits for notifications to be sent
Work = Callable[[TenantLoop], Awaitable[bool]]
"""What is done with each tenant; whether it could be served."""


@dataclass(frozen=True)
class Summary:
    """What a run that ends by itself came to."""

    succeeded: int
    """Runs of jobs."""
    failed: int
    unreachable: tuple[str, ...]
    """Names of tenants that could not be served."""


def run_until_idle(settings: Settings, clock: Clock, *, kivitendo_dir: Path) -> Summary:
    """Run everything that is due now, and what becomes due meanwhile, then return.

    Raises TaskServerError if the tenants cannot be read.
    """
    return _run(lambda loop: loop.serve_until_idle(), settings, clock, kivitendo_dir)


def run_job(
    job_id: int,
    settings: Settings,
    clock: Clock,
    *,
    kivitendo_dir: Path,
    waiting_mails: Path | None = None,
) -> Summary:
    """Run the job with this id in every tenant, due or not (``--run-job``; c.7).

    ``waiting_mails`` is the file of those that are to outlive us. Raises TaskServerError if the
    tenants cannot be read.
    """
    return _run(lambda loop: loop.run_job(job_id), settings, clock, kivitendo_dir, waiting_mails)


def _run(
    work: Work,
    settings: Settings,
    clock: Clock,
    kivitendo_dir: Path,
    waiting_mails: Path | None = None,
) -> Summary:
    async def run(spawner: tuple[int, socket.socket]) -> Summary:
        pool = WorkerPool(spawner)
        service = Service.create(settings, clock, kivitendo_dir, pool, waiting_mails)
        run = _Run(service, pool)
        try:
            return await run.all_tenants(work)
        finally:
            signals.defer()

    with signals.deferred():
        return asyncio.run(run(fork_spawner()))


class _Run:
    def __init__(self, service: Service, pool: WorkerPool) -> None:
        self._service = service
        self._pool = pool
        self._loops: Sequence[TenantLoop] = ()

    async def all_tenants(self, work: Work) -> Summary:
        """Do ``work`` with all tenants side by side."""
        add_handler = asyncio.get_running_loop().add_signal_handler
        for number in (signal.SIGTERM, signal.SIGINT):
            add_handler(number, self._asked_to_stop)
        for number in (signal.SIGHUP, signal.SIGALRM):
            add_handler(number, lambda: None)  # there is nothing to read again or to wake up
        self._pool.begin()
        signals.let_through()
        service = self._service
        try:
            tenant_list = TenantList(service.settings, service, lambda tenants: None)
            tenants = await tenant_list.read()
            tenant_list.close()
            service.notifier.take_up(tenants)
            self._loops = [TenantLoop(tenant, service) for tenant in tenants]
            served = await asyncio.gather(*(work(loop) for loop in self._loops))
            unreachable = tuple(
                loop.tenant.name for loop, good in zip(self._loops, served, strict=True) if not good
            )
            return Summary(service.finished, service.failed, unreachable)
        finally:
            await service.notifier.close(patience=ONLY_MAILS)
            self._pool.end()

    def _asked_to_stop(self) -> None:
        """Finish the running jobs; asked again, or after stop_timeout, interrupt them."""
        if self._service.stopping:
            self._interrupt("interrupted: the run was told to stop at once")
            return
        self._service.stopping = True
        for loop in self._loops:
            loop.finish_run()
        timeout = self._service.settings.task_server.stop_timeout
        reason = f"interrupted: the job did not end within {timeout} s (stop_timeout)"
        asyncio.get_running_loop().call_later(timeout, self._interrupt, reason)

    def _interrupt(self, reason: str) -> None:
        for worker in self._pool.workers:
            worker.interrupt(reason)
