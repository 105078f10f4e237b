"""Reload: the configuration is read again when somebody asks for it, or when its files change.

What ``start`` would refuse is refused here too, also for what the authentication database says: a
wrong password or login must not end the service of tenants that are served well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kivitendo_task_server.config.current import CurrentConfiguration, Reloaded, watched_files
from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database import auth
from kivitendo_task_server.errors import DatabaseError, TaskServerError
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling.hooks import ServiceHooks

if TYPE_CHECKING:
    from kivitendo_task_server.config.watcher import Watcher

log = logger(__name__)

WATCH_DELAY = 1.0  # seconds that loading the watcher leaves to the jobs that are due at the start
RETRY = 30.0
"""Seconds until what was refused is read again: the files may be right as they are, because the
authentication database did not bear them out, or one was locked."""


class Reloading:
    """Keeps the configuration in force up to date, and passes it on."""

    def __init__(
        self,
        configuration: CurrentConfiguration,
        kivitendo_dir: Path,
        hooks: ServiceHooks,
        use: Callable[[Settings], None],
    ) -> None:
        """``use`` is given the settings in force after each reading."""
        self._configuration = configuration
        self._kivitendo_dir = kivitendo_dir
        self._hooks = hooks
        self._use = use
        self._asked = asyncio.Event()
        self._reading = asyncio.Lock()
        self._refused = False
        self._watcher: Watcher | None = None

    def ask(self) -> None:
        """Read it again soon, and tell what came of it."""
        self._hooks.reloading()
        self._asked.set()

    async def serve(self) -> None:
        """Read it whenever asked, until cancelled."""
        while True:
            asked = await self._wait()
            outcome = await self._read()
            if self._asked.is_set():
                continue  # whoever asked meanwhile waits for what the files say since then
            if asked or outcome.error is None:
                timeout = self._configuration.settings.task_server.stop_timeout
                self._hooks.reloaded(outcome.error, timeout)

    async def watch(self) -> None:
        """Ask when the files change; what has changed since they were read counts as well."""
        await asyncio.sleep(WATCH_DELAY)
        from kivitendo_task_server.config.watcher import Watcher

        self._watcher = Watcher(self._files(), self.ask)
        self._watcher.start()
        if (await self._read()).error is not None:
            self.ask()  # so that it is told
        await asyncio.Event().wait()

    def close(self) -> None:
        """Watch no longer."""
        if self._watcher is not None:
            self._watcher.close()

    async def _wait(self) -> bool:
        """Whether somebody asked; otherwise it is time to try what was refused once more."""
        try:
            await asyncio.wait_for(self._asked.wait(), RETRY if self._refused else None)
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    async def _read(self) -> Reloaded:
        # one after the other: what was read first must not be put in force last
        async with self._reading:
            try:
                loaded = self._configuration.read()
                await self._prove(loaded.settings)
            except TaskServerError as error:
                outcome = self._configuration.refuse(error)
            except Exception as error:  # a fault of ours must not end a service that works
                log.exception("internal error", extra=fields("internal_error"))
                outcome = self._configuration.refuse(TaskServerError(f"internal error: {error}"))
            else:
                outcome = self._configuration.take(loaded)
            self._refused = outcome.error is not None
            self._use(self._configuration.settings)
            if self._watcher is not None:
                self._watcher.set_files(self._files())
            return outcome

    async def _prove(self, settings: Settings) -> None:
        """Raise ConfigurationError if the authentication database knows no such tenants."""
        if _choice(settings) == _choice(self._configuration.settings):
            return
        with contextlib.suppress(DatabaseError):  # it is away: waited for, as at the start
            await auth.read_tenants(settings)

    def _files(self) -> tuple[Path, ...]:
        return watched_files(self._configuration.loaded, self._kivitendo_dir)


def _choice(settings: Settings) -> tuple[object, ...]:
    """What decides on the tenants."""
    return settings.auth_database, settings.task_server.login, settings.task_server.client
