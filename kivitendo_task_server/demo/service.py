"""Runs the real service on the demo's databases until no job is due any more."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.demo.guardian import service_command, start_service, stop_service
from kivitendo_task_server.errors import ControlError

PATIENCE = 90  # seconds for all due jobs
DEATHS = 3  # how often a killed service is started again

Note = Callable[[str], None]
"""Shows a line of progress."""

# task-server.md, d.1, as far as the demo's own rows need it
DUE = """
    SELECT count(*) FROM background_jobs
    WHERE active AND (type = 'interval' AND next_run_at <= %(now)s
                      OR type = 'once' AND last_run_at IS NULL)
"""


@dataclass(frozen=True)
class ServiceRun:
    """One call of the service."""

    seconds: float
    """From its start to the end of the last due job."""
    killed: int
    """How often it was killed from outside, and started again."""
    exit_code: int


def run_until_idle(
    configuration: Path,
    databases: Sequence[DatabaseAccess],
    log: Path,
    note: Note,
) -> ServiceRun:
    """Start the service, wait until no job is due in any of the databases, stop it.

    A service that is killed meanwhile is started again, as an init system would. Raises
    ControlError with its last words if it ends by itself, or does not get done.
    """
    started = time.monotonic()
    killed = 0
    connections = [connect(access, purpose="demo") for access in databases]
    with log.open("ab") as output:
        service = start_service(configuration, output)
        try:
            while _due(connections):
                code = service.poll()
                if code is not None:
                    killed += 1
                    if code != -signal.SIGKILL or killed > DEATHS:
                        raise ControlError(
                            f"the service ended (exit code {code}): {_last_line(log)}",
                            where=str(configuration),
                        )
                    note("the service was killed; starting it again, as an init system would")
                    service = start_service(configuration, output)
                if time.monotonic() - started > PATIENCE:
                    raise ControlError(
                        f"jobs are still due after {PATIENCE} s; the service's last line:"
                        f" {_last_line(log)}",
                        where=str(configuration),
                    )
                time.sleep(0.05)
            seconds = time.monotonic() - started
        finally:
            stop_service(service)
            for connection in connections:
                connection.close()
    return ServiceRun(seconds, killed, service.returncode)


def await_running(configuration: Path, log: Path) -> None:
    """Wait until ``status`` says that a service just started is there.

    Raises ControlError with the service's last words if that does not happen.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        asked = subprocess.run(
            service_command(configuration, "status"), capture_output=True, check=False
        )
        if asked.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise ControlError(
                f"the service does not start: {_last_line(log)}", where=str(configuration)
            )
        time.sleep(0.1)


def make_due(databases: Sequence[DatabaseAccess], package_name: str) -> None:
    """What "run it now" comes to: the job's next time is the present."""
    for access in databases:
        connection = connect(access, purpose="demo")
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "UPDATE background_jobs SET next_run_at = %s WHERE package_name = %s",
                (_now(), package_name),
            )
        connection.close()


def _due(connections: Sequence[Connection]) -> int:
    total = 0
    for connection in connections:
        with connection, connection.cursor() as cursor:
            cursor.execute(DUE, {"now": _now()})
            row = cursor.fetchone()
            assert row is not None
            total += row[0]
    return total


def _now() -> datetime:
    """Local time as kivitendo stores it."""
    return datetime.now().replace(microsecond=0)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
