"""FailedBackgroundJobsReport: mails what failed since yesterday (jobs.md, 1.15)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kivitendo_task_server.clock import wall_time
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.jobs.job_mail import (
    Text,
    composed,
    send_mail,
    template_of_data,
    templated,
)
from kivitendo_task_server.jobs.options import read_options, text, texts

TEMPLATE = "templates/design40_webpages/failed_background_jobs_report/email.txt"
_HEADING = {
    "de": "Seit {} sind folgende Hintergrundjobs fehlgeschlagen:",
    "en": "Since {} the following background jobs have failed:",
}


@dataclass(frozen=True)
class Options:
    """Who gets the report, from whom, under which subject; all three must be given."""

    recipients: tuple[str, ...] = texts(required=True)
    sender: str = text(name="from", required=True)
    subject: str = text(required=True)
    template: str | None = text()


class FailedBackgroundJobsReport(Job):
    """Mails the failures of the last 24 hours to a list of people; nothing if there were none.

    Unlike kivitendo, which ignores both, it fails if the mail cannot be sent or the given
    template is missing.
    """

    name = "FailedBackgroundJobsReport"
    summary = "mails which jobs failed in the last 24 hours"
    Options = Options

    def run(self, context: JobContext) -> JobResult:
        """Result ``1``. Raises JobFailed for wrong options."""
        options = read_options(Options, context.options)
        template = template_of_data(context, options.template) if options.template else None
        start = wall_time(context.clock) - timedelta(days=1)
        entries = _failures(context, start)
        if entries:
            variables = {"SELF": {"start_time": start, "entries": entries}}
            names = [entry["package_name"] or "" for entry in entries]
            body = templated(context, template, TEMPLATE, variables, must_show=names)
            mail = composed(
                options.sender,
                ", ".join(options.recipients),
                options.subject,
                body or _own_text(context, start, entries),
            )
            if problem := send_mail(context, mail):
                return JobResult(None, f"the report cannot be sent: {problem}")
        return JobResult("1")


def _failures(context: JobContext, start: datetime) -> list[dict[str, Any]]:
    """The history rows, with the names kivitendo's templates use."""
    with context.connection.cursor() as cursor:
        cursor.execute(
            """SELECT history.* FROM background_job_histories history
               WHERE status = 'failure' AND run_at >= %s ORDER BY run_at, id""",
            (start,),
        )
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    # kivitendo's objects call the column so; releases before 3.9.1 have no description
    return [{"description": None, **row, "error_col": row["error"]} for row in rows]


def _own_text(context: JobContext, start: datetime, entries: list[dict[str, Any]]) -> Text:
    lines = [_HEADING[context.tenant.user.countrycode].format(start.isoformat(" ", "minutes"))]
    for entry in entries:
        title = ": ".join(filter(None, (entry["package_name"], entry["description"])))
        lines += ["", f"{entry['run_at'].isoformat(' ')}  {title}", entry["error_col"] or ""]
    return Text("\n".join(lines) + "\n")
