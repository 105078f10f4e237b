"""The job Test: shows that jobs run, and how a result or a failure looks (jobs.md, 1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.data import is_true
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.jobs.options import read_options, text
from kivitendo_task_server.log import fields


@dataclass(frozen=True)
class Options:
    """``exception``: fail with this text; ``result``: the result, even if it is empty."""

    exception: str | None = text()
    result: str | None = text("1")


class Test(Job):
    """Succeeds with the data's ``result``, or fails with its ``exception``."""

    name: ClassVar[str] = "Test"
    summary: ClassVar[str] = "succeeds or fails as its data say"
    Options = Options

    def run(self, context: JobContext) -> JobResult:
        """See the class. Raises JobFailed if the data demand it."""
        options = read_options(Options, context.options)
        node = context.settings.task_server.node_id
        context.log.info(
            "Test job ID %d is being executed on node %s.",
            context.job.id,
            node,
            extra=fields("test_job"),
        )
        if is_true(options.exception):
            raise JobFailed(f"Oh cruel world: {options.exception}")
        result = context.options.get("result", options.result)
        return JobResult(None if result is None else str(result))
