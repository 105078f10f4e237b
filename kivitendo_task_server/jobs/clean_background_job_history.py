"""CleanBackgroundJobHistory: forgets old history rows (jobs.md, 1.3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from kivitendo_task_server.clock import today
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import read_options, whole_number

LONGEST = 36_500  # days


@dataclass(frozen=True)
class Options:
    """How many full days rows are kept; 0 means the default, as in kivitendo."""

    retention_success: int = whole_number(14, maximum=LONGEST, zero_means_default=True)
    retention_failure: int = whole_number(90, maximum=LONGEST, zero_means_default=True)


class CleanBackgroundJobHistory(Job):
    """Deletes history rows of successes and failures, each after its own time."""

    name = "CleanBackgroundJobHistory"
    default_schedule = "0 3 * * *"
    standard = True
    summary = "removes old rows of the job history"
    Options = Options

    def run(self, context: JobContext) -> str:
        """Result ``1``. Rows with another status, or without a time, are never deleted."""
        options = read_options(Options, context.options)
        midnight = datetime.combine(today(context.clock), time())
        with context.connection.cursor() as cursor:
            cursor.execute(
                """DELETE FROM background_job_histories
                   WHERE (status = 'success' AND run_at < %s)
                      OR (status = 'failure' AND run_at < %s)""",
                (
                    midnight - timedelta(days=options.retention_success),
                    midnight - timedelta(days=options.retention_failure),
                ),
            )
        return "1"
