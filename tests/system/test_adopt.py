"""Taking over from a Perl task server on a booted system, and giving it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from system.container import Container, Spec, tree
from system.inside import PACKAGES, Inside, until
from system.perl_server import SCRIPT, SCRIPT_TEXT, UNIT, UNIT_TEXT


@pytest.fixture(scope="module")
def kivitendo(wheel: Path) -> Iterator[Inside]:
    """A kivitendo whose Perl task server runs under systemd; ours is a program only."""
    with Container(tree(Spec("bookworm", "systemd", PACKAGES))) as machine:
        inside = Inside(machine)
        inside.create("Erste GmbH")
        machine.write(SCRIPT, SCRIPT_TEXT, mode=0o755)
        machine.write(UNIT, UNIT_TEXT)
        machine.run("systemctl", "enable", "--now", "kivitendo-task-server.service")
        until(inside.pid, "the Perl task server runs")
        assert inside.install_wheel(wheel) == "/usr/local/bin/kivitendo-task-server"
        yield inside


def command_of(kivitendo: Inside) -> str:
    """What runs under the PID that kivitendo's web interface reads."""
    return kivitendo.machine.run("ps", "-o", "args=", "-p", str(kivitendo.pid())).stdout


def test_adopt_and_undo(kivitendo: Inside) -> None:
    machine = kivitendo.machine
    assert "perl" in command_of(kivitendo)
    perl = kivitendo.pid()

    # a plain installation would be in each other's way
    refused = machine.run("kivitendo-task-server", "install", check=False)
    assert refused.returncode != 0
    assert "kivitendo-task-server adopt takes over from it" in refused.stderr
    assert machine.run("cat", UNIT).stdout == UNIT_TEXT
    assert kivitendo.pid() == perl

    machine.run("kivitendo-task-server", "adopt")
    assert "kivitendo-task-server --kivitendo-dir" in command_of(kivitendo)
    assert machine.run("test", "-d", f"/proc/{perl}", check=False).returncode
    kivitendo.run_a_job("Erste GmbH")

    the_web_interfaces_buttons(kivitendo)

    machine.reboot()
    until(kivitendo.pid, "started at boot")
    assert "kivitendo-task-server --kivitendo-dir" in command_of(kivitendo)
    the_web_interfaces_buttons(kivitendo)

    machine.run("kivitendo-task-server", "adopt", "--undo")
    assert kivitendo.pid() is None
    assert machine.run("cat", SCRIPT).stdout == SCRIPT_TEXT
    assert machine.run("cat", UNIT).stdout == UNIT_TEXT
    assert machine.run("test", "-e", "/run/kivitendo-task-server", check=False).returncode
    machine.reboot()
    until(kivitendo.pid, "the Perl task server is started at boot again")
    assert "perl" in command_of(kivitendo)


def test_a_unit_with_a_name_of_its_own(kivitendo: Inside) -> None:
    """As above, but nothing tells the unit but the script that it starts."""
    machine, named = kivitendo.machine, "/etc/systemd/system/kivi-jobs.service"
    machine.run("systemctl", "disable", "--now", "kivitendo-task-server.service")
    machine.run("mv", UNIT, named)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--now", "kivi-jobs.service")
    until(kivitendo.pid, "the Perl task server runs")

    machine.run("kivitendo-task-server", "adopt")
    machine.reboot()
    until(kivitendo.pid, "started at boot")
    assert "kivitendo-task-server --kivitendo-dir" in command_of(kivitendo)
    kivitendo.run_a_job("Erste GmbH")

    machine.run("kivitendo-task-server", "adopt", "--undo")
    assert machine.run("cat", named).stdout == UNIT_TEXT
    machine.reboot()
    until(kivitendo.pid, "the Perl task server is started at boot again")
    assert "perl" in command_of(kivitendo)


def the_web_interfaces_buttons(kivitendo: Inside) -> None:
    """ "stop" and "start", by the web server's user, as kivitendo calls them (c.9)."""
    machine = kivitendo.machine
    shell = ("sh", "-c")
    machine.run(*shell, f"{SCRIPT} stop", user="www-data")
    assert kivitendo.pid() is None
    state = machine.run("systemctl", "is-active", "kivitendo-task-server@kivitendo", check=False)
    assert state.stdout.strip() == "inactive"
    started = machine.run(*shell, f"{SCRIPT} start", user="www-data")
    assert f"running - pid {kivitendo.pid()}" in started.stdout
    # not in the web server's control group, with which it would end
    unit = machine.run("ps", "-o", "unit=", "-p", str(kivitendo.pid())).stdout.strip()
    assert unit == "kivitendo-task-server@kivitendo.service"
    # somebody else may not
    machine.run(*shell, f"{SCRIPT} stop", user="www-data")
    refused = machine.run(*shell, f"{SCRIPT} start", user="postgres", check=False)
    assert refused.returncode == 4
    assert "only root and the user www-data may start" in refused.stderr
    machine.run(SCRIPT, "start")  # as root
    kivitendo.run_a_job("Erste GmbH")
