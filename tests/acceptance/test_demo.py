"""``kivitendo-task-server demo`` as a user meets it, and as one who kills it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from memory import scratch
from processes import eventually, users_of

import kivitendo_task_server
from kivitendo_task_server.demo.scenario import COMPANIES

ROOT = Path(kivitendo_task_server.__file__).parents[1]
COMMAND = (sys.executable, "-P", "-m", "kivitendo_task_server", "demo")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The system's temporary folder, as the demo sees it; a failed test leaves nothing running."""
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
        for process in users_of(folder):
            process.kill()
        assert eventually(lambda: users_of(folder) == [])


@pytest.fixture
def environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False
    )


class RunningDemo:
    """A demo whose output can be waited for."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            COMMAND,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.output = ""

    def wait_for(self, text: str) -> None:
        """Read on until a line holds the text; it must come."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        pytest.fail(f"{text!r} never came:\n{self.output}{self.process.communicate()[1]}")

    def end(self) -> str:
        """Wait for the end; the last words on stderr."""
        rest, errors = self.process.communicate()
        self.output += rest
        return errors

    def service(self) -> psutil.Process:
        """The service process that the demo runs at the moment."""
        for child in psutil.Process(self.process.pid).children():
            if child.cmdline()[-2:] == ["-f", "start"]:
                return child
        raise LookupError("no service")


def left_over(temporary: Path) -> list[object]:
    return [*users_of(temporary), *temporary.iterdir()]


def section(output: str, headline: str) -> list[str]:
    """The table below a headline, without its heading."""
    body = output.split(f"\n{headline}\n", 1)[1].split("\n\n", 1)[0]
    return body.splitlines()[3:]


def test_shows_what_the_service_did(environment: dict[str, str], temporary: Path) -> None:
    done = run(environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for company in COMPANIES:
        *lines, totals = section(done.stdout, f"Invoices of {company.name}")
        numbers = [int(line.split()[0].rpartition("-")[2]) for line in lines]
        last_used = int(company.numbers.rpartition("-")[2])
        assert numbers == list(range(last_used + 1, last_used + 1 + len(lines)))
        assert totals.startswith(f"{len(lines)} invoices")
        assert f"postings balance on {len(lines)} of {len(lines)}" in totals
        billed = {re.search(r"AB-\d+", line)[0] for line in lines}  # type: ignore[index]
        for number, order in enumerate(company.orders, start=1001):
            due = order.active and order.start <= 0 and order.lines[0].part != "X100"
            assert (f"AB-{number}" in billed) == due
        assert f"{company.name}: {len(lines)} invoices before, {len(lines)} now, 0 new" in (
            done.stdout
        )
    failures = section(done.stdout, "Orders that failed; the others were not held up")
    assert failures[0].startswith("Muster GmbH") and "AB-1015" in failures[0]
    # the one failure, folded, and nothing of what was done beside it
    assert all(line.startswith(" ") for line in failures[1:])
    history = "\n".join(section(done.stdout, "Job history"))
    assert "failure   1 failed, 31 invoices posted" in history
    assert history.count("CreatePeriodicInvoices") == 2
    assert history.count("Probelauf in Ordnung") == 2
    second = section(done.stdout, "The second call")
    assert [line.rpartition("  ")[2] for line in second] == [
        "1 failed, 1 skipped",
        "nothing was due",
    ]
    assert left_over(temporary) == []


@pytest.mark.parametrize("moment", ["starting a PostgreSQL", "starting the service", "Invoices of"])
def test_interrupted_by_the_keyboard(
    environment: dict[str, str], temporary: Path, moment: str
) -> None:
    demo = RunningDemo(environment)
    demo.wait_for(moment)
    os.killpg(demo.process.pid, signal.SIGINT)  # as a terminal does: to all in the foreground
    assert demo.end() == "kivitendo-task-server: interrupted\n"
    assert demo.process.returncode == 130
    assert left_over(temporary) == []


def test_killed(environment: dict[str, str], temporary: Path) -> None:
    demo = RunningDemo(environment)
    demo.wait_for("starting the service")
    demo.process.kill()
    demo.end()
    assert eventually(lambda: left_over(temporary) == [])


def test_service_is_killed(environment: dict[str, str], temporary: Path) -> None:
    """The demo starts it again; nothing is billed twice, nothing by half."""
    demo = RunningDemo(environment)
    demo.wait_for("starting the service")
    assert eventually(lambda: bool(psutil.Process(demo.process.pid).children()))
    assert eventually(lambda: _has_service(demo))
    demo.service().kill()
    errors = demo.end()
    assert demo.process.returncode == 0, errors
    assert "the service was killed; starting it again" in demo.output
    assert demo.output.count(" 0 new") == len(COMPANIES)
    assert left_over(temporary) == []


def _has_service(demo: RunningDemo) -> bool:
    try:
        demo.service()
    except (LookupError, psutil.NoSuchProcess):
        return False
    return True


def test_postgresql_is_killed(environment: dict[str, str], temporary: Path) -> None:
    demo = RunningDemo(environment)
    demo.wait_for("starting the service")
    for process in users_of(temporary):
        with suppress(psutil.NoSuchProcess):  # the first one takes the others with it
            if process.name() == "postgres":
                process.kill()
    errors = demo.end()
    # libpq may add a line of its own before ours
    assert errors.splitlines()[-1].startswith("kivitendo-task-server: ")
    assert "internal error" not in errors and "Traceback" not in errors
    assert demo.process.returncode == 1
    assert left_over(temporary) == []


def test_kept_for_a_look_around(environment: dict[str, str], temporary: Path) -> None:
    done = run(environment, "--keep")
    assert done.returncode == 0, done.stderr
    _, look_around = done.stdout.split("everything keeps running\n")
    hints = [line.strip() for line in look_around.splitlines() if line.startswith("    ")]
    connect, status, stop = hints
    try:
        psql = subprocess.run(
            ["/bin/sh", "-c", f'{connect} -Atc "$0"', "SELECT count(*) FROM ar"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert psql.stdout.strip().isdigit(), psql.stderr
        assert int(psql.stdout) > 20
        state = run_hint(environment, status)
        assert state.returncode == 0 and "running" in state.stdout, state.stderr
    finally:
        stopped = run_hint(environment, stop)
    assert stopped.returncode == 0 and "is removed" in stopped.stdout
    assert left_over(temporary) == []
    assert run(environment, "--stop").stdout == "no demo is running\n"


def run_hint(environment: dict[str, str], hint: str) -> subprocess.CompletedProcess[str]:
    """Run a line "kivitendo-task-server ..." with the command under test."""
    return subprocess.run(
        [*COMMAND[:-1], *shlex.split(hint)[1:]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--folder", "{full}"), 1, "the folder is not empty"),
        (("--folder", "{full}/file/x"), 1, "Not a directory"),
        (("--keep", "--stop"), 2, "not allowed with argument"),
        (("--port", "1"), 2, "unrecognized arguments"),
    ],
)
def test_errors_are_one_line(
    environment: dict[str, str],
    temporary: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    full = temporary / "full"
    full.mkdir()
    (full / "file").touch()
    done = run(environment, *(each.format(full=full) for each in arguments))
    assert done.returncode == code
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert (full / "file").exists()
