"""Keeps the list of tenants: reads the authentication database again at every tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database import auth
from kivitendo_task_server.database.asynchronous import AsyncConnection
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.database.upgrades import missing, pending_text
from kivitendo_task_server.errors import DatabaseError, TaskServerError
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling.service import Service

log = logger(__name__)

PAUSES = (2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds until the next attempt after failures in a row."""


class UpgradePending(TaskServerError):  # noqa: N818 - a state, and it ends by itself
    """kivitendo's administrator has yet to upgrade the authentication database."""


class TenantList:
    """Reads the tenants and passes them on whenever they were read."""

    def __init__(
        self,
        settings: Settings,
        service: Service,
        changed: Callable[[Sequence[Tenant]], None],
    ) -> None:
        self._settings = settings
        self._service = service
        self._changed = changed
        self._wake = asyncio.Event()
        self._connection: AsyncConnection | None = None
        self._generation: auth.Generation | None = None
        self._tags_present: frozenset[str] = frozenset()
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._error: TaskServerError | None = None
        self.problem: str | None = None
        """Why the list cannot be read at the moment."""

    def tick(self) -> None:
        """A minute began; if the database fails, its pauses are kept to."""
        if self._retry is None:
            self._wake.set()

    def wake_up(self) -> None:
        """Read it now."""
        self._wake.set()

    def use(self, settings: Settings) -> None:
        """Another configuration is in force."""
        if settings.auth_database != self._settings.auth_database:
            self.close()
        self._settings = settings
        self._wake.set()

    async def serve(self) -> None:
        """Read the list whenever told to, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    self._changed(await self.read())
                except (DatabaseError, UpgradePending) as error:
                    self._failed(error)  # the tenants we know are served on, or held back
                except TaskServerError as error:
                    self._failed(error)  # what the configuration asks for is not there
                    self._changed(())
                except Exception as error:
                    log.exception("internal error", extra=fields("internal_error"))
                    self._failed(TaskServerError(f"internal error: {error}"))
                else:
                    self._works()
        finally:
            self._forget_retry()
            self.close()

    async def read(self) -> Sequence[Tenant]:
        """Read the list. Raises DatabaseError and ConfigurationError (see database.auth)."""
        if self._connection is not None and self._generation is not None:
            try:
                return await self._ask(self._connection, self._generation)
            except DatabaseError:
                self.close()  # it was cut since the last time, or the tables have changed
        connection = self._connection = await auth.connect(self._settings)
        self._generation = await auth.detect(connection.query, self._settings)
        return await self._ask(connection, self._generation)

    async def _ask(
        self, connection: AsyncConnection, generation: auth.Generation
    ) -> Sequence[Tenant]:
        await self._check_upgrades(connection)
        return await auth.tenants(connection.query, generation, self._settings)

    async def _check_upgrades(self, connection: AsyncConnection) -> None:
        """Hold everything back while the tables are not what kivitendo's code expects (b.6)."""
        tags = self._service.upgrade_scripts.tags("authentication")
        if tags == self._tags_present and self._service.hold.upgrade is None:
            return
        lacking = await missing(connection.query, "authentication", tags)
        if lacking:
            text = pending_text("authentication", lacking)
            self._service.hold.upgrade = text
            self._service.hold.log_changes()
            raise UpgradePending(text)
        self._service.hold.upgrade = None
        self._tags_present = tags

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._generation = None
        self._tags_present = frozenset()  # it may be another one when it is opened again

    def failed_at_start(self, error: TaskServerError) -> None:
        """The very first attempt failed; go on trying."""
        self._failed(error)

    def _works(self) -> None:
        if self._failures and not isinstance(self._error, UpgradePending):
            log.info("the authentication database answers again", extra=fields("auth_back"))
        self._failures = 0
        self.problem = self._error = None
        self._forget_retry()
        self._service.state_changed()
        self._service.notifier.tenant_recovered(None)

    def _failed(self, error: TaskServerError) -> None:
        self.close()
        if not self._failures and not isinstance(error, UpgradePending):  # the hold is logged
            log.error("%s", error, extra=fields("auth_failing"))
        self.problem, self._error = str(error), error
        self._service.state_changed()
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        self._forget_retry()
        self._retry = asyncio.get_running_loop().call_later(pause, self._wake.set)
        if not isinstance(error, UpgradePending):  # whoever upgrades knows it
            self._service.notifier.tenant_failed(None, str(error))

    def _forget_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
