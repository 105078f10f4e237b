"""The real service in the foreground, its log in a file, and what tests do to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kivitendo_fixture import CHECKOUT, KivitendoDir, alive, until

ADD_ON = Path(__file__).parent / "addon"


@dataclass
class RealService:
    """A running service."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        """All it has logged."""
        return self.log_file.read_text()

    def lines(self, action: str) -> list[str]:
        """Its log lines with that action."""
        return [
            line
            for line in self.log.splitlines()
            if re.search(rf"\baction={re.escape(action)}\b", line)
        ]

    def children(self) -> list[int]:
        """Process ids of the spawner and the workers."""
        return _descendants(self.process.pid)

    def wake_up(self) -> None:
        """As kivitendo's web interface does."""
        self.process.send_signal(signal.SIGALRM)

    def stop(self, *, timeout: float = 60) -> int:
        """Ask it to end, and wait; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout)

    def kill(self) -> None:
        """kill -9; then wait until its children are gone as well."""
        children = self.children()
        self.process.kill()
        self.process.wait()
        until(lambda: not any(alive(pid) for pid in children))


@contextmanager
def real_service(
    installation: KivitendoDir, *words: str, config: str = "config/kivitendo.conf"
) -> Iterator[RealService]:
    """Start it, wait until it is up, and see to it that nothing of it is left."""
    log_file = installation.path / f"{Path(config).stem}.stderr"
    with log_file.open("ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            [*installation.command, "-f", "-c", config, *words, "start"],
            cwd=CHECKOUT,
            env=environment(installation),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    service = RealService(process, log_file)
    try:
        until(lambda: "up and running" in service.log[begin:] or process.poll() is not None)
        assert process.poll() is None, service.log
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            service.kill()


def environment(installation: KivitendoDir) -> dict[str, str]:
    """With the jobs of tests/addon installed."""
    own = installation.environment()
    return {**own, "PYTHONPATH": f"{ADD_ON}{os.pathsep}{own['PYTHONPATH']}"}


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            except OSError:
                continue
            children.setdefault(int(parent), []).append(int(entry.name))
    found, queue = [], list(children.get(pid, []))
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found
