"""CloseForgottenOrders: closes sales orders that nobody has touched for a long time."""

from dataclasses import dataclass

from kivitendo_task_server.clock import today
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.job_mail import Text, composed, send_mail
from kivitendo_task_server.jobs.options import address, read_options, switch, whole_number


@dataclass(frozen=True)
class Options:
    """The job's data, for instance ``months: 36``."""

    months: int = whole_number(24, minimum=1, maximum=1200)
    dry_run: bool = switch()
    report_to: str | None = address()


class CloseForgottenOrders(Job):
    """Closes open sales orders that are older than some months."""

    name = "CloseForgottenOrders"
    default_schedule = "0 4 1 * *"
    summary = "closes sales orders older than some months"
    Options = Options

    def run(self, context: JobContext) -> str:
        """The numbers of the orders."""
        options = read_options(Options, context.options)
        with context.connection.cursor() as cursor:
            cursor.execute(
                """SELECT id, ordnumber FROM oe
                   WHERE record_type = 'sales_order' AND closed IS NOT TRUE
                     AND transdate < %s::date - make_interval(months => %s)
                   ORDER BY id FOR UPDATE""",
                (today(context.clock), options.months),
            )
            orders = cursor.fetchall()
            context.progress(f"{len(orders)} orders found")
            numbers = ", ".join(number for _, number in orders)
            if options.dry_run:
                return f"not yet closed: {numbers}"
            # no commit: the service commits this together with the row of the history
            cursor.execute(
                "UPDATE oe SET closed = true WHERE id = ANY(%s)", ([id for id, _ in orders],)
            )
        if orders and options.report_to:
            # a mail cannot be taken back, so it waits until the orders really are closed
            context.after_commit(lambda: report(context, options.report_to, numbers))
        return f"closed: {numbers}"


def report(context: JobContext, to: str, numbers: str) -> None:
    """Mail which orders were closed; a failure is logged, the orders stay closed."""
    mail = composed("kivitendo <root@localhost>", to, "Closed orders", Text(f"{numbers}\n"))
    with context.connection:  # the mail's row in kivitendo's journal
        problem = send_mail(context, mail)
    if problem:
        raise JobFailed(f"the report cannot be sent: {problem}")
