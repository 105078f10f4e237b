"""What the supervisor tells the process that sends notifications, and what it hears from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database.tenants import Tenant

Subject: TypeAlias = tuple[str, int | None, int | None]
"""What fails: a job (its database, tenant, and id), a tenant (no id), or the service ("", …)."""


@dataclass(frozen=True)
class FinishedRun:
    """One recorded run of a job."""

    job_id: int
    package_name: str
    description: str | None
    run_at: datetime
    """Local time, naive, as in the history row."""
    error: str | None
    """None: it succeeded."""
    failed_before: bool = False
    """The run before it had failed."""


@dataclass(frozen=True)
class Notice:
    """One thing to be told to the administrators."""

    tenant: Tenant | None
    """None: it concerns the service as a whole."""
    at: datetime
    """When it happened; aware."""
    run: FinishedRun | None = None
    error: str | None = None
    """What failed outside of jobs; None: it works again."""
    since: datetime | None = None
    """Outside of jobs: since when it has been failing."""
    again: bool = False
    """Outside of jobs: it was reported already."""

    @property
    def subject(self) -> Subject:
        """What it is about."""
        if self.tenant is None:
            return ("", None, None)
        job_id = self.run.job_id if self.run else None
        return (str(self.tenant.access), self.tenant.id, job_id)

    @property
    def failure(self) -> bool:
        """Whether it is about a failure, not about its end."""
        return (self.run.error if self.run else self.error) is not None


@dataclass(frozen=True)
class Order:
    """A notice with all that is needed to send it."""

    notice: Notice
    settings: Settings
    kivitendo_dir: Path
    now: datetime
    first_attempt: bool = True
    timeout: float = 60.0
    """Seconds for each step of delivery."""


@dataclass(frozen=True)
class Answer:
    """What became of an order."""

    done: bool
    """Nothing remains to be done; otherwise it is to be tried again."""
    sent_to: str = ""
    """Who got a mail; empty: nobody, because none was due or it failed."""
    error: str = ""
    quiet_until: datetime | None = None
    """A further failure of the job is of no interest before this moment."""
