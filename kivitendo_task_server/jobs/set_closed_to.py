"""SetClosedTo: closes the books up to some weeks ago (jobs.md, 1.9)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from kivitendo_task_server.clock import today
from kivitendo_task_server.jobs.dates import minus_months_keeping_month_end
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import read_options, whole_number


@dataclass(frozen=True)
class Options:
    """How far back the books stay open; 0 means the default, as in kivitendo."""

    subtract_month: int = whole_number(1, maximum=1200, zero_means_default=True)
    subtract_days: int = whole_number(10, maximum=36_500, zero_means_default=True)


class SetClosedTo(Job):
    """Moves the date up to which bookings are locked forward, never back."""

    name = "SetClosedTo"
    default_schedule = "1 0 10 * *"
    summary = "moves the date up to which the books are closed"
    Options = Options

    def run(self, context: JobContext) -> str:
        """Result ``1``, also if the books are closed that far already."""
        options = read_options(Options, context.options)
        day = today(context.clock) - timedelta(days=options.subtract_days)
        day = minus_months_keeping_month_end(day, options.subtract_month)
        with context.connection.cursor() as cursor:
            cursor.execute(
                "UPDATE defaults SET closedto = %(day)s"
                " WHERE closedto IS NULL OR closedto < %(day)s",
                {"day": day},
            )
        return "1"
