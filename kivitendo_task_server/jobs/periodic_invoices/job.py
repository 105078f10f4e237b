"""The job CreatePeriodicInvoices: posts the recurring invoices that are due, then delivers them."""

from __future__ import annotations

from typing import ClassVar

from kivitendo_task_server.clock import Clock, wall_time
from kivitendo_task_server.config.settings import PeriodicInvoicesSettings
from kivitendo_task_server.database import own_schema
from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.schema import installed_release
from kivitendo_task_server.database.tenants import TenantUser
from kivitendo_task_server.errors import JobFailed, TaskServerError
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.jobs.periodic_invoices.behaviour import (
    UnsupportedRelease,
    behaviour_of,
)
from kivitendo_task_server.jobs.periodic_invoices.delivery import (
    MakeRenderer,
    PerlRenderer,
    deliver_pending,
    enqueue,
    send_summary,
)
from kivitendo_task_server.jobs.periodic_invoices.due import Circumstances
from kivitendo_task_server.jobs.periodic_invoices.outcome import Outcome
from kivitendo_task_server.jobs.periodic_invoices.run import BillingRun
from kivitendo_task_server.jobs.perl_bridge import PerlJob, check_runnable
from kivitendo_task_server.log import fields


def circumstances_of(
    connection: Connection, user: TenantUser, clock: Clock, settings: PeriodicInvoicesSettings
) -> Circumstances:
    """What a billing run in this database has to go by.

    Raises UnsupportedRelease if the database is not of a release that we bill natively.
    """
    with connection:
        release = installed_release(connection)
    return Circumstances(
        now=wall_time(clock),
        user=user,
        behaviour=behaviour_of(release, trust_unknown=settings.trust_unknown_release),
        settings=settings,
    )


class CreatePeriodicInvoices(Job):
    """Bills what is due (recurring-invoices.md). Commits by itself; safe to repeat."""

    name: ClassVar[str] = "CreatePeriodicInvoices"
    default_schedule: ClassVar[str | None] = "0 3 * * *"
    standard: ClassVar[bool] = True
    summary: ClassVar[str] = "creates, posts and delivers the recurring invoices that are due"

    def __init__(self, make_renderer: MakeRenderer = PerlRenderer) -> None:
        """``make_renderer`` makes what turns invoices into PDF files."""
        self._make_renderer = make_renderer

    def run(self, context: JobContext) -> JobResult | str | None:
        """Post all that is due, then deliver it and what earlier runs left.

        Failures of single orders and of deliveries make the run a failure; what is posted stays.
        """
        try:
            circumstances = circumstances_of(
                context.connection,
                context.tenant.user,
                context.clock,
                context.settings.periodic_invoices,
            )
        except UnsupportedRelease as unsupported:
            return self._by_perl(context, unsupported)
        own_schema.ensure(context.connection)  # deliveries are remembered there
        run = BillingRun(
            context.connection,
            circumstances,
            context.log,
            progress=context.progress,
            enqueue=enqueue,
        )
        return self._delivered(context, run.run())

    def _delivered(self, context: JobContext, outcome: Outcome) -> JobResult:
        """Deliver what was posted, and what earlier runs left; tell of all of it."""
        report = deliver_pending(context, make_renderer=self._make_renderer)
        try:
            send_summary(context, outcome, report)
        except TaskServerError as error:
            report.problems.append(str(error))
        language = context.tenant.user.countrycode
        texts = [text for text in (outcome.text(), report.text()) if text]
        errors = [text for text in (outcome.error(), *report.errors(language)) if text]
        if errors:
            # the history row of a failure has no result: what was done is told after what was not
            errors.append("\n" + outcome.text(failures=False))
        return JobResult("\n\n".join(texts), "\n".join(errors) or None)

    def _by_perl(
        self, context: JobContext, unsupported: UnsupportedRelease
    ) -> JobResult | str | None:
        """Leave a release that we do not know to kivitendo's own job, where that can be run."""
        reason = str(unsupported)
        if context.settings.runners.get(self.name) == "native":
            raise unsupported
        try:
            check_runnable(context.kivitendo_dir, self.name)
        except JobFailed as missing:
            raise JobFailed(
                f"{unsupported.what}; and kivitendo's own job cannot be run: {missing}",
                where=unsupported.where,
                remedy=unsupported.remedy,
            ) from missing
        context.log.info("%s: kivitendo's own job does it", reason, extra=fields("left_to_perl"))
        return PerlJob(self.name).run(context)
