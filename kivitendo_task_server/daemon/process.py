"""The service as a process: detaching, the order of start-up, and the end.

``start`` waits on a pipe until the service says that it is ready or why not (weakness 4).
Privileges are dropped and the log is opened before, by :mod:`~kivitendo_task_server.daemon.start`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kivitendo_task_server import __version__
from kivitendo_task_server.clock import SystemClock
from kivitendo_task_server.config.location import Location
from kivitendo_task_server.config.settings import Loaded, Settings
from kivitendo_task_server.daemon import logs
from kivitendo_task_server.daemon.configuration import read_configuration
from kivitendo_task_server.daemon.notify import Notifier
from kivitendo_task_server.daemon.pidfile import AlreadyRunning, PidFile, take_process_name
from kivitendo_task_server.daemon.report import Report
from kivitendo_task_server.daemon.report import remove as remove_report
from kivitendo_task_server.daemon.reporter import Reporter
from kivitendo_task_server.errors import ControlError, TaskServerError, not_loadable
from kivitendo_task_server.log import LogTarget, fields, logger
from kivitendo_task_server.scheduling import signals
from kivitendo_task_server.scheduling.spawner import fork_spawner
from kivitendo_task_server.without_ssl import import_without_ssl

READY_TIMEOUT = 90
"""Seconds that ``start`` waits; more than every time-out of a database connection together."""

Announce = Callable[[str | None], None]

log = logger(__name__)


@dataclass(frozen=True)
class Plan:
    """All that the service process needs to know."""

    location: Location
    config_file: Path
    loaded: Loaded
    pid_file: Path
    log_target: LogTarget
    run_job: int | None = None
    """``--run-job``: run this job once in every tenant, then end."""


def run(plan: Plan, announce: Announce = lambda warning: None) -> int:
    """Be the service until it ends: lock, serve, unlock; the exit code.

    ``announce`` is called when it is ready. Raises AlreadyRunning and other TaskServerErrors if it
    cannot start.
    """
    take_process_name()
    # until the supervisor handles them, and again when it has ended: then this process does, too,
    # and no signal may keep it from removing its PID file (weakness 5)
    signals.defer()
    with contextlib.closing(PidFile.acquire(plan.pid_file)), _reporter(plan, announce) as reporter:
        if os.geteuid() == 0:
            log.warning(
                "running as the administrator; set run_as in [task_server] to kivitendo's user",
                extra=fields("privileges", user="root"),
            )
        return _serve(plan, reporter)


def run_detached(plan: Plan) -> str | None:
    """Start the service in the background and wait until it is ready; its warning, if any.

    Raises what the service raised, or ControlError if it vanished. Returns in the caller's process
    only: in the service's process SystemExit is raised when it has ended.
    """
    sys.stdout.flush()  # or the child has the text once more
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _detached(plan, writing)
    os.close(writing)
    os.waitpid(child, 0)  # detaching ends it at once, the service itself is its grandchild
    with os.fdopen(reading, "rb") as pipe:
        return _await_ready(pipe.fileno())


def _detached(plan: Plan, writing: int) -> NoReturn:
    """The rest of the service's life, in the child."""
    from daemon import DaemonContext  # only those who detach need it

    code = 0
    caller = _Caller(writing)
    try:
        with DaemonContext(
            working_directory=str(plan.location.kivitendo_dir),
            umask=_umask(),
            detach_process=True,
            files_preserve=[writing],
            signal_map={},
        ):
            logs.set_up(plan.log_target)
            _warn_of_foreign_unit()
            code = run(plan, lambda warning: caller.tell(ready=True, warning=warning))
    except AlreadyRunning as error:
        caller.tell(already_running=error.pid)
    except TaskServerError as error:
        code = error.exit_code
        log.error("cannot go on: %s", error, extra=fields("ended", exit_code=code))
        caller.tell(error=str(error), exit_code=code)
    except Exception as error:
        code = 1
        log.critical("internal error", exc_info=True, extra=fields("internal_error"))
        text = (
            str(not_loadable(error))
            if isinstance(error, ImportError)
            else f"internal error: {type(error).__name__}: {error}"
        )
        caller.tell(error=text, exit_code=code)
    raise SystemExit(code)


class _Caller:
    """The other end of the pipe: whoever called ``start`` waits there for our one message."""

    def __init__(self, writing: int) -> None:
        self._writing: int | None = writing

    def tell(self, **message: object) -> None:
        """Send it; whatever comes later concerns only the log, and a caller may have gone away."""
        if self._writing is not None:
            with contextlib.suppress(OSError):
                os.write(self._writing, json.dumps(message).encode() + b"\n")
            os.close(self._writing)
            self._writing = None


def _await_ready(pipe: int) -> str | None:
    received = b""
    while not received.endswith(b"\n"):
        if not select.select([pipe], [], [], READY_TIMEOUT)[0]:
            raise ControlError(
                f"the service is not ready after {READY_TIMEOUT} seconds",
                remedy="it goes on trying; look into its log, and at 'status'",
            )
        part = os.read(pipe, 65536)
        if not part:
            raise ControlError(
                "the service ended before it was ready", remedy="look into its log for the reason"
            )
        received += part
    message = json.loads(received)
    if "already_running" in message:
        raise AlreadyRunning(message["already_running"])
    if "error" in message:
        raise StartRefused(message["error"], message["exit_code"])
    warning: str | None = message["warning"]
    return warning


class StartRefused(ControlError):  # noqa: N818 - a refusal is what it is
    """The service's own error, told by its process; the exit code is that error's."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@contextlib.contextmanager
def _reporter(plan: Plan, announce: Announce) -> Iterator[Reporter]:
    report = Report(
        pid=os.getpid(),
        kivitendo_dir=str(plan.location.kivitendo_dir),
        found_by=plan.location.rule,
        config_file=str(plan.config_file),
        version=__version__,
        stop_timeout=plan.loaded.settings.task_server.stop_timeout,
    )
    reporter = Reporter(
        plan.pid_file, report, Notifier.from_environment(), announce, _Reconfiguration(plan)
    )
    try:
        yield reporter
    finally:
        remove_report(plan.pid_file)


class _Reconfiguration:
    """What a reload means for the process itself: where and how much it logs."""

    def __init__(self, plan: Plan) -> None:
        self._directory = plan.location.kivitendo_dir
        self._run_as = plan.loaded.settings.task_server.run_as
        self._target = plan.log_target

    def __call__(self, settings: Settings) -> None:
        try:
            target, doubt = logs.changed_target(self._target, settings, self._directory)
            if target != self._target:
                logs.set_up(target)
                self._target = target
        except TaskServerError as error:
            doubt = f"{error}; the log stays where it is"
        if doubt:
            log.warning("%s", doubt, extra=fields("log_target"))
        run_as = settings.task_server.run_as
        if run_as != self._run_as:
            self._run_as = run_as
            log.warning(
                "run_as in [task_server] has changed, which takes effect at the next start",
                extra=fields("run_as_changed", run_as=run_as),
            )


def _serve(plan: Plan, reporter: Reporter) -> int:
    """Serve until told to end, or run the one job; the exit code."""
    directory = plan.location.kivitendo_dir
    waiting_mails = plan.pid_file.with_suffix(".mails")
    if plan.run_job is None:
        # it loads what workers need while we load what the supervisor needs
        spawner = fork_spawner()
        import_without_ssl("asyncio")
        from kivitendo_task_server.scheduling import supervisor

        return supervisor.serve(
            _Loader(plan),
            SystemClock(),
            reporter,
            kivitendo_dir=directory,
            waiting_mails=waiting_mails,
            spawner=spawner,
        )
    from kivitendo_task_server.scheduling import once

    for warning in plan.loaded.warnings:
        log.warning("%s", warning, extra=fields("configuration_warning"))
    reporter.ready()
    summary = once.run_job(
        plan.run_job,
        plan.loaded.settings,
        SystemClock(),
        kivitendo_dir=directory,
        waiting_mails=waiting_mails,
    )
    log.info(
        "job %d has run in %d tenants",
        plan.run_job,
        summary.succeeded + summary.failed,
        extra=fields("run_job", succeeded=summary.succeeded, failed=summary.failed),
    )
    if summary.unreachable:
        log.warning(
            "these tenants could not be served: %s",
            ", ".join(summary.unreachable),
            extra=fields("run_job_unreachable"),
        )
    return 0  # also for a failed job, which its history row and the notification tell of (c.7)


class _Loader:
    """Gives the configuration that was read before the start, then what the files say now."""

    def __init__(self, plan: Plan) -> None:
        self._first: Loaded | None = plan.loaded
        self._plan = plan

    def __call__(self) -> Loaded:
        loaded, self._first = self._first, None
        place = self._plan.location.kivitendo_dir
        return loaded or read_configuration(self._plan.config_file, place)


def _umask() -> int:
    """The caller's, as in the original, but never with files that everybody may write."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask | 0o002


def _warn_of_foreign_unit() -> None:
    """Say so if we were started from another systemd unit, whose end will be ours (weakness 14)."""
    with contextlib.suppress(OSError):
        unit = foreign_unit(Path("/proc/self/cgroup").read_text())
        if unit is not None:
            log.warning(
                "started as a part of %s, and ends with it; better let the system start it:"
                " systemctl start kivitendo-task-server",
                unit,
                extra=fields("foreign_unit", unit=unit),
            )


def foreign_unit(cgroups: str) -> str | None:
    """The systemd service that a process belongs to by its /proc/PID/cgroup, if it is not ours."""
    for line in cgroups.splitlines():
        unit = line.rpartition("/")[2]
        if unit.endswith(".service") and not unit.startswith("kivitendo-task-server"):
            return unit
    return None
