"""The supervisor: ticks, signals, tenants coming and going, reload, and an end in good order.

One asyncio process per configuration file. It runs no job code and waits for nothing but events;
jobs run in workers (:mod:`kivitendo_task_server.scheduling.worker`).
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from kivitendo_task_server.clock import Clock
from kivitendo_task_server.config.current import CurrentConfiguration
from kivitendo_task_server.config.settings import Loaded, Settings, SystemSettings
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.errors import DatabaseError
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling import signals
from kivitendo_task_server.scheduling.hooks import NoHooks, ServiceHooks
from kivitendo_task_server.scheduling.memory import beyond_limit
from kivitendo_task_server.scheduling.pace import MinutePace, Pace
from kivitendo_task_server.scheduling.pool import WorkerPool
from kivitendo_task_server.scheduling.reloading import Reloading
from kivitendo_task_server.scheduling.service import Service
from kivitendo_task_server.scheduling.spawner import fork_spawner
from kivitendo_task_server.scheduling.tenant_list import TenantList, UpgradePending
from kivitendo_task_server.scheduling.tenant_loop import TenantLoop

log = logger(__name__)

TELL_DELAY = 0.2  # seconds until changed states of tenants are told

Loader = Callable[[], Loaded]
"""Reads and validates the configuration (``config.settings.load``)."""


def serve(
    loader: Loader,
    clock: Clock,
    hooks: ServiceHooks,
    *,
    kivitendo_dir: Path | None = None,
    waiting_mails: Path | None = None,
    spawner: tuple[int, socket.socket] | None = None,
) -> int:
    """Be the service until told to end by a signal; the exit code.

    ``loader`` is called at once and at every reload. ``kivitendo_dir`` is the current directory
    by default. ``waiting_mails`` is a file of ours for mails that are to outlive us. ``spawner`` is
    the result of fork_spawner, if the caller has one already. Signals: TERM and INT end gracefully,
    a second one at once; HUP reloads; ALRM wakes up. Raises TaskServerError for what waiting cannot
    cure before ``hooks.ready``.
    """
    configuration = CurrentConfiguration(loader)
    directory = kivitendo_dir or Path.cwd()

    async def run(spawner: tuple[int, socket.socket]) -> int:
        supervisor = Supervisor(
            configuration.settings,
            clock=clock,
            kivitendo_dir=directory,
            spawner=spawner,
            configuration=configuration,
            hooks=hooks,
            waiting_mails=waiting_mails,
        )
        return await supervisor.run()

    with signals.deferred():
        return asyncio.run(run(spawner or fork_spawner()))


class Supervisor:
    """One configuration file's service; use :func:`serve`."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        kivitendo_dir: Path,
        spawner: tuple[int, socket.socket],
        configuration: CurrentConfiguration | None = None,
        hooks: ServiceHooks | None = None,
        pace: Pace | None = None,
        waiting_mails: Path | None = None,
    ) -> None:
        self._hooks = hooks or NoHooks()
        self._pace = pace or MinutePace(clock)
        self._pool = WorkerPool(spawner)
        self._service = Service.create(settings, clock, kivitendo_dir, self._pool, waiting_mails)
        self._service.state_changed = self._state_changed
        self._tenants = TenantList(settings, self._service, self._use_tenants)
        self._reloading = (
            Reloading(configuration, kivitendo_dir, self._hooks, self._use_settings)
            if configuration
            else None
        )
        self._loops: dict[Tenant, tuple[TenantLoop, asyncio.Task[None]]] = {}
        self._ending: dict[asyncio.Task[None], Tenant] = {}
        self._stop = asyncio.Event()
        self._telling: asyncio.TimerHandle | None = None
        self._exit_code = 0

    @property
    def idle(self) -> bool:
        """Whether every tenant only waits for the next tick."""
        return all(loop.idle for loop, _ in self._loops.values())

    # --- the service ------------------------------------------------------------------------

    async def run(self) -> int:
        """Serve until told to stop; the exit code."""
        self._handle_signals()
        self._pool.begin()
        helpers: list[asyncio.Task[None]] = []
        stopped = asyncio.create_task(self._stop.wait())
        first = asyncio.create_task(self._first_tenants())
        try:
            await asyncio.wait([stopped, first], return_when=asyncio.FIRST_COMPLETED)
            if not first.done():  # a database lets us wait, and we are told to end
                first.cancel()
                return self._exit_code
            first.result()
            node = self._service.settings.task_server.node_id
            log.info(
                "The task server for node %s is up and running.",
                node,
                extra=fields("service_ready", tenants=len(self._loops)),
            )
            self._hooks.ready(self._service.hold.log_changes() or self._tenants.problem)
            self._tell_states()
            helpers = [
                asyncio.create_task(self._tenants.serve()),
                asyncio.create_task(self._tick()),
                asyncio.create_task(self._watchdog()),
                outgrown := asyncio.create_task(beyond_limit(self._memory_limits)),
            ]
            if self._reloading is not None:
                helpers.append(asyncio.create_task(self._reloading.serve()))
                helpers.append(asyncio.create_task(self._reloading.watch()))
            await asyncio.wait([stopped, *helpers], return_when=asyncio.FIRST_COMPLETED)
            if outgrown.done():
                # not 0 as in the original: the system starts a service anew that failed
                self._exit_code = 1
            for helper in helpers:
                if helper.done():
                    helper.result()  # a fault of ours: do not hide it
        finally:
            if self._reloading is not None:
                self._reloading.close()
            for helper in helpers:
                helper.cancel()
            await self._end()
            signals.defer()  # closing the loop gives them their default, deadly meaning back
        return self._exit_code

    async def _first_tenants(self) -> None:
        try:
            self._use_tenants(await self._tenants.read())
        except (DatabaseError, UpgradePending) as error:
            self._tenants.failed_at_start(error)

    async def _tick(self) -> None:
        while True:
            await self._pace.next_tick()
            held = self._service.hold.log_changes() is not None
            for loop, _ in self._loops.values():
                if held:
                    loop.finish_run()
                loop.tick()
            self._tenants.tick()

    def _memory_limits(self) -> SystemSettings:
        return self._service.settings.system

    async def _watchdog(self) -> None:
        interval = self._hooks.watchdog_interval
        while interval:
            self._hooks.watchdog()
            await asyncio.sleep(interval / 2)
        await asyncio.Event().wait()

    def _use_tenants(self, tenants: Sequence[Tenant]) -> None:
        """Serve these: new and changed ones from now on, others no longer."""
        if self._service.stopping:
            return
        wanted = set(tenants)
        for tenant in [known for known in self._loops if known not in wanted]:
            loop, task = self._loops.pop(tenant)
            loop.retire()
            self._ending[task] = tenant
            task.add_done_callback(self._ending.pop)
            log.info("is served no longer", extra=fields("tenant_gone", tenant=tenant.name))
        for tenant in tenants:
            if tenant not in self._loops:
                loop = TenantLoop(tenant, self._service)
                before = [
                    task
                    for task, gone in self._ending.items()
                    if gone.access.place == tenant.access.place
                ]
                self._loops[tenant] = (loop, asyncio.create_task(loop.serve(after=before)))
                log.info("is served", extra=fields("tenant_new", tenant=tenant.name))
        self._service.notifier.take_up(tenants)
        self._tell_states()

    def _state_changed(self) -> None:
        """Tell soon: short jobs change the states hundreds of times a second."""
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TELL_DELAY, self._tell_states)

    def _tell_states(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        states = {tenant.name: loop.state for tenant, (loop, _) in self._loops.items()}
        self._hooks.tenants(states)
        busy = sum(state.startswith("running") for state in states.values())
        failing = sum(state.startswith("failing") for state in states.values())
        self._hooks.status(
            self._tenants.problem
            or self._service.hold.reason()
            or f"{_count(len(states), 'tenant')}, {_count(busy, 'running job')}"
            + (f", {failing} failing" if failing else "")
        )

    # --- signals ----------------------------------------------------------------------------

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGINT, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        loop.add_signal_handler(signal.SIGALRM, self.wake_up)
        signals.let_through()

    def wake_up(self) -> None:
        """Look for due jobs now, in all tenants."""
        log.debug("woken up", extra=fields("wake_up"))
        for loop, _ in self._loops.values():
            loop.wake_up()
        self._tenants.wake_up()

    def reload(self) -> None:
        """Read the configuration again; a wrong one is reported and changes nothing."""
        if self._reloading is not None and not self._service.stopping:
            self._reloading.ask()

    def _use_settings(self, settings: Settings) -> None:
        """Use them from now on; running jobs finish under the old ones."""
        if settings != self._service.settings:
            self._service.settings = settings
            self._service.slots.resize(settings.task_server.max_parallel_tenants)
            self._service.notifier.use(settings)
            self._tenants.use(settings)
            for loop, _ in self._loops.values():
                loop.reconfigured()
            self._hooks.configured(settings)

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._interrupt_all("interrupted: the service was told to stop at once")
        self._stop.set()

    # --- the end ----------------------------------------------------------------------------

    async def _end(self) -> None:
        """Let the running jobs finish, as long as stop_timeout allows."""
        self._service.stopping = True
        self._hooks.stopping()
        busy = len(self._pool.workers)
        log.info("ending; running jobs are finished", extra=fields("stopping", busy=busy))
        tasks = [task for _, task in self._loops.values()] + list(self._ending)
        for loop, _ in self._loops.values():
            loop.retire()
        if tasks:
            timeout = self._service.settings.task_server.stop_timeout
            _, pending = await asyncio.wait(tasks, timeout=timeout)
            if pending:
                self._interrupt_all(
                    "interrupted: the service was stopped and the job did not end within"
                    f" {timeout} s (stop_timeout)"
                )
                await asyncio.wait(pending)
        await self._service.notifier.close()
        self._pool.end()
        log.info("The task server has ended.", extra=fields("service_ended"))

    def _interrupt_all(self, reason: str) -> None:
        for worker in self._pool.workers:
            worker.interrupt(reason)


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
