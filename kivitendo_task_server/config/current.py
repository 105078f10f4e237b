"""The configuration in force: read again on request, replaced only by a valid one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.config.settings import Loaded, Settings
from kivitendo_task_server.errors import ConfigurationError, TaskServerError
from kivitendo_task_server.log import fields, logger

log = logger(__name__)


@dataclass(frozen=True)
class Reloaded:
    """What reading again came to."""

    changed: bool
    """Whether other settings than before are in force now."""
    error: str | None = None
    """Why the old ones stay in force."""


class CurrentConfiguration:
    """Holds the last valid configuration; logs each state of the files once."""

    def __init__(self, read: Callable[[], Loaded]) -> None:
        """``read`` finds and loads the files. Raises what it raises: there is no old one yet."""
        self._read = read
        self._error: str | None = None
        self._warned: frozenset[str] = frozenset()
        self.loaded = read()
        self._log_warnings()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    def reload(self) -> Reloaded:
        """Read again. A wrong configuration is logged once and changes nothing."""
        try:
            loaded = self.read()
        except TaskServerError as error:
            return self.refuse(error)
        return self.take(loaded)

    def read(self) -> Loaded:
        """What the files say now. Raises TaskServerError for what must not replace the old one."""
        loaded = self._read()
        self._refuse_emptied(loaded)
        return loaded

    def refuse(self, error: TaskServerError) -> Reloaded:
        """The old one stays in force; logged once."""
        text = str(error)
        if text != self._error:
            log.error(
                "the configuration is wrong, so the old one stays in force: %s",
                text,
                extra=fields("reload_failed"),
            )
        self._error = text
        return Reloaded(changed=False, error=text)

    def take(self, loaded: Loaded) -> Reloaded:
        """Put in force what was read."""
        changed = loaded.settings != self.loaded.settings
        if changed or self._error is not None:
            log.info(
                "the configuration was read again%s",
                "" if changed else ": it is valid again, and the same as before",
                extra=fields("reloaded", changed=changed),
            )
        self._error = None
        self.loaded = loaded
        self._log_warnings()
        return Reloaded(changed)

    def _refuse_emptied(self, loaded: Loaded) -> None:
        """An emptied file is one that is being written, or could not be: on a full disk."""
        if loaded.local_is_empty and not self.loaded.local_is_empty:
            raise ConfigurationError(
                "the configuration file has become empty",
                where=str(loaded.files[-1]),
                remedy="if only the delivered defaults are to apply, restart the service",
            )

    def _log_warnings(self) -> None:
        for warning in self.loaded.warnings:
            if warning not in self._warned:
                log.warning("%s", warning, extra=fields("configuration_warning"))
        self._warned = frozenset(self.loaded.warnings)


def watched_files(loaded: Loaded, kivitendo_dir: Path) -> tuple[Path, ...]:
    """The files whose change calls for reading again: the configuration and the mail templates."""
    templates = (
        loaded.settings.notify_on_failure.email_template,
        loaded.settings.periodic_invoices.email_template,
    )
    return (*loaded.files, *(kivitendo_dir / template for template in templates if template))
