"""The job CreatePeriodicInvoices: posts the recurring invoices that are due, then delivers them."""

from __future__ import annotations

from typing import ClassVar

from kivitendo_task_server.clock import wall_time
from kivitendo_task_server.database.schema import installed_release
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.jobs.periodic_invoices.behaviour import behaviour_of
from kivitendo_task_server.jobs.periodic_invoices.due import Circumstances
from kivitendo_task_server.jobs.periodic_invoices.run import BillingRun


def circumstances(context: JobContext) -> Circumstances:
    """What the context says about a billing run.

    Raises UnsupportedRelease if the database is not of a release that we bill natively.
    """
    with context.connection:
        release = installed_release(context.connection)
    settings = context.settings.periodic_invoices
    return Circumstances(
        now=wall_time(context.clock),
        user=context.tenant.user,
        behaviour=behaviour_of(release, trust_unknown=settings.trust_unknown_release),
        settings=settings,
    )


class CreatePeriodicInvoices(Job):
    """Bills what is due (recurring-invoices.md). Commits by itself; safe to repeat."""

    name: ClassVar[str] = "CreatePeriodicInvoices"
    default_schedule: ClassVar[str | None] = "0 3 * * *"
    summary: ClassVar[str] = "creates, posts and delivers the recurring invoices that are due"

    def run(self, context: JobContext) -> JobResult:
        """Post all that is due; failures of single orders make the run a failure."""
        run = BillingRun(
            context.connection, circumstances(context), context.log, progress=context.progress
        )
        outcome = run.run()
        return JobResult(outcome.text(), outcome.error())
