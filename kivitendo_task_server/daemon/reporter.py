"""The service's side of :mod:`report`: tells ``start``, systemd and ``status`` how it is doing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.daemon.notify import Notifier
from kivitendo_task_server.daemon.report import Report, path_for
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.replacing import replace_file

log = logger(__name__)


class Reporter:
    """The :class:`~kivitendo_task_server.scheduling.hooks.ServiceHooks` of a real service."""

    def __init__(
        self,
        pid_file: Path,
        report: Report,
        notifier: Notifier,
        announce: Callable[[str | None], None],
        configured: Callable[[Settings], None] = lambda settings: None,
    ) -> None:
        """``announce`` tells whoever called ``start`` that we are ready, with a warning or None.

        ``configured`` does what a reload means for the process itself.
        """
        self._file = path_for(pid_file)
        self._report = report
        self._notifier = notifier
        self._announce = announce
        self._configured = configured
        self._failed = False
        self._write()

    @property
    def watchdog_interval(self) -> float | None:
        """What systemd allows; the supervisor is early enough by itself."""
        return self._notifier.watchdog_interval

    def ready(self, warning: str | None = None) -> None:
        """Tell everybody; the text that ``status`` shows is the warning, if there is one."""
        self._change(text=warning or "running")
        self._notifier.ready(self._report.text)
        self._announce(warning)

    def status(self, text: str) -> None:
        """Change the status line."""
        if text != self._report.text:
            self._change(text=text)
            self._notifier.status(text)

    def tenants(self, states: Mapping[str, str]) -> None:
        """Change the tenants' states."""
        if states != self._report.tenants:
            self._change(tenants=dict(states))

    def watchdog(self) -> None:
        """Pass the sign of life on."""
        self._notifier.watchdog()

    def reloading(self) -> None:
        """A reload has begun."""
        self._notifier.reloading()

    def reloaded(self, error: str | None, stop_timeout: int | None = None) -> None:
        """A reload is over; ``reload`` waits for this file."""
        timeout = self._report.stop_timeout if stop_timeout is None else stop_timeout
        self._change(reloads=self._report.reloads + 1, reload_error=error, stop_timeout=timeout)
        self._notifier.reloaded(
            f"the old configuration stays in force: {error}" if error else self._report.text
        )

    def configured(self, settings: Settings) -> None:
        """Other settings are in force; they also say how to log."""
        self._configured(settings)

    def stopping(self) -> None:
        """The end has begun; running jobs get the time they are allowed, from systemd as well."""
        self._change(text="stopping, waiting for running jobs", ending=True)
        self._notifier.stopping(self._report.text)
        self._notifier.extend(self._report.stop_timeout + 10)

    def _change(self, **values: object) -> None:
        self._report = replace(self._report, **values)  # type: ignore[arg-type]
        self._write()

    def _write(self) -> None:
        try:
            replace_file(self._file, json.dumps(asdict(self._report), ensure_ascii=False, indent=1))
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning(
                    "the status file cannot be written",
                    extra=fields("status_file", file=self._file, error=error.strerror),
                )
            self._failed = True
