"""Runs one tenant's due jobs one after the other, in a process of its own.

It has its own connection and tells the supervisor what it does; so its memory, its crashes and its
hanging concern nobody else. What the supervisor does not hear from it (``recorded``) it takes for
interrupted.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg2

from kivitendo_task_server.clock import wall_time
from kivitendo_task_server.database.connection import application_name, connect, one_line
from kivitendo_task_server.database.queue import ClaimLostError, JobQueue
from kivitendo_task_server.database.runs import Claim, Mark, Record, Times
from kivitendo_task_server.jobs.interface import JobContext, JobResult, JobRow
from kivitendo_task_server.log import ROOT, fields, logger
from kivitendo_task_server.scheduling import runner
from kivitendo_task_server.scheduling.calendar import MOST_MISSED, Calendar
from kivitendo_task_server.scheduling.messages import LONGEST_TEXT, Batch, Interruption
from kivitendo_task_server.scheduling.reports import Reports

log = logger(__name__)

INTERRUPTIONS_BORNE = 3
"""So many runs of a job may be interrupted in a row before it is left until its next time."""
DISK_INTERVAL = 0.05  # seconds between waits for PostgreSQL's disk, see Worker._record
LOCK_PATIENCE = 10.0  # seconds for PostgreSQL to notice that a dead worker of ours is gone


def session_name(node: str, pid: int) -> str:
    """The purpose by which a worker's database session is known (also to end it)."""
    return f"worker {pid} on {node}"


class Worker:
    """Runs a batch."""

    def __init__(self, batch: Batch, reports: Reports) -> None:
        self._batch = batch
        self._reports = reports
        self._node = batch.rule.node
        self._connection = connect(
            batch.tenant.access, purpose=session_name(self._node, os.getpid())
        )
        self._queue = JobQueue(self._connection, batch.rule, os.getpid(), forced=batch.forced)
        self._calendar = Calendar()
        self._disk_waited = 0.0
        self._not_on_disk: int | None = None
        """The job that was recorded last, unless PostgreSQL's disk was waited for."""

    def run(self) -> None:
        """Run all jobs of the batch; ends early if the supervisor says so or goes away."""
        for job_id, interruption in self._batch.interrupted.items():
            self._settle(job_id, interruption)
        for job_id in self._batch.jobs:
            if self._reports.stop_requested():
                break
            self._handle(job_id)
        if self._not_on_disk is not None:
            self._queue.wait_for_disk(self._not_on_disk)
        self._reports.send("done")
        self._connection.close()

    def _settle(self, job_id: int, interruption: Interruption | None) -> None:
        """Record the interruption of a run, as soon as PostgreSQL has noticed it, too."""
        deadline = time.monotonic()
        if interruption is not None:
            self._queue.end_session(application_name(session_name(self._node, interruption.pid)))
            deadline += LOCK_PATIENCE
        claim = self._queue.claim(job_id, self._now(), to_run=False)
        while not (claim.locked or (claim.mark and not self._is_of(claim.mark, interruption))):
            if time.monotonic() >= deadline:
                return
            time.sleep(0.05)
            claim = self._queue.claim(job_id, self._now(), to_run=False)
        if claim.locked and claim.mark is not None:
            self._record_interruption(job_id, claim, interruption)
        self._reports.send("settled", job=job_id)

    def _is_of(self, mark: Mark, interruption: Interruption | None) -> bool:
        """Whether it is the mark of the run that was interrupted, not of one that came after it."""
        return interruption is not None and (mark.node, mark.pid) == (self._node, interruption.pid)

    def _handle(self, job_id: int) -> None:
        """Claim one job and run it if it is due."""
        os.chdir(self._batch.kivitendo_dir)  # the job before may have gone elsewhere (e.1)
        claim = self._queue.claim(job_id, self._now())
        if claim.locked and claim.mark is not None:
            self._record_interruption(job_id, claim, None)
            claim = self._queue.claim(job_id, self._now())
        if claim.row is None or not claim.due:
            self._reports.send("skipped", job=job_id, locked=not claim.locked)
            return
        self._run(claim.row, failed_before=claim.failures > 0)

    def _now(self) -> datetime:
        return wall_time(self._batch.clock)

    def _run(self, row: JobRow, *, failed_before: bool) -> None:
        if row.type == "interval" and not self._batch.forced:
            error = self._calendar.error(row.cron_spec)
            if error is not None:
                self._record_not_run(row, error)
                return
        started_at = self._now()
        began = time.monotonic()
        prepared = runner.prepare(row, self._batch.settings)
        self._reports.send_later(
            "started", job=row.id, package=row.package_name, time_limit=prepared.time_limit
        )
        self._tell_missed(row, prepared.catch_up)
        self._reports.flush()  # at the latest before it can hang or crash
        context = self._context(row, prepared.options, prepared.time_limit)
        if prepared.job is None:
            assert prepared.failure is not None
            result = prepared.failure
        else:
            result = runner.run(prepared.job, context)
        seconds = time.monotonic() - began
        times = Times(started_at, self._next_run(row, prepared.catch_up))
        record = self._record(
            Record(row, started_at, result, times, seconds),
            durable=bool(context.actions_after_commit),
            failed_before=failed_before,
        )
        if record is not None and not record.result.failed:
            runner.run_actions_after_commit(context)

    def _next_run(self, row: JobRow, catch_up: bool) -> datetime | None:
        """The first time after now (d.2), or after the planned one if none is to be left out."""
        now = self._batch.clock.now()
        if catch_up and row.type == "interval" and row.next_run_at is not None:
            return self._calendar.next_but_none_left_out(row.cron_spec, row.next_run_at, now)
        return self._calendar.next_run(row.cron_spec, now)

    def _tell_missed(self, row: JobRow, catch_up: bool) -> None:
        if row.type != "interval" or row.next_run_at is None or self._batch.forced:
            return
        missed = self._calendar.missed(row.cron_spec, row.next_run_at, self._batch.clock.now())
        if missed:
            number = f"{missed} or more" if missed == MOST_MISSED else str(missed)
            log.info(
                "%s later runs were due as well; %s",
                number,
                "they follow" if catch_up else "this one stands for all of them",
                extra=fields("runs_missed", missed=missed),
            )

    def _record(
        self, record: Record, *, durable: bool = True, failed_before: bool = False
    ) -> Record | None:
        """Commit and record; what cannot be committed makes the run a failure.

        None if somebody else has taken the run over, so that it is not ours to record.

        Many short jobs in a row wait for PostgreSQL's disk together: what a crash of its machine
        can lose, effects and record alike, are the jobs of the last DISK_INTERVAL.
        """
        now = time.monotonic()
        durable = durable or now - self._disk_waited > DISK_INTERVAL
        if durable:
            self._disk_waited = now
        try:
            record = self._record_or_failure(record, durable)
        except ClaimLostError:
            log.warning(
                "another worker has taken the run over, because the job gave up its claim"
                " (pg_advisory_unlock_all, DISCARD ALL); what it left uncommitted is rolled back",
                extra=fields("claim_lost"),
            )
            self._reports.send("given_up", job=record.job.id)
            return None
        self._not_on_disk = None if durable else record.job.id
        self._report(record, failed_before=failed_before)
        return record

    def _record_or_failure(self, record: Record, durable: bool) -> Record:
        try:
            self._queue.record(record, durable=durable)
        except psycopg2.Error as error:
            if self._connection.closed:
                raise
            self._connection.rollback()
            reason = f"what the job has done cannot be committed: {one_line(error)}"
            record = replace(record, result=JobResult(None, record.result.error or reason))
            self._queue.record(record)
        return record

    def _record_not_run(self, row: JobRow, reason: str) -> None:
        """A wrong schedule: say so once, and do not come back every minute (weakness 22)."""
        text = f"the job was not run because its schedule is wrong: {reason}"
        at = self._now()
        self._record(Record(row, at, JobResult(None, text), Times(row.last_run_at, None)))

    def _record_interruption(
        self, job_id: int, claim: Claim, interruption: Interruption | None
    ) -> None:
        """Record the run of the mark as failed; unless given up, the job is still due."""
        mark = claim.mark
        assert mark is not None
        if interruption is not None and self._is_of(mark, interruption):
            reason, given_up = interruption.reason, interruption.own_fault
        else:
            reason, given_up = (
                f"interrupted: the process {mark.pid} on node {mark.node} ended without a record"
                " (killed, or the machine went down)",
                False,
            )
        if not given_up and claim.interruptions + 1 >= INTERRUPTIONS_BORNE:
            reason += f"; this was so {INTERRUPTIONS_BORNE} times in a row, so it is not repeated"
            given_up = True
        row = claim.row or JobRow(id=job_id, type=None, package_name=mark.package_name)
        next_run_at = self._calendar.next_run(row.cron_spec, self._batch.clock.now())
        record = Record(
            row,
            mark.started_at,
            JobResult(None, reason),
            Times(mark.started_at, next_run_at) if given_up else None,
            mark=mark,
            interrupted=not given_up,
        )
        try:
            self._queue.record(record)
        except ClaimLostError:
            return  # it was not interrupted: it has been recorded meanwhile
        self._report(record)

    def _report(self, record: Record, *, failed_before: bool = False) -> None:
        error, description = record.result.error, record.job.description
        # a failure at once: should we be killed now, nobody else would notify of it
        send = self._reports.send if record.result.failed else self._reports.send_later
        send(
            "recorded",
            job=record.job.id,
            package=record.job.package_name,
            description=None if description is None else description[:LONGEST_TEXT],
            run_at=record.run_at,
            failed_before=failed_before,
            error=None if error is None else error[:LONGEST_TEXT],
            seconds=None if record.seconds is None else round(record.seconds, 3),
            due_again=self._is_due_again(record),
        )

    def _is_due_again(self, record: Record) -> bool:
        """Whether runs that were missed follow."""
        following = record.times.next_run_at if record.times else None
        return following is not None and following <= self._now()

    def _context(self, row: JobRow, options: dict[str, Any], time_limit: int) -> JobContext:
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
            time_limit=time_limit,
            progress=lambda text: self._reports.send("progress", text=text[:LONGEST_TEXT]),
        )
