"""Registering and starting with the programs of other init systems, which keep books here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kivitendo_task_server.errors import ControlError
from kivitendo_task_server.installer import host as hosts
from kivitendo_task_server.installer import registration
from kivitendo_task_server.installer.commands import Commands

from .conftest import FakeSystem

Make = Callable[..., FakeSystem]

# As upstart's: what is done already, or unknown, is an error. Called by chroot.
INITCTL = """\
#!/bin/sh
shift 2
verb=$1
shift
state="{state}/$*"
case $verb in
status)
    if [ -e "$state" ]; then
        echo "$* start/running, process 1"
    elif [ $# -gt 1 ]; then
        echo "initctl: Unknown instance: $2" >&2; exit 1
    else
        echo "$* stop/waiting"
    fi ;;
start)
    [ ! -e "$state" ] || {{ echo "initctl: Job is already running: $*" >&2; exit 1; }}
    [ "$*" != "kivitendo-task-server-instance CONFIG=broken" ] ||
        {{ echo "initctl: Job failed to start" >&2; exit 1; }}
    touch "$state" ;;
stop)
    [ -e "$state" ] || {{ echo "initctl: Unknown instance: $*" >&2; exit 1; }}
    rm "$state" ;;
*) echo "initctl: Invalid command: $verb" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def upstart(system: Make, tmp_path: Path) -> Commands:
    """An Ubuntu that runs upstart."""
    fake = system("ubuntu", init="upstart")
    fake.file("/proc/1/comm", "init\n")
    (tmp_path / "state").mkdir()
    stand_in = tmp_path / "stand-ins/chroot"
    stand_in.write_text(INITCTL.format(state=tmp_path / "state"))
    host = hosts.detect(fake.root, live=True)
    assert host.init_runs
    return Commands(host, print)


def running(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "state").iterdir())


def test_upstart_does_nothing_twice(upstart: Commands, tmp_path: Path) -> None:
    """Installing again, uninstalling what was stopped: no error, as with the other systems."""
    job = "kivitendo-task-server"
    registration.restart(upstart)
    registration.start(upstart)
    assert running(tmp_path) == [job]
    registration.restart(upstart)
    assert running(tmp_path) == [job]
    for action, expected in (
        ("start", [job, f"{job}-instance CONFIG=eins"]), ("stop", [job]),
    ):  # fmt: skip
        for _ in range(2):
            registration.control_instance(
                upstart, action, "eins", program="/usr/bin/x", directory="/srv/kivitendo"
            )
            assert running(tmp_path) == expected
    for _ in range(2):
        registration.stop(upstart)
        assert running(tmp_path) == []


def test_what_upstart_says_of_a_failure_is_passed_on(upstart: Commands) -> None:
    with pytest.raises(ControlError, match="Job failed to start"):
        registration.control_instance(
            upstart, "start", "broken", program="/usr/bin/x", directory="/srv/kivitendo"
        )
