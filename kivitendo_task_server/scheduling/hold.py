"""What holds back all tenants at once: kivitendo's installation lock, a pending upgrade."""

from __future__ import annotations

from pathlib import Path

from kivitendo_task_server.log import fields, logger

log = logger(__name__)

LOCK_FILE = "users/nologin"
"""Made by kivitendo's administration while databases are upgraded."""


class InstallationHold:
    """The reason, if there is one; each change is logged once."""

    def __init__(self, kivitendo_dir: Path) -> None:
        self._lock_file = kivitendo_dir / LOCK_FILE
        self._logged: str | None = None
        self.upgrade: str | None = None
        """The authentication database's pending upgrade."""

    def reason(self) -> str | None:
        """Why no job may begin now; looks at the lock file."""
        if self._lock_file.exists():
            return f"the installation is locked ({self._lock_file}); unlock it in kivitendo"
        return self.upgrade

    def log_changes(self) -> str | None:
        """The same, and a line in the log if it is another than before."""
        found = self.reason()
        if found != self._logged:
            if found is None:
                log.info("jobs run again", extra=fields("hold_over"))
            else:
                log.warning("no jobs run: %s", found, extra=fields("hold"))
            self._logged = found
        return found
