"""Runs one job that has been claimed, and turns whatever happens into a result."""

from __future__ import annotations

import dataclasses
import logging
import traceback
from dataclasses import dataclass
from typing import Any

import psycopg2

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database.connection import Connection, one_line
from kivitendo_task_server.errors import JobFailed, TaskServerError
from kivitendo_task_server.jobs import registry
from kivitendo_task_server.jobs.data import parse_data
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult, JobRow
from kivitendo_task_server.jobs.options import read_options, switch, whole_number
from kivitendo_task_server.log import fields

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """Keys in a job's data that are ours: the job itself does not see them."""

    job_timeout: int | None = whole_number(0, maximum=999_999_999)
    """Its own time limit in seconds, 0: none. None: that of the settings."""
    catch_up: bool = switch()
    """Runs that were missed are made up for, one by one; otherwise one run stands for them all."""


def take_run_options(data: dict[str, Any]) -> RunOptions:
    """Take our keys out of a job's data. Raises JobFailed if one of them is not usable."""
    names = [field.name for field in dataclasses.fields(RunOptions)]
    known = {name: data.pop(name) for name in names if name in data}
    options = read_options(RunOptions, known)
    return options if "job_timeout" in known else dataclasses.replace(options, job_timeout=None)


class ConnectionLostError(Exception):
    """The database session is gone, and with it the claim: the run counts as interrupted."""


class Interrupted(BaseException):
    """The signal INTERRUPT: end now. Raised amid a job, which may clean up behind itself."""


@dataclass(frozen=True)
class Prepared:
    """A job that is ready to run, or the result it has without running."""

    job: Job | None
    options: dict[str, Any]
    time_limit: int
    """Seconds; 0: none."""
    catch_up: bool = False
    failure: JobResult | None = None


def prepare(row: JobRow, settings: Settings) -> Prepared:
    """Find the class and read the data; what is wrong with them is the job's failure."""
    limit = settings.task_server.job_timeout
    try:
        job = registry.find(row.package_name, settings.runners)
        data = _data(job, row)
        options = take_run_options(data)
    except Exception as error:
        return Prepared(None, {}, limit, failure=_failure(error, row))
    if options.job_timeout is not None:
        limit = options.job_timeout
    return Prepared(job, data, limit, options.catch_up)


def _data(job: Job, row: JobRow) -> dict[str, Any]:
    try:
        return dict(parse_data(row.data))
    except JobFailed:
        if job.reads_options:
            raise
        return {}


def run(job: Job, context: JobContext) -> JobResult:
    """Run the job; what it leaves uncommitted stays open if it succeeded.

    Raises ConnectionLostError.
    """
    try:
        result = job.run(context)
    except Exception as error:
        return _given_up(context.connection, error, context.job)
    except SystemExit as error:
        # the job's business, not the service's (task-server.md, e.3)
        return _given_up(
            context.connection, JobFailed(f"the job called exit({error.code!r})"), context.job
        )
    if context.connection.closed:
        raise ConnectionLostError("the connection to the database was lost or closed by the job")
    return result if isinstance(result, JobResult) else JobResult(result)


def _given_up(connection: Connection, error: Exception, row: JobRow) -> JobResult:
    if connection.closed:
        raise ConnectionLostError(one_line(error)) from error
    try:
        connection.rollback()
    except psycopg2.Error as lost:
        raise ConnectionLostError(one_line(lost)) from error
    return _failure(error, row)


def _failure(error: Exception, row: JobRow) -> JobResult:
    """The text for the history row; a fault of the program's names its place, and is logged."""
    if isinstance(error, TaskServerError):
        return JobResult(None, str(error))
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({place[0].filename}:{place[0].lineno})" if place else ""
    log.error(
        "the job %s (id %d) ended with an unexpected error",
        row.package_name,
        row.id,
        exc_info=error,
        extra=fields("job_error"),
    )
    if isinstance(error, MemoryError):
        return JobResult(None, f"not enough memory{where}")
    return JobResult(None, f"{type(error).__name__}: {error}{where}")


def run_actions_after_commit(context: JobContext) -> None:
    """What the job wanted to do once its effects are committed; a failure is only logged."""
    for action in context.actions_after_commit:
        try:
            action()
        except Exception as error:
            log.error(
                "what the job %s (id %d) does after its commit failed: %s",
                context.job.package_name,
                context.job.id,
                one_line(error),
                exc_info=None if isinstance(error, TaskServerError) else error,
                extra=fields("after_commit_failed"),
            )
