"""What a job is and what it knows. This is also the interface for jobs of the user's own.

A job gets a :class:`JobContext` and returns a :class:`JobResult` (or just the result's text).
What it writes through ``context.connection`` without committing is committed together with its
history row, so such a job takes effect exactly once, also under kill -9. A job that commits by
itself must be safe to repeat. An exception makes the run a failure and rolls back what is open.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from kivitendo_task_server.clock import Clock
from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.database.tenants import Tenant


@dataclass(frozen=True)
class JobRow:
    """A row of background_jobs as read under the claim (task-server.md, d.1)."""

    id: int
    type: str | None
    package_name: str
    last_run_at: datetime | None = None
    next_run_at: datetime | None = None
    data: str | None = None
    active: bool | None = True
    cron_spec: str | None = None
    node_id: str | None = None
    description: str | None = None


@dataclass
class JobContext:
    """All that a job may know: never the scheduler, never the daemon."""

    tenant: Tenant
    connection: Connection
    settings: Settings
    clock: Clock
    log: logging.Logger | logging.LoggerAdapter[logging.Logger]
    job: JobRow
    options: dict[str, Any]
    """The job's data column, parsed in kivitendo's YAML dialect (task-server.md, e.5)."""
    kivitendo_dir: Path
    time_limit: int = 0
    """Seconds that the run may take, 0: no limit. Whoever runs the job enforces it; a job hands it
    on to what it starts."""
    progress: Callable[[str], None] = field(default=lambda text: None)
    """Tells the log and the service's status line how far a long job is."""
    actions_after_commit: list[Callable[[], None]] = field(default_factory=list)
    """What :meth:`after_commit` has collected; run by whoever commits the job."""

    def after_commit(self, action: Callable[[], None]) -> None:
        """Have ``action`` called once the job's effects and its history row are committed.

        For effects outside the database which must not happen if the run fails (a mail about
        what was changed). Its own failure is logged and cannot change the job's result.
        """
        self.actions_after_commit.append(action)

    def auth_connection(self) -> Connection:
        """A new connection to the authentication database; the caller commits and closes it."""
        return connect(self.settings.auth_database, purpose=f"job {self.job.package_name}")


@dataclass(frozen=True)
class JobResult:
    """What a run came to: the history row's result and, if it failed, its error."""

    text: str | None = "1"
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the history row's status is ``failure``."""
        return self.error is not None


class Job(ABC):
    """A kind of job. Subclasses are small, have no state, and are made anew for each run."""

    name: ClassVar[str]
    """The package_name of kivitendo's table, for instance ``CreatePeriodicInvoices``."""

    default_schedule: ClassVar[str | None] = None
    """The cron specification of a new row if none is given; None: the user must say."""

    standard: ClassVar[bool] = False
    """Whether every tenant should have a row of this job, with the default schedule."""

    summary: ClassVar[str] = ""
    """One line for lists of jobs."""

    Options: ClassVar[type[Any] | None] = None
    """The job's options, a dataclass made with :mod:`kivitendo_task_server.jobs.options`: checked
    when a row is created. None: the job looks at ``context.options`` by itself."""

    reads_options: ClassVar[bool] = True
    """Whether data that cannot be parsed make a run fail before it begins."""

    @abstractmethod
    def run(self, context: JobContext) -> JobResult | str | None:
        """Do the work once. Text or None is the result of a success."""
