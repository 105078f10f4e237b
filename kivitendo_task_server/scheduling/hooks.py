"""What the supervisor tells the process around it: ready, status, tenants, watchdog, reload.

The daemon room implements this (:mod:`kivitendo_task_server.daemon.report`) and passes it to
``supervisor.serve``; the supervisor knows nothing of PID files, systemd or the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kivitendo_task_server.config.settings import Settings


class ServiceHooks(Protocol):
    """Calls are cheap, never raise and never block; all of them come from the supervisor's loop."""

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds within which :meth:`watchdog` must be called again; None: nobody watches."""

    def ready(self, warning: str | None = None) -> None:
        """The first attempt to read the tenants is over, signals are handled, jobs will run.

        ``start`` returns at this call. ``warning`` is what it shows the administrator besides,
        for instance that the authentication database is away and is being waited for.
        A fault that waiting cannot cure is raised by ``serve`` instead, as a TaskServerError.
        """

    def status(self, text: str) -> None:
        """One line about what the service is doing; shown by systemd and by ``status``."""

    def tenants(self, states: Mapping[str, str]) -> None:
        """The state of each tenant by name, on a change of any; shown by ``status``."""

    def watchdog(self) -> None:
        """The loop is alive."""

    def reloading(self) -> None:
        """A reload has begun (SIGHUP or a changed file)."""

    def reloaded(self, error: str | None, stop_timeout: int | None = None) -> None:
        """It is over: the new configuration is in force, or ``error`` says why the old one stays.

        ``stop_timeout`` (seconds) is the value now in force, if it changed; ``stop`` waits for it.
        """

    def configured(self, settings: Settings) -> None:
        """Other settings than before are in force, from a reload."""

    def stopping(self) -> None:
        """A graceful end has begun; running jobs are being finished."""


class NoHooks:
    """Hooks for a run that nobody watches: the demo, tests, single passes."""

    watchdog_interval: float | None = None

    def ready(self, warning: str | None = None) -> None: ...
    def status(self, text: str) -> None: ...
    def tenants(self, states: Mapping[str, str]) -> None: ...
    def watchdog(self) -> None: ...
    def reloading(self) -> None: ...
    def reloaded(self, error: str | None, stop_timeout: int | None = None) -> None: ...
    def configured(self, settings: Settings) -> None: ...
    def stopping(self) -> None: ...
