"""What a worker and the job queue tell each other of runs: claims, marks, records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kivitendo_task_server.jobs.interface import JobResult, JobRow


@dataclass(frozen=True)
class Mark:
    """A run that began and was not recorded: found under the lock, so whoever did it is gone."""

    package_name: str
    node: str
    pid: int
    started_at: datetime


@dataclass(frozen=True)
class Claim:
    """What the claim of one job came to."""

    locked: bool
    """The lock is ours; otherwise somebody else is at it."""
    row: JobRow | None = None
    """The row as it is now, if it still exists."""
    due: bool = False
    """Still due: it is ours to run now, and marked as running."""
    mark: Mark | None = None
    """The mark of a run: if the lock is ours, of one that was interrupted, to be recorded first."""
    interruptions: int = 0
    """How often the job was interrupted without having come to an end since."""
    failures: int = 0
    """How often the job failed without having worked since."""


@dataclass(frozen=True)
class Times:
    """New values of a row's two times, local without zone."""

    last_run_at: datetime | None
    next_run_at: datetime | None


@dataclass(frozen=True)
class Record:
    """What is written of one run."""

    job: JobRow
    run_at: datetime
    result: JobResult
    times: Times | None
    """None: the row keeps its times, so it is still due."""
    seconds: float | None = None
    mark: Mark | None = None
    """Whose run it was, if not ours."""
    interrupted: bool = False
