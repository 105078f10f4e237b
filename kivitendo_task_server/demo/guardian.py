"""The process that owns what the demo runs: it outlives a killed demo just long enough to tidy up.

The demo holds the other end of our standard input. When that closes, for whatever reason, and the
demo did not say ``keep`` before, we stop PostgreSQL and remove the folder. When we are killed
ourselves, the kernel stops PostgreSQL (see :mod:`children`).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import IO, Any

from kivitendo_task_server.demo.children import die_with_parent
from kivitendo_task_server.demo.postgres import EmbeddedPostgres
from kivitendo_task_server.errors import TaskServerError

PREFIX = "kivitendo-task-server-demo-"
LOCK = "guardian.pid"
SERVICE_LOG = "service.log"


class _Stop(BaseException):
    """SIGTERM or the like."""


def main() -> int:
    """Run until the demo is over; the one argument, if any, is the folder to work in."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _on_signal)
    try:
        with ExitStack() as stack:
            try:
                _guard(stack, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
            finally:
                _ignore_signals()  # the tidying up must not be cut short
    except _Stop:
        pass
    except (TaskServerError, OSError) as error:
        _tell(error=str(error))
        return 1
    return 0


def service_command(configuration: Path, *arguments: str) -> list[str]:
    """The real command, run by the Python we run in."""
    return [sys.executable, "-P", "-m", "kivitendo_task_server", "-c", str(configuration),
            *arguments]  # fmt: skip


def start_service(configuration: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """The service in the foreground, which ends when we do."""
    return subprocess.Popen(
        service_command(configuration, "-f", "start"),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for the demo, which then stops the service
        preexec_fn=die_with_parent(signal.SIGTERM),
    )


def stop_service(service: subprocess.Popen[bytes]) -> None:
    """Ask it to end, wait, insist."""
    if service.poll() is None:
        service.terminate()
        try:
            service.wait(20)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def _guard(stack: ExitStack, wanted: Path | None) -> None:
    folder = _make_folder(stack, wanted)
    lock = stack.enter_context((folder / LOCK).open("w"))
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    postgres = stack.enter_context(EmbeddedPostgres(parent=folder))
    access = postgres.access("postgres")
    _tell(
        folder=str(folder), port=access.port, user=access.user, password=access.password,
        programs=str(postgres.programs),
    )  # fmt: skip
    request = sys.stdin.readline()
    if request.strip():  # the configuration file: keep everything running
        log = stack.enter_context((folder / SERVICE_LOG).open("ab"))
        service = start_service(Path(request.strip()), log)
        stack.callback(stop_service, service)
        _tell(service=service.pid)
        # the service may be stopped and started by others, PostgreSQL not
        while os.wait()[0] != postgres.pid:
            pass


def _make_folder(stack: ExitStack, wanted: Path | None) -> Path:
    if wanted is None:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    else:
        folder = wanted.absolute()
        if folder.exists() and any(folder.iterdir()):
            raise TaskServerError("the folder is not empty", where=str(folder),
                                  remedy="name a new one")  # fmt: skip
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    if os.geteuid() == 0:
        # PostgreSQL will run as another user, below this folder
        folder.chmod(0o711)
    return folder


def _tell(**facts: Any) -> None:
    """One line for the demo; it may have gone, then our input has ended too."""
    try:
        print(json.dumps(facts), flush=True)
    except BrokenPipeError:
        # what is left in the buffer must not fail again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _on_signal(number: int, frame: FrameType | None) -> None:
    raise _Stop


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    raise SystemExit(main())
