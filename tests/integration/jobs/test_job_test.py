"""The job Test: the scenarios of jobs.md, 1.1."""

from __future__ import annotations

import pytest
from jobs_bench import Bench

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import JobResult
from kivitendo_task_server.jobs.test import Test as TestJob


@pytest.mark.parametrize(
    ("data", "result"),
    [(None, "1"), ("result: eins", "eins"), ("result:", None), ("result: ''", ""),
     ("exception: 0", "1")],
)  # fmt: skip
def test_success(bench: Bench, data: str | None, result: str | None) -> None:
    assert bench.run(TestJob, data) == JobResult(result)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("exception: Grüße", "Oh cruel world: Grüße"),
        ("- a", "Not a HASH reference"),
        ("{result: 1}", "YAML Error: Invalid element in map"),
        ("resultat: 1", "the job's options are wrong: unknown: resultat"),
    ],
)
def test_failure(bench: Bench, data: str, error: str) -> None:
    with pytest.raises(JobFailed) as caught:
        bench.run(TestJob, data)
    assert str(caught.value).startswith(error)


def test_it_tells_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        bench.run(TestJob)
    node = bench.settings.task_server.node_id
    assert f"Test job ID 5 is being executed on node {node}." in caplog.messages
