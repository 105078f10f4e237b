"""An installation with one tenant whose due jobs are run by this process's own workers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from job_rows import Rows, add_job, execute, settings_of
from kivitendo_fixture import KivitendoDir

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.scheduling.once import Summary, run_until_idle

NOW = datetime(2026, 11, 22, 15, 22, 10, tzinfo=ZoneInfo("Europe/Berlin"))
LOCAL_NOW = NOW.replace(tzinfo=None)
TOMORROW = datetime(2026, 11, 23, 3, 0)  # the next time of add_job's "0 3 * * *"

HISTORY = "SELECT package_name, status, result, error FROM background_job_histories ORDER BY id"


@dataclass
class OneTenant:
    """See the module."""

    installation: KivitendoDir
    access: DatabaseAccess

    def run(self, now: datetime = NOW) -> Summary:
        """Run everything that is due then."""
        return run_until_idle(
            settings_of(self.installation), FixedClock(now), kivitendo_dir=self.installation.path
        )

    def add(self, package_name: str = "Test", **columns: Any) -> int:
        """A due job; its id."""
        return add_job(self.access, package_name, **columns)

    def execute(self, sql: str, *values: Any) -> Rows:
        """One statement in the tenant's database."""
        return execute(self.access, sql, *values)

    def history(self) -> Rows:
        """package_name, status, result, error."""
        return self.execute(HISTORY)

    def times(self, job: int) -> tuple[Any, Any]:
        """last_run_at and next_run_at of a job."""
        rows = self.execute(
            "SELECT last_run_at, next_run_at FROM background_jobs WHERE id = %s", job
        )
        return rows[0][0], rows[0][1]

    def marks(self) -> Rows:
        """Jobs that are marked as running."""
        return self.execute("SELECT job_id FROM kivitendo_task_server.running_jobs")
