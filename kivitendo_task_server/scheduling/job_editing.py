"""New rows of background_jobs, checked as kivitendo's form checks them (task-server.md, e.4).

Beyond the form, the data are checked too, and a job that nobody here can run is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from kivitendo_task_server.clock import Clock
from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database import job_rows
from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.job_rows import ListedJob, NewJob
from kivitendo_task_server.errors import JobFailed, TaskServerError, UsageError
from kivitendo_task_server.jobs import registry
from kivitendo_task_server.jobs.data import parse_data
from kivitendo_task_server.jobs.options import read_options
from kivitendo_task_server.scheduling.cron import Schedule
from kivitendo_task_server.scheduling.runner import take_run_options


@dataclass(frozen=True)
class Installation:
    """What decides whether a job can run here, and when it runs next."""

    settings: Settings
    kivitendo_dir: Path
    clock: Clock

    def checked(
        self,
        package_name: str,
        *,
        type: Literal["interval", "once"],
        cron_spec: str | None,
        data: str | None,
    ) -> NewJob:
        """A row that may be inserted. ``cron_spec`` None means the job's own schedule.

        A once-job without a schedule is due at once. Raises UsageError for what the form refuses,
        for data that are no YAML or no options of the job, and if no schedule is known.
        """
        self._check_runner(package_name)
        self._check_data(package_name, data)
        if cron_spec is None and type == "interval":
            cron_spec = registry.default_schedule(package_name)
            if cron_spec is None:
                raise UsageError(
                    f"the job {package_name} has no schedule of its own",
                    remedy="give one with --cron 'MINUTE HOUR DAY MONTH WEEKDAY', or use --once",
                )
        return NewJob(package_name, type, cron_spec or None, self.next_run(cron_spec), data)

    def next_run(self, cron_spec: str | None) -> datetime:
        """The next time to store. Raises CronError for a specification that has none."""
        moment = Schedule.parse(cron_spec).next_after(self.clock.now())
        return moment.replace(tzinfo=None, fold=0)

    def missing_standard_jobs(self, connection: Connection) -> tuple[list[NewJob], list[str]]:
        """The standard jobs without any row, and remarks on those that nobody here can run.

        Rows that exist are left as they are, whatever their state: an administrator made it so.
        """
        present = {row.package_name for row in job_rows.all_jobs(connection)}
        new, remarks = [], []
        for name, spec in registry.standard_schedules().items():
            if name in present:
                continue
            choice = registry.choose(name, self.settings.runners, self.kivitendo_dir)
            if choice.runner == "nobody":
                remarks.append(f"{name} is left out: {choice.why}")
            else:
                new.append(self.checked(name, type="interval", cron_spec=spec, data=None))
        return new, remarks

    def _check_runner(self, package_name: str) -> None:
        choice = registry.choose(package_name, self.settings.runners, self.kivitendo_dir)
        if choice.runner == "nobody":
            raise UsageError(
                f"nobody can run a job {package_name!r} here: {choice.why}",
                remedy="see kivitendo-task-server jobs --runners",
            )

    def _check_data(self, package_name: str, data: str | None) -> None:
        try:
            options = parse_data(data)
            take_run_options(options)
            if self.settings.runners.get(package_name) == "perl":
                return
            kind = registry.job_class(package_name)
            if kind is not None and kind.Options is not None:
                read_options(kind.Options, options)
        except JobFailed as error:
            raise UsageError(error.what, where="--data", remedy=error.remedy) from error


def existing(connection: Connection, job_id: int) -> ListedJob:
    """The row, locked. Raises TaskServerError if there is none."""
    row = job_rows.job(connection, job_id)
    if row is None:
        raise TaskServerError(
            f"there is no job with the id {job_id}",
            where=f"database {connection.info.dbname}",
            remedy="see kivitendo-task-server jobs list",
        )
    return row
