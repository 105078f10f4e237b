"""The .deb from our own apt repository, on booted Debian systems."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from kivitendo_fixture import DEFAULTS

from system.apt import (
    FIND_OURS,
    NAME,
    OLDER,
    OTHER,
    QUIET,
    REPOSITORY,
    SETTINGS,
    Packages,
    add_repository,
    apt,
    base_of,
    booted,
    clean,
    failing_package,
    invoices,
    make_folder,
    make_site,
    pid,
    query,
    running,
    version,
)  # fmt: skip
from system.container import Container
from system.inside import CHECKOUT, DIRECTORY, Inside, until
from system.perl_server import SCRIPT, SCRIPT_TEXT, UNIT, UNIT_TEXT

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("debian")]

# what changes by itself
NOT_OURS = (
    "/root", "/srv", "/var/cache", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/logrotate",
    "/var/lib/postgresql", "/var/lib/systemd", "/var/lib/ucf", "/var/log", "/var/tmp",
)  # fmt: skip
SYSTEMS = [("bookworm", "systemd"), ("bookworm", "sysvinit"), ("trixie", "systemd")]
# A job that lasts until it is told to end.
LONG_JOB = """\
import time
from pathlib import Path

from kivitendo_task_server.jobs.interface import Job, JobResult

class Long(Job):
    name = "Long"

    def run(self, context):
        Path(context.options["began"]).touch()
        while not Path(context.options["end"]).exists():
            time.sleep(0.1)
        return JobResult("not interrupted")
"""

INSTANCE_UNIT = f"/etc/systemd/system/{NAME}@.service"
UCF = "/var/lib/ucf/hashfile"
ENTER_TEST_JOB = (
    "INSERT INTO background_jobs (type, package_name, active) VALUES ('once', 'Test', true)"
)
ALL_TESTS_RAN = (
    "SELECT bool_and(last_run_at IS NOT NULL) FROM background_jobs WHERE package_name = 'Test'"
)
ENTER_LONG_JOB = (
    "INSERT INTO background_jobs (type, package_name, active, data) VALUES ('once', 'Long', true,"
)


def on(*systems: tuple[str, str]) -> pytest.MarkDecorator:
    """Which systems a test's machine is, one after the other."""
    return pytest.mark.parametrize("booted_one", systems, indirect=True, ids="-".join)


@pytest.fixture(scope="module")
def booted_one(request: pytest.FixtureRequest, packages: Packages) -> Iterator[Container]:
    """A Debian that has our repository as its only source."""
    with booted(packages, *request.param) as machine:
        yield machine


@pytest.fixture
def machine(booted_one: Container) -> Iterator[Container]:
    """That, without a kivitendo before and after the test."""
    yield booted_one
    clean(booted_one)


@on(*SYSTEMS)
def test_life_of_the_package(machine: Container) -> None:
    # without any kivitendo the package is installed, with all it needs, and says what to do
    assert machine.run("python3", "-c", "import psycopg2", check=False).returncode
    said = apt(machine, "install", NAME)
    assert "the service is not part of the boot process yet" in said
    assert f"{NAME} install" in said
    for package in ("python3-croniter", "python3-pyinotify", "python3-psycopg2"):
        assert f"Setting up {package} " in said
    apt(machine, "purge", NAME)  # with its dependencies still there, for the comparison
    before = machine.files(*NOT_OURS)
    apt(machine, "install", NAME)

    make_site(machine)
    site = machine.files(*NOT_OURS)
    apt(machine, "purge", NAME)
    said = apt(machine, "install", NAME)
    assert f"kivitendo     {DIRECTORY} (holds kivitendo's own files" in said  # without a question
    until(lambda: invoices(machine) >= 31, "the orders that are due are billed")
    assert running(machine)
    assert machine.run("service", NAME, "status").returncode == 0
    machine.run("service", NAME, "stop")
    assert not running(machine)
    assert machine.run("service", NAME, "status", check=False).returncode != 0
    machine.run("service", NAME, "start")
    assert running(machine)

    machine.reboot()
    until(lambda: running(machine), "started at boot")
    query(machine, ENTER_TEST_JOB)
    machine.run("sh", "-c", f"kill -ALRM $(cat {DIRECTORY}/users/pid/*.pid)")
    until(lambda: query(machine, ALL_TESTS_RAN) == "t", "a job runs after the reboot")

    # what the administrator wrote stays when the package is removed, and goes when it is purged
    machine.shell(f"echo '# mine' >>{SETTINGS}")
    apt(machine, "remove", NAME)
    assert "# mine" in machine.run("cat", SETTINGS).stdout
    until(lambda: not machine.run("pgrep", "-f", "kivitendo_task_server|kivitendo-task-server",
                                  check=False).stdout, "nothing of ours runs")  # fmt: skip

    # found without a question, started by itself
    apt(machine, "install", NAME)
    until(lambda: running(machine), "running after installing again")
    assert SETTINGS in machine.run("cat", UCF).stdout
    assert "# mine" in machine.run("cat", SETTINGS).stdout

    apt(machine, "purge", NAME)
    left = {line for line in machine.files(*NOT_OURS) - before if DIRECTORY not in line}
    assert SETTINGS not in machine.run("cat", UCF).stdout
    assert machine.run(*FIND_OURS).stdout == ""
    assert left == {"/var/www"}  # the test's own kivitendo is in it
    assert before - machine.files(*NOT_OURS) == set()
    ours = {line for line in machine.files(*NOT_OURS) - site if DIRECTORY in line}
    assert {line.split()[0] for line in ours} <= {
        f"{DIRECTORY}/users/pid", f"{DIRECTORY}/users/kivitendo-debug.log",
    }  # fmt: skip


@on(*SYSTEMS)
def test_upgrade_finishes_a_running_job(machine: Container, packages: Packages) -> None:
    """From an older version, with edited settings; and back to it."""
    apt(machine, "install", f"{NAME}={OLDER}")
    machine.write("/usr/lib/python3/dist-packages/long_job.py", LONG_JOB)
    for file, text in (
        ("METADATA", "Metadata-Version: 2.1\nName: long-job\nVersion: 1\n"),
        ("entry_points.txt", "[kivitendo_task_server.jobs]\nLong = long_job:Long\n"),
    ):
        machine.write(f"/usr/lib/python3/dist-packages/long_job-1.dist-info/{file}", text)
    make_site(machine)
    users = f"{DIRECTORY}/users"
    options = f"began: {users}/began\nend: {users}/end\n"
    query(machine, ENTER_LONG_JOB + f" '{options}')")
    machine.run(NAME, "install")
    until(lambda: machine.run("test", "-e", f"{users}/began", check=False).returncode == 0,
          "the long job runs")  # fmt: skip
    machine.shell(f"echo '# mine' >>{SETTINGS}")

    upgrade = subprocess.Popen(
        machine.command("apt-get", "-q", "-y", "upgrade", environment=QUIET),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until(lambda: not machine.run("pgrep", "-f", f"{NAME}.prerm", check=False).returncode,
          "the upgrade stops the service")  # fmt: skip
    machine.run("touch", f"{users}/end", user="www-data")
    said, _ = upgrade.communicate(timeout=120)
    assert upgrade.returncode == 0, said
    assert version(machine) == f"ii  {packages.version}"
    history = "SELECT status, result FROM background_job_histories WHERE package_name = 'Long'"
    assert query(machine, history) == "success|not interrupted"
    until(lambda: running(machine), "the new version runs")
    assert "# mine" in machine.run("cat", SETTINGS).stdout
    if machine.init == "systemd":
        assert "# older" not in machine.run("cat", INSTANCE_UNIT).stdout

    # a downgrade works; what does not run is not started by it, what runs is started again
    machine.run(NAME, "tenant", "add", "zweite", "--client", "Beispiel & Söhne KG")
    until(lambda: running(machine, "zweite"), "the second instance runs")
    second = pid(machine, "zweite")
    if machine.init == "systemd":
        machine.run("systemctl", "stop", f"{NAME}@kivitendo.service")
    else:
        machine.run("service", NAME, "stop", "kivitendo")
    apt(machine, "install", "--allow-downgrades", f"{NAME}={OLDER}")
    assert version(machine) == f"ii  {OLDER}"
    assert not running(machine)
    assert running(machine, "zweite")
    assert pid(machine, "zweite") != second
    if machine.init == "systemd":
        assert "# older" in machine.run("cat", INSTANCE_UNIT).stdout
    machine.run("service", NAME, "start")
    assert running(machine)
    machine.run(NAME, "check-config")


@on(SYSTEMS[0])
def test_two_kivitendo_directories(machine: Container) -> None:
    """No guess between two: the question's answer decides, also about what was answered before."""
    for place in (DIRECTORY, OTHER):
        make_folder(machine, place)
    said = apt(machine, "install", NAME)
    assert DIRECTORY in said and OTHER in said
    assert "the service is not part of the boot process yet" in said

    asked = reconfigure(machine, OTHER, "")
    assert "Verzeichnis von kivitendo:" in asked.stdout
    assert "Systembenutzer des Task-Servers:" in asked.stdout
    assert remembered(machine) == {"kivitendo_dir": OTHER, "run_as": "www-data"}
    # there is no configuration that could be used: not started, and said so
    assert "not started: there is no valid configuration yet" in asked.stderr
    assert not running(machine)

    reconfigure(machine, DIRECTORY, "backup")
    assert remembered(machine) == {"kivitendo_dir": DIRECTORY, "run_as": "backup"}


def reconfigure(machine: Container, *answers: str) -> subprocess.CompletedProcess[str]:
    """The questions, put to somebody who reads German."""
    return machine.run(
        "dpkg-reconfigure", "--priority=low", "--frontend=teletype", NAME,
        input="".join(f"{answer}\n" for answer in answers), environment={"LANGUAGE": "de.UTF-8"},
    )  # fmt: skip


def remembered(machine: Container) -> dict[str, str]:
    """The settings that the questions are about."""
    text = machine.run("cat", SETTINGS).stdout
    return dict(re.findall(r"^(kivitendo_dir|run_as) *= *(\S+)$", text, re.M))


@on(SYSTEMS[0])
def test_answers_given_beforehand(machine: Container) -> None:
    """Preseeded answers count, and no question is asked, whatever the priority."""
    for place in (DIRECTORY, OTHER):
        make_folder(machine, place)
    machine.run("debconf-set-selections", input=(
        f"{NAME} {NAME}/directory string {OTHER}\n{NAME} {NAME}/user string backup\n"
    ))  # fmt: skip
    apt(machine, "install", NAME, environment={"DEBIAN_PRIORITY": "low"})
    assert remembered(machine) == {"kivitendo_dir": OTHER, "run_as": "backup"}


@on(*SYSTEMS[:2])
def test_an_upgrade_or_a_removal_that_fails(machine: Container, packages: Packages) -> None:
    """The version that stays is running again, and part of the boot process."""
    apt(machine, "install", NAME)
    make_site(machine)
    machine.run(NAME, "install")
    other = ("Conflicts", "Replaces", "Provides")
    for package in (
        failing_package(machine, NAME),
        failing_package(machine, "other-task-server", *(f"{field}: {NAME}" for field in other)),
    ):
        before = pid(machine)
        done = machine.run("dpkg", "-i", package, environment=QUIET, check=False)
        assert done.returncode, done.stdout + done.stderr
        assert version(machine) == f"ii  {packages.version}"
        assert running(machine), done.stdout + done.stderr
        assert pid(machine) != before
    machine.shell(f"ls /etc/*.wants/{NAME}.service /etc/systemd/system/*.wants/{NAME}.service"
                  f" /etc/rc2.d/S??{NAME} 2>/dev/null | grep .")  # fmt: skip


@on(SYSTEMS[0])
def test_what_the_administrator_decided_survives_upgrades(machine: Container) -> None:
    apt(machine, "install", NAME)
    make_site(machine)
    machine.run(NAME, "install")
    units = (f"{NAME}.service", f"{NAME}@kivitendo.service")
    # disabled before the package's scripts have ever seen it enabled
    machine.run("systemctl", "disable", "--now", *units)
    apt(machine, "install", "--reinstall", NAME)
    assert not running(machine)
    assert enabled(machine, *units) == ["disabled", "disabled"]

    # started all the same, so it is started again; with an edited unit, and settings as one may
    # write them
    machine.shell(f"sed -i 's/^RestartSec=.*/RestartSec=77/' {INSTANCE_UNIT}")
    machine.shell(f"""sed -i -r 's/^(kivitendo_dir|run_as) = (.*)$/\\1="\\2" /' {SETTINGS}""")
    settings = machine.run("cat", SETTINGS).stdout
    assert f'kivitendo_dir="{DIRECTORY}" \n' in settings
    machine.run("systemctl", "start", units[1])
    before = pid(machine)
    said = apt(machine, "install", "--reinstall", NAME)
    assert "RestartSec=77" in machine.run("cat", INSTANCE_UNIT).stdout
    assert machine.run("cat", SETTINGS).stdout == settings
    assert running(machine), said
    assert pid(machine) != before
    assert enabled(machine, *units) == ["disabled", "disabled"]

    # settings that cannot be used are no reason to leave it stopped: its unit is as it was
    machine.shell(f"sed -i 's/^run_as.*/run_as = root/' {SETTINGS}")
    before = pid(machine)
    said = apt(machine, "install", "--reinstall", NAME)
    assert "the boot files are still those of before" in said
    assert running(machine), said
    assert pid(machine) != before


def enabled(machine: Container, *units: str) -> list[str]:
    """What systemd says of units: enabled, disabled."""
    return machine.run("systemctl", "is-enabled", *units, check=False).stdout.split()


@on(SYSTEMS[0])
def test_purging_follows_no_link_of_others(machine: Container) -> None:
    """A tenant's configuration lies in a directory in which kivitendo's user can make links."""
    apt(machine, "install", NAME)
    make_site(machine)
    machine.run(NAME, "install", "--no-start")
    machine.run(NAME, "tenant", "add", "zweite", "--client", "Beispiel & Söhne KG")
    machine.write("/srv/precious/zweite.conf", "precious")
    machine.shell(f"mv {DIRECTORY}/config {DIRECTORY}/mine")
    machine.run("ln", "-s", "/srv/precious", f"{DIRECTORY}/config")
    machine.run("chown", "-h", "www-data", f"{DIRECTORY}/config")
    said = apt(machine, "purge", NAME)
    assert f"somebody else has made the link {DIRECTORY}/config" in said
    assert machine.run("cat", "/srv/precious/zweite.conf").stdout == "precious"
    assert machine.run(*FIND_OURS).stdout == ""


def test_in_a_chroot(packages: Packages) -> None:
    """No init runs, and the policy forbids to start anything: it is registered all the same."""
    base = base_of("bookworm", "systemd")
    machine = Container(base)
    machine.mount()
    try:
        add_repository(machine.root, packages.repository(base))
        policy = machine.root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        config = machine.root / DIRECTORY.lstrip("/") / "config"
        config.mkdir(parents=True)
        (config / "kivitendo.conf.default").write_text(DEFAULTS)
        (config / "kivitendo.conf").write_text("[authentication/database]\nuser = kivitendo\n")
        machine.chroot("apt-get", "-q", "update")
        install = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y",
                   "--no-install-recommends")  # fmt: skip
        done = machine.chroot(*install, "install", NAME)
        wants = machine.root / "etc/systemd/system/multi-user.target.wants"
        assert (wants / f"{NAME}.service").is_symlink(), done.stdout + done.stderr
        assert "did not start" not in done.stderr
        machine.chroot(*install, "install", "--reinstall", NAME)
        machine.chroot(*install, "purge", NAME)
        shutil.rmtree(config.parent)
        assert machine.chroot(*FIND_OURS).stdout == ""
    finally:
        machine.unmount()


@on(SYSTEMS[0])
def test_autopkgtest(machine: Container, packages: Packages) -> None:
    """debian/tests pass on the installed package, in the container itself."""
    apt(machine, "install", "autopkgtest")
    machine.run("mkdir", "/srv/tree")
    subprocess.run(["cp", "-r", CHECKOUT / "debian", f"{machine.root}/srv/tree"], check=True)
    machine.run("touch", "/srv/tree/debian/files")  # marks a tree that needs no building
    done = machine.run("autopkgtest", f"{REPOSITORY}/{packages.deb.name}", "/srv/tree",
                       "--", "null", check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "bills-an-order       PASS" in done.stdout + done.stderr


@on(SYSTEMS[0])
@pytest.mark.parametrize("registered", [False, True], ids=["by-hand", "at-boot"])
def test_a_perl_task_server_runs(machine: Container, registered: bool) -> None:
    """It goes on, the package is installed and says how to take over; that works, and back."""
    kivitendo = Inside(machine)
    kivitendo.create("Erste GmbH")
    machine.write(SCRIPT, SCRIPT_TEXT, mode=0o755)
    if registered:
        machine.write(UNIT, UNIT_TEXT)
        machine.run("systemctl", "enable", "--now", f"{NAME}.service")
    else:
        machine.run(SCRIPT, "start", user="www-data")
    until(kivitendo.pid, "the Perl server runs")
    perl = kivitendo.pid()

    said = apt(machine, "install", NAME)
    assert f"{NAME} adopt" in said
    assert version(machine).startswith("ii ")
    assert kivitendo.pid() == perl
    assert "perl" in machine.run("ps", "-o", "args=", "-p", str(perl)).stdout

    machine.run(NAME, "adopt")
    assert machine.run("test", "-d", f"/proc/{perl}", check=False).returncode
    kivitendo.run_a_job("Erste GmbH")
    apt(machine, "install", "--reinstall", NAME)
    assert running(machine)

    apt(machine, "purge", NAME)
    assert machine.run("cat", SCRIPT).stdout == SCRIPT_TEXT
    if registered:
        assert machine.run("cat", UNIT).stdout == UNIT_TEXT
