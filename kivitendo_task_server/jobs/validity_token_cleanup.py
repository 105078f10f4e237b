"""ValidityTokenCleanup: removes tokens whose time is over (jobs.md, 1.5)."""

from __future__ import annotations

from kivitendo_task_server.clock import wall_time
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import NoOptions, read_options


class ValidityTokenCleanup(Job):
    """Deletes expired validity tokens of any scope."""

    name = "ValidityTokenCleanup"
    default_schedule = "0 3 * * *"
    standard = True
    summary = "removes expired validity tokens"
    Options = NoOptions

    def run(self, context: JobContext) -> str:
        """Result ``1``."""
        read_options(NoOptions, context.options)
        with context.connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM validity_tokens WHERE valid_until < %s", (wall_time(context.clock),)
            )
        return "1"
