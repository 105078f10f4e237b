"""The demo's side of the guardian: the folder and the PostgreSQL that everything happens in."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.demo import guardian
from kivitendo_task_server.errors import ControlError, TaskServerError


@dataclass
class Stage:
    """A running PostgreSQL, and the folder that is removed with it."""

    process: subprocess.Popen[str]
    folder: Path
    superuser: DatabaseAccess
    programs: Path
    kept: bool = False

    def access(self, database: str) -> DatabaseAccess:
        """How to reach a database as the superuser."""
        own = self.superuser
        return DatabaseAccess(own.host, own.port, database, own.user, own.password)

    def keep(self, configuration: Path) -> int:
        """Leave all of it running, with the service on ``configuration``; return its pid."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{configuration}\n")
        self.process.stdin.flush()
        pid: int = _answer(self.process)["service"]
        self.kept = True
        return pid


@contextmanager
def open_stage(folder: Path | None = None) -> Iterator[Stage]:
    """Start the guardian and PostgreSQL; both end with the block, unless they are kept.

    Raises TaskServerError, with the guardian's reason, if that fails.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kivitendo_task_server.demo.guardian",
         *([str(folder.absolute())] if folder else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # a kept one must not hold on to a terminal or a pipe
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    stage = None
    try:
        facts = _answer(process)
        stage = Stage(
            process,
            Path(facts["folder"]),
            DatabaseAccess(
                "127.0.0.1", facts["port"], "postgres", facts["user"], facts["password"]
            ),
            Path(facts["programs"]),
        )
        yield stage
    finally:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        if stage is None or not stage.kept:
            # it stops PostgreSQL and removes the folder, also if we do not live to see it
            process.wait()
            if stage is not None:
                _remove(stage.folder)


def stop_kept(folder: Path | None) -> list[Path]:
    """End the demos that were left running: that in ``folder``, or all of this user's.

    Returns their folders. Raises ControlError if one does not end within half a minute.
    """
    if folder is not None:
        candidates = [folder.absolute()]
    else:
        found = Path(tempfile.gettempdir()).glob(f"{guardian.PREFIX}*")
        candidates = sorted(each for each in found if each.lstat().st_uid == os.geteuid())
    stopped = []
    for candidate in candidates:
        pid = _running(candidate / guardian.LOCK)
        if pid is None:
            continue
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while _running(candidate / guardian.LOCK) == pid:
            if time.monotonic() > deadline:
                raise ControlError(
                    f"the demo (pid {pid}) does not end", where=str(candidate),
                    remedy=f"kill -9 {pid}, then remove the folder",
                )  # fmt: skip
            time.sleep(0.05)
        stopped.append(candidate)
    return stopped


def _running(lock: Path) -> int | None:
    """The guardian's pid, if the file's lock is held."""
    try:
        with lock.open() as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                raise PermissionError  # its text is not to be believed
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass
    except PermissionError as error:
        raise ControlError(
            "the demo belongs to another user", where=str(lock.parent), remedy="stop it as that one"
        ) from error
    return None


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise TaskServerError(
            "the demo's background process ended unexpectedly"
            f" (exit code {process.wait()})", remedy="start the demo again",
        )  # fmt: skip
    facts: dict[str, Any] = json.loads(line)
    if "error" in facts:
        raise TaskServerError(facts["error"])
    return facts


def _remove(folder: Path) -> None:
    """What a killed guardian left; PostgreSQL is ending meanwhile and may still write."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
