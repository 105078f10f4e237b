"""A worker as a process: its signals, descriptors, limits, log and environment; then its batch."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import resource
import signal
import socket
import sys
from typing import Any

import psycopg2
from psycopg2.errors import LockNotAvailable, ReadOnlySqlTransaction

from kivitendo_task_server.database.connection import one_line
from kivitendo_task_server.errors import DatabaseError, TaskServerError
from kivitendo_task_server.log import ROOT
from kivitendo_task_server.scheduling import runner
from kivitendo_task_server.scheduling.messages import (
    INTERRUPT,
    INTERRUPTED,
    Batch,
    receive_batch,
)
from kivitendo_task_server.scheduling.reports import ReportHandler, Reports
from kivitendo_task_server.scheduling.worker import Worker


def work(channel: socket.socket, output: int) -> int:
    """Be a worker: receive a batch, run it; the exit code. Runs in a process of its own."""
    os.setpgid(0, 0)
    _redirect(output)
    faulthandler.enable(sys.stderr)  # where it was when it crashed, for the log
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
        _log_to(reports, debug=batch.settings.task_server.debug)
        Worker(batch, reports).run()
    except runner.Interrupted:
        return INTERRUPTED
    except ConnectionError:
        return 0  # the supervisor is gone
    except psycopg2.Error as error:
        _report_end(reports, _explained(error, batch))
    except (TaskServerError, OSError, runner.ConnectionLostError) as error:
        _report_end(reports, error)
    return 0


def _report_end(reports: Reports, error: Exception) -> None:
    with contextlib.suppress(ConnectionError):
        reports.send("lost", error=one_line(error))


def _explained(error: psycopg2.Error, batch: Batch) -> DatabaseError:
    """What the job queue ran into, with where and what to do."""
    remedy = ""
    if isinstance(error, ReadOnlySqlTransaction):
        remedy = "jobs need a database that may be written: is it a standby, or set to read-only?"
    elif isinstance(error, LockNotAvailable):
        remedy = "who has locked background_jobs?"
    return DatabaseError(one_line(error), where=f"database {batch.tenant.access}", remedy=remedy)


def _log_to(reports: Reports, *, debug: bool) -> None:
    root = logging.getLogger()
    ours = logging.getLogger(ROOT)
    # as the supervisor's when it started; debug may have been switched on since
    level = min(ours.getEffectiveLevel(), logging.DEBUG if debug else logging.INFO)
    for each in (root, ours):
        each.handlers.clear()
    ours.propagate = True
    root.addHandler(ReportHandler(reports))
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
