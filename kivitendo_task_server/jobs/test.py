"""The job Test: shows that jobs run, and how a result or a failure looks (jobs.md, 1.1)."""

from __future__ import annotations

from typing import ClassVar

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.data import is_true
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.log import fields


class Test(Job):
    """Succeeds with the data's ``result``, or fails with its ``exception``."""

    name: ClassVar[str] = "Test"
    summary: ClassVar[str] = "succeeds or fails as its data say"

    def run(self, context: JobContext) -> JobResult:
        """See the class. Raises JobFailed if the data demand it."""
        node = context.settings.task_server.node_id
        context.log.info(
            "Test job ID %d is being executed on node %s.",
            context.job.id,
            node,
            extra=fields("test_job"),
        )
        exception = context.options.get("exception")
        if is_true(exception):
            raise JobFailed(f"Oh cruel world: {exception}")
        result = context.options.get("result", "1")
        return JobResult(None if result is None else str(result))
