"""Running the system's own programs: each is reported with its outcome; failing is an error."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.installer.host import Host

Report = Callable[[str], None]
"""Shows one line to the administrator."""

TIMEOUT = 300
"""Seconds a command may take, unless it waits for something that has a limit of its own."""

# A clean environment for programs of the system; messages in English, for the reports.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}


@dataclass(frozen=True)
class Outcome:
    """A command that was run: what it printed and how it ended."""

    argv: tuple[str, ...]
    status: int
    output: str

    def __str__(self) -> str:
        result = "ok" if self.status == 0 else f"failed with status {self.status}"
        return f"{shlex.join(self.argv)}: {result}"


def runs_outside(name: str) -> bool:
    """Whether our own system has this program, for work on an image."""
    return shutil.which(name) is not None


class Commands:
    """Runs the system's programs on the host, reporting each."""

    def __init__(self, host: Host, report: Report) -> None:
        self.host = host
        self.report = report

    def has(self, name: str) -> bool:
        """Whether the host has this program."""
        return self.host.program(name) is not None

    def run(self, *argv: str, may_fail: bool = False, patient: bool = False) -> Outcome:
        """Run one command on the host, below another root with chroot.

        ``patient``: it waits as long as running jobs may take (stop_timeout), which may be hours.
        Raises TaskServerError with the command's output if it fails, unless ``may_fail``.
        """
        outcome = self._outcome(argv, None if patient else TIMEOUT)
        self.report(str(outcome))
        if outcome.status != 0 and not may_fail:
            raise TaskServerError(
                f"{shlex.join(outcome.argv)} failed with status {outcome.status}:"
                f" {outcome.output.strip() or 'it said nothing'}",
                remedy="repair the cause and run this command again; nothing is done twice",
            )
        return outcome

    def ask(self, *argv: str) -> str:
        """What a command says that changes nothing; empty if it fails. It is not reported."""
        outcome = self._outcome(argv, TIMEOUT)
        return outcome.output if outcome.status == 0 else ""

    def _outcome(self, argv: Sequence[str], timeout: float | None) -> Outcome:
        full = tuple(argv)
        if self.host.root != Path("/"):
            if argv[0] == "systemctl" and runs_outside("systemctl"):
                full = ("systemctl", f"--root={self.host.root}", *argv[1:])
            else:
                full = ("chroot", str(self.host.root), *argv)
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin"
        try:
            done = subprocess.run(
                full,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**_ENVIRONMENT, "PATH": path},
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError:
            return Outcome(full, 127, f"{full[0]} is not installed")
        except subprocess.TimeoutExpired:
            return Outcome(full, 124, f"not finished after {timeout} s")
        return Outcome(full, done.returncode, done.stdout)
