"""From a wheel on Debian with systemd: install, run jobs, reboot, two tenants, uninstall."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kivitendo_fixture import DEFAULTS

from system.container import Container, Spec, tree
from system.inside import PACKAGES, Inside, until

# what changes by itself, or by the tests' own hands
NOT_OURS = ("/var/log", "/var/lib/postgresql", "/var/cache", "/var/tmp", "/var/lib/systemd",
            "/root", "/var/lib/logrotate", "/opt/tasks", "/usr/local", "/var/backups")  # fmt: skip


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def machine(request: pytest.FixtureRequest) -> Iterator[Container]:
    """A Debian with systemd and PostgreSQL."""
    with Container(tree(Spec(request.param, "systemd", PACKAGES))) as booted:
        yield booted


def test_refusals_leave_everything_as_it_was(machine: Container, wheel: Path) -> None:
    """One clear line each, and nothing half-written."""
    kivitendo = Inside(machine)
    program = kivitendo.install_wheel(wheel, "/opt/tasks")
    before = machine.files(*NOT_OURS)

    def refused(*words: str, code: int, user: str | None = None) -> str:
        done = machine.run(program, *words, check=False, user=user)
        assert done.returncode == code, done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert machine.files(*NOT_OURS) == before
        return done.stderr

    assert "no kivitendo directory found" in refused("install", code=5)
    assert "only root may install" in refused("install", code=4, user="www-data")
    assert "only root may uninstall" in refused("uninstall", code=4, user="www-data")
    assert "the service is not installed" in refused("tenant", "list", code=5)
    machine.write("/opt/kivitendo/config/kivitendo.conf.default", DEFAULTS)
    try:
        before = machine.files(*NOT_OURS)
        shown = machine.run(program, "install", "--dry-run", user="www-data").stdout
        assert "write     /etc/systemd/system/kivitendo-task-server@.service" in shown
        for folder in ("/etc", "/var/lib"):
            machine.run("mount", "--bind", folder, folder)
            machine.run("mount", "-o", "remount,bind,ro", folder)
            try:
                assert "the file system is read-only" in refused("install", code=1)
            finally:
                machine.run("umount", folder)
        machine.run("ln", "-s", "/dev/null", "/etc/systemd/system/kivitendo-task-server.service")
        before = machine.files(*NOT_OURS)
        assert "a symbolic link is in the way" in refused("install", code=1)
        machine.run("rm", "/etc/systemd/system/kivitendo-task-server.service")
    finally:
        machine.run("rm", "-r", "/opt/kivitendo")


def test_life_of_an_installation(machine: Container, wheel: Path) -> None:
    kivitendo = Inside(machine)
    kivitendo.create("Erste GmbH", "Zweite & Söhne")
    before = machine.files(*NOT_OURS)
    in_virtual_environment = "bookworm" in machine.base.name
    program = kivitendo.install_wheel(wheel, "/opt/tasks" if in_virtual_environment else None)

    # installed, but not started: "service" starts it
    output = machine.run(program, "install", "--no-start").stdout
    assert "systemctl enable kivitendo-task-server.service" in output
    assert kivitendo.pid() is None
    machine.run("service", "kivitendo-task-server", "start")
    assert kivitendo.pid()
    status = machine.run("systemctl", "status", "kivitendo-task-server@kivitendo.service").stdout
    assert "active (running)" in status
    assert re.search(r'Status: ".+"', status)
    assert machine.run("ps", "-o", "user=", "-p", str(kivitendo.pid())).stdout.strip() == "www-data"
    kivitendo.run_a_job("Erste GmbH")
    kivitendo.run_a_job("Zweite & Söhne")

    units_are_sound(machine)
    rotated = machine.run("logrotate", "--debug", "/etc/logrotate.d/kivitendo-task-server")
    assert "users/kivitendo-debug.log" in rotated.stderr
    assert "error" not in rotated.stderr
    installing_again_changes_nothing(kivitendo, program)
    a_crash_is_followed_by_a_start(kivitendo)

    machine.reboot()
    until(lambda: kivitendo.pid(), "started at boot")
    kivitendo.run_a_job("Erste GmbH")

    two_tenants(kivitendo, program)
    refused_removals_stop_nothing(kivitendo, program)
    a_link_of_the_services_user_is_refused(kivitendo, program)

    machine.run(program, "uninstall")
    assert kivitendo.pid() is None
    assert machine.run("service", "kivitendo-task-server", "start", check=False).returncode != 0
    left = {line.split()[0] for line in machine.files(*NOT_OURS) - before}
    assert left == {
        "/etc/kivitendo-task-server.conf",
        "/var/lib/kivitendo-task-server",
        "/var/lib/kivitendo-task-server/manifest",
        "/var/www/kivitendo-erp/config/erste.conf.removed",
        "/var/www/kivitendo-erp/config/zweite-soehne.conf",
    }
    # also when somebody has removed the units
    machine.run(program, "install", "--no-start")
    machine.shell("rm /etc/systemd/system/kivitendo-task-server*.service; systemctl daemon-reload")
    machine.run(program, "uninstall", "--purge")
    assert machine.files(*NOT_OURS) ^ before == set()
    failed = machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").stdout
    assert "kivitendo" not in failed


def units_are_sound(machine: Container) -> None:
    """systemd finds no fault in the units, and little to attack."""
    units = ["kivitendo-task-server.service", "kivitendo-task-server-wait.service",
             "kivitendo-task-server@kivitendo.service"]  # fmt: skip
    verified = machine.run("systemd-analyze", "verify", *units)
    assert "kivitendo-task-server" not in verified.stderr
    for unit in units:
        report = machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)
        assert found, report
        assert float(found[1]) <= 1.5, report


def installing_again_changes_nothing(kivitendo: Inside, program: str) -> None:
    pid, before = kivitendo.pid(), kivitendo.machine.files(*NOT_OURS)
    output = kivitendo.machine.run(program, "install").stdout
    assert not re.search(r"^(write|update|remove|put)", output, re.M), output
    assert kivitendo.pid() == pid
    assert kivitendo.machine.files(*NOT_OURS) == before


def a_crash_is_followed_by_a_start(kivitendo: Inside) -> None:
    """The delay (20 s on Debian 12) is systemd's affair; only that it ends matters here."""
    machine, old = kivitendo.machine, kivitendo.pid()
    machine.run("kill", "-KILL", str(old))
    until(lambda: kivitendo.pid() not in (None, old), "a new process after a crash")


def two_tenants(kivitendo: Inside, program: str) -> None:
    machine = kivitendo.machine
    refused = machine.run(program, "tenant", "add", "dritte", check=False)
    assert refused.returncode == 6
    assert "there is no client with the name or id 'dritte'" in refused.stderr
    assert "Erste GmbH (id 1), Zweite & Söhne (id 2)" in refused.stderr
    config = f"{kivitendo.directory}/config"
    assert machine.run("test", "-e", f"{config}/dritte.conf", check=False).returncode

    machine.run(program, "tenant", "add", "erste", "--client", "Erste GmbH")
    machine.run(program, "tenant", "scaffold")
    text = machine.run("cat", f"{config}/zweite-soehne.conf").stdout
    assert text.startswith("# ours\n[authentication/database]\n# our database\n")
    assert "client = Zweite & Söhne\n" in text
    mode = machine.run("stat", "-c", "%a %U %G", f"{config}/zweite-soehne.conf").stdout
    assert mode.strip() == "640 www-data www-data"

    # only the tenants' own instances, so that it is seen who runs what
    machine.run(program, "tenant", "remove", "kivitendo")
    assert kivitendo.pid() is None
    kivitendo.run_a_job("Erste GmbH", "erste")
    kivitendo.run_a_job("Zweite & Söhne", "zweite-soehne")

    machine.run("systemctl", "stop", "kivitendo-task-server@erste.service")
    listing = machine.run(program, "tenant", "list").stdout
    assert re.search(r"^erste +enabled +stopped +- +Erste GmbH \(id 1\)", listing, re.M), listing
    running = rf"^zweite-soehne +enabled +running +{kivitendo.pid('zweite-soehne')} "
    assert re.search(running, listing, re.M), listing
    kivitendo.run_a_job("Zweite & Söhne", "zweite-soehne")

    # the umbrella starts, reloads, restarts and stops all of them, and waits for the slow ones
    slow = "/etc/systemd/system/kivitendo-task-server@.service.d/slow.conf"
    machine.write(slow, "[Service]\nExecStopPost=/bin/sleep 2\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("service", "kivitendo-task-server", "start")
    pids = [kivitendo.pid("erste"), kivitendo.pid("zweite-soehne")]
    assert all(pids)
    machine.run("service", "kivitendo-task-server", "reload")
    assert [kivitendo.pid("erste"), kivitendo.pid("zweite-soehne")] == pids
    machine.run("service", "kivitendo-task-server", "restart")
    assert all(kivitendo.pid(name) not in (None, *pids) for name in ("erste", "zweite-soehne"))
    machine.run(program, "tenant", "remove", "erste")
    assert machine.run("test", "-e", f"{config}/erste.conf.removed").returncode == 0
    kivitendo.run_a_job("Zweite & Söhne", "zweite-soehne")
    stopping_waits(kivitendo, "zweite-soehne")
    broken_configuration_is_said(kivitendo, program)
    machine.run("rm", slow)
    machine.run("systemctl", "daemon-reload")


def refused_removals_stop_nothing(kivitendo: Inside, program: str) -> None:
    """What cannot be removed is found out while all still runs, and is enabled."""
    machine, pid = kivitendo.machine, kivitendo.pid("zweite-soehne")
    assert pid
    for folder in ("/etc", f"{kivitendo.directory}/config"):
        machine.run("mount", "--bind", folder, folder)
        machine.run("mount", "-o", "remount,bind,ro", folder)
        try:
            for words in (("uninstall", "--purge"), ("tenant", "remove", "zweite-soehne")):
                refused = machine.run(program, *words, check=False)
                assert refused.returncode == 1
                assert "the file system is read-only" in refused.stderr
                assert len(refused.stderr.splitlines()) == 1
        finally:
            machine.run("umount", folder)
    assert kivitendo.pid("zweite-soehne") == pid
    machine.run("systemctl", "is-enabled", "kivitendo-task-server@zweite-soehne")


def a_link_of_the_services_user_is_refused(kivitendo: Inside, program: str) -> None:
    """It owns kivitendo's directory, and would have root write or remove files elsewhere."""
    machine, directory = kivitendo.machine, kivitendo.directory
    config = f"{directory}/config"
    machine.run("chown", "www-data", directory)
    machine.shell(f"mv {config} {config}.real; ln -s /etc/victim {config}", user="www-data")
    machine.run("cp", "-a", f"{config}.real", "/etc/victim")
    victim = machine.run("ls", "-l", "/etc/victim").stdout
    for words in (("tenant", "add", "dritte", "--client", "1"),
                  ("tenant", "remove", "zweite-soehne"), ("uninstall", "--purge")):  # fmt: skip
        refused = machine.run(program, *words, check=False)
        assert refused.returncode == 1
        assert "may have been put there by somebody else" in refused.stderr
    assert machine.run("ls", "-l", "/etc/victim").stdout == victim
    machine.shell(f"rm -r {config} /etc/victim; mv {config}.real {config}; chown root {directory}")
    assert kivitendo.pid("zweite-soehne")


def stopping_waits(kivitendo: Inside, name: str) -> None:
    """When "stop" of all returns, the instance has ended, which takes it some time."""
    machine = kivitendo.machine
    assert kivitendo.pid(name)
    machine.run("service", "kivitendo-task-server", "stop")
    units = machine.run("systemctl", "list-units", "--all", "kivitendo-task-server@*").stdout
    assert re.search(rf"{name}.service +loaded +inactive +dead", units), units


def broken_configuration_is_said(kivitendo: Inside, program: str) -> None:
    """The start fails visibly, and is not tried again and again."""
    machine = kivitendo.machine
    file = f"{kivitendo.directory}/config/zweite-soehne.conf"
    machine.run("sed", "-i", "s/^password.*/password = wrong/", file)
    started = machine.run("service", "kivitendo-task-server", "start", check=False)
    assert started.returncode != 0
    journal = machine.run("journalctl", "-u", "kivitendo-task-server@*", "--no-pager").stdout
    assert "password authentication failed" in journal
    # the installer passes on what the service itself said
    installed = machine.run(program, "install", check=False)
    assert installed.returncode == 7
    assert "password authentication failed" in installed.stderr
    assert len(installed.stderr.splitlines()) == 1
    machine.run("sed", "-i", "s/^password.*/password = kivitendo/", file)
    # mended and started alone, it is still stopped with all others
    machine.run("systemctl", "start", "kivitendo-task-server@zweite-soehne.service")
    state = machine.run("systemctl", "is-active", "kivitendo-task-server", check=False).stdout
    assert state.strip() == "failed"
    stopping_waits(kivitendo, "zweite-soehne")
    machine.run("service", "kivitendo-task-server", "start")
    assert kivitendo.pid("zweite-soehne")
