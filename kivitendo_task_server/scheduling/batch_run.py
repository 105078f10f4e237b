"""A batch in the hands of a worker: follows its reports, keeps its limits, says how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kivitendo_task_server.errors import DatabaseError, TaskServerError
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling.memory import resident_bytes_of_all
from kivitendo_task_server.scheduling.messages import INTERRUPTED, Batch, Interruption
from kivitendo_task_server.scheduling.notice import FinishedRun
from kivitendo_task_server.scheduling.pool import Worker
from kivitendo_task_server.scheduling.service import Service

log = logger(__name__)

MEMORY_CHECKS = 1.0  # seconds between looks at a worker's memory, where it is limited
TIME_CHECKS = 1.0  # seconds between looks at the clock, where a job's time is limited
FIRST_LINES = 3  # of an error in the log, as in kivitendo's (task-server.md, f)

_FAULTS = (
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGXCPU,
    signal.SIGXFSZ,
)
"""Signals that a process gets for what it does itself."""


@dataclass(frozen=True)
class BatchEnd:
    """How a batch ended."""

    recorded: int = 0
    """Runs that were recorded."""
    settled: frozenset[int] = frozenset()
    """Jobs whose earlier interruption is not to be recorded any more."""
    due_again: bool = False
    """A job of it is due again at once."""
    interruption: tuple[int, Interruption] | None = None
    """The job that did not come to its end, and why."""
    trouble: TaskServerError | None = None
    """Why the worker ended before its time."""


class BatchRun:
    """Runs one batch; use once."""

    def __init__(self, batch: Batch, service: Service, set_state: Callable[[str], None]) -> None:
        self._batch = batch
        self._service = service
        self._set_state = set_state
        self._worker: Worker | None = None
        self._stopped = False
        self._current: tuple[int, str] | None = None
        self._limit: asyncio.Task[None] | None = None
        self._settled: set[int] = set()
        self._recorded = 0
        self._due_again = False
        self._done = False
        self._lost: str | None = None

    def stop(self) -> None:
        """Let the worker finish the job it runs and begin no other."""
        self._stopped = True
        if self._worker is not None:
            self._worker.stop()

    async def follow(self) -> BatchEnd:
        """Start the worker and hear it out."""
        try:
            self._worker = await self._service.pool.start(self._batch)
        except OSError as error:
            return BatchEnd(trouble=TaskServerError(f"no worker can be started: {error}"))
        worker = self._worker
        helpers = [asyncio.ensure_future(self._log_output(worker))]
        if self._batch.settings.system.memory_limit_rss is not None:
            helpers.append(asyncio.ensure_future(self._watch_memory(worker)))
        changed = self._service.settings is not self._batch.settings
        if self._stopped or self._service.stopping or changed:  # while it was being started
            worker.stop()
        try:
            async for message in worker.messages():
                self._heard(message)
            status = await worker.ended
            # a program it left behind may hold the pipe: no longer than for what is there now
            await asyncio.wait(helpers[:1], timeout=0.2)
        finally:
            self._forget_limit()
            for helper in helpers:
                helper.cancel()
            worker.close()
        return self._end(worker, status)

    def _heard(self, message: dict[str, Any]) -> None:
        event = message["event"]
        if event == "log":
            logging.getLogger(message["name"]).log(
                message["level"], "%s", message["text"], extra={"fields": self._fields(message)}
            )
        elif event == "started":
            self._started(message)
        elif event == "recorded":
            self._finished(message)
        elif event == "given_up":
            self._forget_limit()
            self._current = None
        elif event == "progress":
            self._progress(message["text"])
        elif event == "settled":
            self._settled.add(message["job"])
        elif event == "done":
            self._done = True
        elif event == "lost":
            self._lost = message["error"]

    def _fields(self, message: dict[str, Any]) -> dict[str, Any]:
        """The fields of a worker's log record, with the tenant and the job."""
        values = dict(message["fields"])
        action = values.pop("action", "job_log")
        common: dict[str, Any] = {"action": action, "tenant": self._batch.tenant.name}
        if self._current is not None:
            common["job"] = self._current[0]
        return {**common, **values}

    def _started(self, message: dict[str, Any]) -> None:
        job, package, limit = message["job"], message["package"], message["time_limit"]
        self._current = (job, package)
        log.debug(
            "%s", package, extra=fields("job_started", tenant=self._batch.tenant.name, job=job)
        )
        self._set_state(f"running {package} (job {job})")
        if limit:
            self._limit = asyncio.create_task(self._watch_time(limit))

    def _finished(self, message: dict[str, Any]) -> None:
        self._forget_limit()
        self._current = None
        self._recorded += 1
        self._due_again |= message["due_again"]
        about = {
            "tenant": self._batch.tenant.name,
            "job": message["job"],
            "seconds": message["seconds"],
        }
        error = message["error"]
        self._service.notifier.job_finished(
            self._batch.tenant,
            FinishedRun(
                job_id=message["job"],
                package_name=message["package"],
                description=message["description"],
                run_at=datetime.fromisoformat(message["run_at"]),
                error=error,
                failed_before=message["failed_before"],
            ),
        )
        if error is None:
            self._service.finished += 1
            log.info("%s succeeded", message["package"], extra=fields("job_succeeded", **about))
        else:
            self._service.failed += 1
            text = "\n".join(error.strip().splitlines()[:FIRST_LINES])
            log.warning(
                "%s failed", message["package"], extra=fields("job_failed", **about, error=text)
            )

    def _progress(self, text: str) -> None:
        if self._current is None:
            return
        job, package = self._current
        log.info("%s", text, extra=fields("job_progress", tenant=self._batch.tenant.name, job=job))
        self._set_state(f"running {package} (job {job}): {text}")

    def _end(self, worker: Worker, status: int) -> BatchEnd:
        trouble: TaskServerError | None = None
        if self._lost is not None:
            trouble = DatabaseError(self._lost)
        elif not self._done:
            trouble = TaskServerError(
                worker.reason or f"the worker {worker.pid} ended early: {_how(status)}"
            )
        interruption = None
        if self._current is not None:
            interruption = (self._current[0], self._interruption(worker, status))
        return BatchEnd(
            self._recorded, frozenset(self._settled), self._due_again, interruption, trouble
        )

    def _interruption(self, worker: Worker, status: int) -> Interruption:
        if worker.reason is not None:
            return Interruption(worker.pid, worker.reason, worker.own_fault)
        if self._lost is not None:
            reason = f"interrupted: the connection to the database was lost: {self._lost}"
            return Interruption(worker.pid, reason, False)
        own_fault = (status >= 0 and status != INTERRUPTED) or -status in _FAULTS
        what = "the job ended its process" if own_fault else "interrupted: the process ended"
        return Interruption(worker.pid, f"{what} ({_how(status)})", own_fault)

    async def _log_output(self, worker: Worker) -> None:
        async for line in worker.output():
            about: dict[str, Any] = {"tenant": self._batch.tenant.name}
            if self._current is not None:
                about["job"] = self._current[0]
            log.info("%s", line, extra=fields("job_output", **about))

    async def _watch_time(self, limit: int) -> None:
        """End a job that takes too long; time in which we were stopped ourselves does not count."""
        loop = asyncio.get_running_loop()
        assert self._worker is not None
        rest, last = float(limit), loop.time()
        while rest > 0:
            await asyncio.sleep(min(rest, TIME_CHECKS))
            now = loop.time()
            rest, last = rest - min(now - last, 2 * TIME_CHECKS), now
        self._worker.interrupt(f"the job exceeded its time limit of {limit} s", own_fault=True)

    async def _watch_memory(self, worker: Worker) -> None:
        limit = self._batch.settings.system.memory_limit_rss
        assert limit is not None
        while True:
            used = resident_bytes_of_all(worker.pid)
            if used > limit:
                worker.interrupt(
                    f"the job exceeded the memory limit ({used} of {limit} bytes,"
                    " memory_limit_rss)",
                    own_fault=True,
                )
                return
            await asyncio.sleep(MEMORY_CHECKS)

    def _forget_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def _how(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-status).name}"
    return f"signal {-status}"
