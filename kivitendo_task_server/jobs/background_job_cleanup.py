"""BackgroundJobCleanup: removes once-jobs that ran more than a day ago (jobs.md, 1.2)."""

from __future__ import annotations

from datetime import timedelta

from kivitendo_task_server.clock import wall_time
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import NoOptions, read_options


class BackgroundJobCleanup(Job):
    """Deletes finished once-jobs; those that never ran stay."""

    name = "BackgroundJobCleanup"
    default_schedule = "0 3 * * *"
    standard = True
    summary = "removes jobs that were to run once and did so more than a day ago"
    Options = NoOptions

    def run(self, context: JobContext) -> str:
        """Result ``1``."""
        read_options(NoOptions, context.options)
        with context.connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM background_jobs WHERE type = 'once' AND last_run_at < %s",
                (wall_time(context.clock) - timedelta(days=1),),
            )
        return "1"
