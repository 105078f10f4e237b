"""The process that runs one tenant's due jobs one after the other, and ends.

It opens its own connection and tells the supervisor what it does; so its memory, its crashes and
its hanging concern nobody else. What the supervisor does not hear from it (``recorded``) it takes
for interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

import psycopg2

from kivitendo_task_server.clock import wall_time
from kivitendo_task_server.database import own_schema
from kivitendo_task_server.database.connection import application_name, connect, one_line
from kivitendo_task_server.database.queue import Claim, JobQueue
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.interface import JobContext, JobResult, JobRow
from kivitendo_task_server.log import ROOT
from kivitendo_task_server.scheduling import runner
from kivitendo_task_server.scheduling.messages import (
    INTERRUPT,
    INTERRUPTED,
    LONGEST_TEXT,
    Batch,
    Interruption,
    encode,
    receive_batch,
)

INTERRUPTIONS_BORNE = 3
"""So many runs of a job may be interrupted in a row before it is left until its next time."""
LOCK_PATIENCE = 10.0  # seconds for PostgreSQL to notice that a dead worker of ours is gone


def session_name(node: str, pid: int) -> str:
    """The purpose by which a worker's database session is known (also to end it)."""
    return f"worker {pid} on {node}"


def work(channel: socket.socket, output: int) -> int:
    """Be a worker: receive a batch, run it; the exit code. Runs in a process of its own."""
    os.setpgid(0, 0)
    _redirect(output)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(INTERRUPT, _interrupt)
    # systemd may send it to all processes of the service, while the supervisor ends it gracefully;
    # not SIG_IGN, because programs started by jobs would inherit that
    signal.signal(signal.SIGTERM, lambda *_: None)
    batch = receive_batch(channel)
    if batch is None:
        return 0
    reports = Reports(channel)
    try:
        _limit_memory(batch)
        os.environ.update(batch.settings.environment)
        os.chdir(batch.kivitendo_dir)
        _log_to(reports)
        Worker(batch, reports).run()
    except runner.Interrupted:
        return INTERRUPTED
    except ConnectionError:
        return 0  # the supervisor is gone
    except (TaskServerError, psycopg2.Error, OSError, runner.ConnectionLostError) as error:
        with contextlib.suppress(ConnectionError):
            reports.send("lost", error=one_line(error))
    return 0


class Worker:
    """Runs a batch."""

    def __init__(self, batch: Batch, reports: Reports) -> None:
        self._batch = batch
        self._reports = reports
        self._node = batch.rule.node
        self._connection = connect(
            batch.tenant.access, purpose=session_name(self._node, os.getpid())
        )
        own_schema.ensure(self._connection)
        self._queue = JobQueue(self._connection, batch.rule, os.getpid())

    def run(self) -> None:
        """Run all jobs of the batch; ends early if the supervisor says so or goes away."""
        for job_id in self._batch.jobs:
            if self._reports.stop_requested():
                break
            self._handle(job_id)
        self._reports.send("done")
        self._connection.close()

    def _handle(self, job_id: int) -> None:
        """Claim one job; record the interruption of an earlier run of it; run it if it is due."""
        interruption = self._batch.interrupted.get(job_id)
        if interruption is not None:
            self._queue.end_session(application_name(session_name(self._node, interruption.pid)))
        claim = self._claim(job_id, LOCK_PATIENCE if interruption is not None else 0)
        if claim.mark is not None:
            self._record_interruption(job_id, claim, interruption)
            if self._batch.record_only:
                return
            claim = self._claim(job_id, 0)
        if claim.row is None or not claim.due:
            self._reports.send("skipped", job=job_id, locked=not claim.locked)
            return
        self._run(claim.row)

    def _claim(self, job_id: int, patience: float) -> Claim:
        deadline = time.monotonic() + patience
        while True:
            started_at = wall_time(self._batch.clock)
            claim = self._queue.claim(job_id, started_at, forced=self._batch.forced)
            if claim.locked or time.monotonic() > deadline:
                return claim
            time.sleep(0.05)

    def _run(self, row: JobRow) -> None:
        clock = self._batch.clock
        if row.type == "interval" and not self._batch.forced:
            error = runner.schedule_error(row, clock)
            if error is not None:
                self._not_run(row, error)
                return
        started_at = wall_time(clock)
        began = time.monotonic()
        prepared = runner.prepare(row, self._batch.settings)
        self._reports.send(
            "started", job=row.id, package=row.package_name, time_limit=prepared.time_limit
        )
        context = self._context(row, prepared.options)
        if prepared.job is None:
            assert prepared.failure is not None
            result = prepared.failure
        else:
            result = runner.run(prepared.job, context)
        seconds = time.monotonic() - began
        result = self._record(row, started_at, result, seconds)
        if not result.failed:
            runner.run_actions_after_commit(context)
        self._reports.send(
            "recorded",
            job=row.id,
            package=row.package_name,
            description=row.description,
            error=None if result.error is None else result.error[:LONGEST_TEXT],
            seconds=round(seconds, 3),
        )

    def _record(self, row: JobRow, started_at: Any, result: JobResult, seconds: float) -> JobResult:
        """Commit and record; what cannot be committed makes the run a failure."""
        next_run_at = runner.next_run(row.cron_spec, self._batch.clock.now())
        try:
            self._queue.record(row, started_at, result, next_run_at, seconds)
            return result
        except psycopg2.Error as error:
            if self._connection.closed:
                raise
            self._connection.rollback()
            reason = f"what the job has done cannot be committed: {one_line(error)}"
            result = JobResult(None, reason if result.error is None else result.error)
            self._queue.record(row, started_at, result, next_run_at, seconds)
            return result

    def _not_run(self, row: JobRow, reason: str) -> None:
        text = f"the job was not run because its schedule is wrong: {reason}"
        self._queue.record_not_run(row, wall_time(self._batch.clock), text)
        self._reports.send(
            "recorded",
            job=row.id,
            package=row.package_name,
            description=row.description,
            error=text,
            seconds=0,
        )

    def _record_interruption(
        self, job_id: int, claim: Claim, interruption: Interruption | None
    ) -> None:
        mark = claim.mark
        assert mark is not None
        known = interruption is not None and (mark.node, mark.pid) == (self._node, interruption.pid)
        if known and interruption is not None:
            reason, own_fault = interruption.reason, interruption.own_fault
        else:
            reason, own_fault = (
                f"interrupted: the process {mark.pid} on node {mark.node} ended without a record"
                " (killed, or the machine went down)",
                False,
            )
        given_up = own_fault or claim.interruptions + 1 >= INTERRUPTIONS_BORNE
        if given_up and not own_fault:
            reason += f"; this was so {INTERRUPTIONS_BORNE} times in a row, so it is not repeated"
        spec = claim.row.cron_spec if claim.row is not None else None
        next_run_at = runner.next_run(spec, self._batch.clock.now())
        self._queue.record_interruption(job_id, claim, reason, next_run_at, given_up=given_up)
        self._reports.send(
            "recorded",
            job=job_id,
            package=mark.package_name,
            description=claim.row.description if claim.row is not None else None,
            error=reason,
            seconds=0,
        )

    def _context(self, row: JobRow, options: dict[str, Any]) -> JobContext:
        batch = self._batch
        return JobContext(
            tenant=batch.tenant,
            connection=self._connection,
            settings=batch.settings,
            clock=batch.clock,
            log=logging.getLogger(f"{ROOT}.job"),
            job=row,
            options=options,
            kivitendo_dir=batch.kivitendo_dir,
            progress=lambda text: self._reports.send("progress", text=text[:LONGEST_TEXT]),
        )


class Reports:
    """The worker's end of the line to the supervisor."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def send(self, event: str, **values: Any) -> None:
        """Tell something. Raises ConnectionError if the supervisor is gone."""
        self._channel.sendall(encode(event, **values))

    def stop_requested(self) -> bool:
        """Whether the supervisor sent "stop", or is gone."""
        return bool(self._poll.poll(0))


class _ReportHandler(logging.Handler):
    """Log records travel to the supervisor, who knows where the log is."""

    def __init__(self, reports: Reports) -> None:
        super().__init__()
        self._reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        try:
            self._reports.send(
                "log",
                name=record.name,
                level=record.levelno,
                text=text[:LONGEST_TEXT],
                fields=getattr(record, "fields", {}),
            )
        except ConnectionError:
            return  # found out by the next report of the worker itself


def _log_to(reports: Reports) -> None:
    root = logging.getLogger()
    ours = logging.getLogger(ROOT)
    level = ours.getEffectiveLevel()
    for each in (root, ours):
        each.handlers.clear()
    ours.propagate = True
    root.addHandler(_ReportHandler(reports))
    ours.setLevel(level)


def _redirect(output: int) -> None:
    """What jobs print goes to the supervisor's log; they read nothing."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _limit_memory(batch: Batch) -> None:
    limit = batch.settings.system.memory_limit_vsz
    if limit is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _interrupt(*_: Any) -> None:
    raise runner.Interrupted
