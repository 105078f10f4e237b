"""The kill dialogue of stop (task-server.md, c.3) with a process that will not listen.

The real waiting times would take minutes, so they are shortened here; process, lock and signals
are real.
"""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from kivitendo_task_server.daemon import control
from kivitendo_task_server.daemon.report import Report
from kivitendo_task_server.errors import ControlError

STUBBORN = """
import signal, sys, time
from contextlib import closing
from pathlib import Path
from kivitendo_task_server.daemon.pidfile import PidFile, take_process_name
deaf_to = int(sys.argv[2])
def hear(number, frame):
    global deaf_to
    deaf_to -= 1
    if deaf_to < 0:
        sys.exit(0)
signal.signal(signal.SIGTERM, hear)
take_process_name()
with closing(PidFile.acquire(Path(sys.argv[1]))):
    print("ready", flush=True)
    while True:
        time.sleep(1)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.2)
    monkeypatch.setattr(control, "KILL_STEPS", (0.2, 20.0))
    monkeypatch.setattr(control, "NOTICE", 0.2)


@contextmanager
def stubborn(pid_file: Path, deaf_to: int) -> Iterator[subprocess.Popen[str]]:
    """A service that ignores so many times to be told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, str(pid_file), str(deaf_to)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stop(pid_file: Path, timeout: int = 0) -> list[str]:
    said: list[str] = []
    control.stop(pid_file, said.append, timeout)
    return [re.sub(r"\b\d+\b", "N", line) for line in said]


@pytest.mark.parametrize(
    ("deaf_to", "said"),
    [
        (0, ["Killing N"]),
        (
            1,
            ["Killing N", "Waiting for N to die...", "Killing N with -TERM...",
             "Process N is gone"],
        ),
        (
            99,
            ["Killing N", "Waiting for N to die...", "Killing N with -TERM...",
             "Killing N with -KILL...", "Process N is gone"],
        ),
    ],
)  # fmt: skip
def test_ever_more_strictly(tmp_path: Path, deaf_to: int, said: list[str]) -> None:
    pid_file = tmp_path / "x.pid"
    with stubborn(pid_file, deaf_to) as process:
        assert stop(pid_file) == said
        assert process.wait(20) == (-9 if deaf_to == 99 else 0)
    assert not pid_file.exists()


def test_giving_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that not even KILL ends (it hangs in the kernel) cannot be made here."""
    monkeypatch.setattr(control, "_send", lambda pid, number: True)
    monkeypatch.setattr(control, "KILL_STEPS", (0.2, 0.2))
    pid_file = tmp_path / "x.pid"
    with (
        stubborn(pid_file, 99) as process,
        pytest.raises(ControlError, match=f"Giving up on {process.pid} ever dying."),
    ):
        stop(pid_file)


def test_nothing_a_service_says_can_forge_a_line_of_status(tmp_path: Path) -> None:
    """Tenants' names and errors come from databases."""
    pid_file = tmp_path / "x.pid"
    with stubborn(pid_file, 0) as process:
        evil = "A\n\x1b[2Jkivitendo-background-jobs dead"
        report = Report(process.pid, "/", "", "", "1", text=evil, tenants={evil: evil})
        pid_file.with_suffix(".status").write_text(json.dumps(asdict(report)))
        lines = control.details(pid_file)
        assert len(lines) == 3
        assert all(line.isprintable() for line in lines)


def test_the_service_itself_says_how_patient_stop_must_be(tmp_path: Path) -> None:
    """Neither the configuration nor a database is asked (weakness 2)."""
    pid_file = tmp_path / "x.pid"
    with stubborn(pid_file, 1) as process:
        pid_file.with_suffix(".status").write_text(
            f'{{"pid": {process.pid}, "kivitendo_dir": "/", "found_by": "", "config_file": "",'
            ' "version": "1", "stop_timeout": 0, "of a later version": 1}'
        )
        assert "Killing N with -TERM..." in stop(pid_file, timeout=3600)


def test_a_number_that_somebody_else_wrote_is_not_signalled(tmp_path: Path) -> None:
    """The file belongs to the web server's user: root must not end any process it names."""
    pid_file = tmp_path / "config.kivitendo.conf.pid"
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        pid_file.write_text(f"{bystander.pid}\n")
        with pid_file.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(ControlError, match=f"not by process {bystander.pid}"):
                stop(pid_file)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
