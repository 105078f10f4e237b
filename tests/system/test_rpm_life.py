"""The life of the RPM on booted systems: with systemd, and with Red Hat's boot scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from system.container import Container, tree
from system.inside import CHECKOUT, until
from system.rpm import FEDORA, NAME, dnf, make_fedora, put

KIVITENDO = "/var/www/kivitendo-erp"
PID_FILE = f"{KIVITENDO}/users/pid/config.kivitendo.conf.pid"
SETTINGS = f"/etc/{NAME}.conf"
SCRIPT = f"/etc/init.d/{NAME}"
UMBRELLA = f"{NAME}.service"
INSTANCE = f"{NAME}@kivitendo.service"

# A job that is in the middle of its work for as long as the test wants.
BEGUN, GO_ON = f"{KIVITENDO}/users/begun", f"{KIVITENDO}/users/go-on"
PATIENT_JOB = f"""\
import time
from pathlib import Path
from kivitendo_task_server.jobs.interface import Job

class Patient(Job):
    name = "Patient"
    summary = "waits"

    def run(self, context):
        Path("{BEGUN}").touch()
        while not Path("{GO_ON}").exists():
            time.sleep(0.1)
        return "waited"
"""

# What makes the tree a system of Red Hat's with boot scripts, as far as the package sees it. Real
# are its scripts, processes and signals; chkconfig writes down its calls and makes the links.
RED_HAT = {
    "/usr/sbin/init": """\
#!/bin/sh
trap 'exit 0' TERM
for script in /etc/rc.d/rc3.d/S*; do "$script" start; done
touch /run/up
while :; do sleep 1 & wait; done
""",
    "/usr/sbin/runlevel": "#!/bin/sh\n[ ! -e /run/up ] || echo N 2\n",
    "/usr/sbin/shutdown": "#!/bin/sh\nkill -TERM 1\n",
    "/usr/sbin/chkconfig": """\
#!/bin/sh
echo "$*" >>/chkconfig.log
link=/etc/rc.d/rc3.d/S$(sed -n 's/^# chkconfig: [0-9]* \\([0-9]*\\) .*/\\1/p' "/etc/init.d/$2")$2
case $1 in
    --add) ln -s "/etc/init.d/$2" "$link" ;;
    --del) rm "$link" ;;
esac
""",
    "/etc/rc.d/init.d/functions": "success() { echo OK; }\nfailure() { echo FAILED; }\n",
    "/etc/inittab": "id:3:initdefault:\n",
}


@pytest.fixture
def machine(repositories: Path) -> Iterator[Container]:
    """A system with dnf, PostgreSQL and our repositories."""
    with Container(tree(FEDORA)) as booted:
        make_fedora(booted, repositories)
        yield booted


@pytest.fixture
def red_hat(repositories: Path) -> Iterator[Container]:
    """A system of Red Hat's with boot scripts, booted."""
    machine = RedHat(tree(FEDORA))
    machine.mount()
    try:
        make_fedora(machine, repositories)
        for name in ("init", "runlevel", "shutdown", "update-rc.d", "invoke-rc.d", "service"):
            machine.chroot("rm", f"/usr/sbin/{name}")
        machine.chroot("rm", "/usr/bin/systemctl", "/usr/lib/systemd/systemd")
        for path, text in RED_HAT.items():
            put(machine, path, text, 0o755)
        postgresql = machine.root / "etc/rc.d/rc3.d/S64postgresql"
        postgresql.parent.mkdir()
        postgresql.symlink_to("/etc/init.d/postgresql")
        machine.boot()
        yield machine
    finally:
        machine.__exit__()


class RedHat(Container):
    """The tree of systemd, with another init system in its place."""

    init = "sysvinit"


def test_with_systemd(machine: Container) -> None:
    said = dnf(machine, "install", NAME)
    assert "debian-tree" in said  # as a dependency
    assert "there is no valid configuration yet" in said
    assert "the service is not part of the boot process yet" in said
    assert state(machine, "is-enabled", UMBRELLA) != "enabled"
    assert machine.run("rpm", "-V", NAME, check=False).stdout == ""

    make_site(machine)
    add_job(machine)
    machine.run(NAME, "install")
    until(lambda: invoices(machine) >= 31, "the orders that are due are billed")
    assert state(machine, "is-enabled", UMBRELLA) == "enabled"
    assert state(machine, "is-enabled", INSTANCE) == "enabled"

    machine.reboot()
    until(lambda: state(machine, "is-active", INSTANCE) == "active", "started at boot")

    an_upgrade_loses_nothing(
        machine, lambda: state(machine, "is-active", INSTANCE) == "deactivating"
    )
    assert state(machine, "is-enabled", UMBRELLA) == "enabled"
    what_is_disabled_stays_disabled(machine)

    # edited: a line of the administrator's, besides what the installer has found out
    machine.shell(f"echo '# mine' >>{SETTINGS}")
    dnf(machine, "remove", NAME)
    assert processes(machine) == ""
    assert state(machine, "is-active", INSTANCE) == "inactive"
    assert machine.shell(f"find /etc -name '{NAME}*' -o -name '*.wants' -path '*{NAME}*'").split() \
        == [f"{SETTINGS}.rpmsave"]  # fmt: skip
    saved = machine.run("cat", f"{SETTINGS}.rpmsave").stdout
    assert "# mine" in saved
    assert re.search(rf"^kivitendo_dir = {KIVITENDO}$", saved, re.M)
    assert machine.shell(f"ls -d /var/lib/{NAME} /run/{NAME}* 2>/dev/null || :") == ""

    # kivitendo is there and configured: found, enabled and started without a question; its user is
    # the web server's, so that the packaged unit is the one that counts
    machine.shell(f"cd {KIVITENDO} && chown -R apache users && chgrp -R apache config")
    dnf(machine, "--enablerepo=second", "install", NAME)
    assert state(machine, "is-enabled", INSTANCE) == "enabled"
    until(lambda: state(machine, "is-active", INSTANCE) == "active", "started by the package")
    assert state(machine, "is-enabled", UMBRELLA) == "enabled"
    fragment = machine.run("systemctl", "show", "-P", "FragmentPath", UMBRELLA).stdout
    assert fragment.endswith(f"/lib/systemd/system/{UMBRELLA}\n")
    old = main_pid(machine)
    machine.run("systemctl", "restart", UMBRELLA)
    until(lambda: main_pid(machine) not in (old, ""), "the unit stands for its instances")
    dnf(machine, "--enablerepo=second", "reinstall", NAME)
    assert state(machine, "is-enabled", UMBRELLA) == "enabled"
    dnf(machine, "remove", NAME)
    assert processes(machine) == ""
    assert machine.shell(f"find /etc/systemd /usr/lib/systemd -name '{NAME}*'") == ""


def what_is_disabled_stays_disabled(machine: Container) -> None:
    """Also what does not run is not started by an upgrade (here: the same again)."""
    machine.run("systemctl", "disable", "--now", UMBRELLA, INSTANCE)
    dnf(machine, "--enablerepo=second", "reinstall", NAME)
    assert state(machine, "is-enabled", UMBRELLA) == "disabled"
    assert state(machine, "is-active", INSTANCE) == "inactive"
    machine.run("systemctl", "enable", "--now", UMBRELLA, INSTANCE)


def test_with_red_hats_boot_scripts(red_hat: Container) -> None:
    """No systemctl: the script is Red Hat's, registered with chkconfig."""
    dnf(red_hat, "install", NAME)
    make_site(red_hat)
    add_job(red_hat)
    assert red_hat.shell("cat /chkconfig.log || :") == ""
    red_hat.run(NAME, "install")
    assert red_hat.shell("cat /chkconfig.log") == f"--add {NAME}\n"
    assert red_hat.shell("ls /etc/rc.d/rc3.d") == f"S64postgresql\nS95{NAME}\n"
    assert red_hat.run("ls", "-A", "/etc/systemd/system", check=False).stdout.count(NAME) == 0
    text = red_hat.run("cat", SCRIPT).stdout
    assert "\n. /etc/rc.d/init.d/functions\n" in text
    assert "\n# chkconfig: 2345 95 05\n" in text
    until(lambda: invoices(red_hat) >= 31, "the orders that are due are billed")

    red_hat.reboot()
    assert red_hat.run(SCRIPT, "status", check=False).returncode == 0
    an_upgrade_loses_nothing(
        red_hat,
        lambda: red_hat.run("pgrep", "-f", f"{SCRIPT} stop", check=False).returncode == 0,
    )
    assert red_hat.shell("cat /chkconfig.log") == f"--add {NAME}\n"  # what is registered stays

    red_hat.shell(f"echo '# mine' >>{SCRIPT}")
    dnf(red_hat, "remove", NAME)
    assert processes(red_hat) == ""
    assert red_hat.shell("cat /chkconfig.log") == f"--add {NAME}\n--del {NAME}\n"
    assert red_hat.shell(f"find /etc -name '*{NAME}*' | sort").split() == [
        f"{SCRIPT}.rpmsave", f"{SETTINGS}.rpmsave"
    ]  # fmt: skip
    assert red_hat.run("cat", f"{SCRIPT}.rpmsave").stdout.endswith("# mine\n")


def an_upgrade_loses_nothing(machine: Container, stopping: Callable[[], bool]) -> None:
    """A job that runs is finished by the program that began it, before that is exchanged.

    ``stopping`` tells whether the service is being stopped.
    """
    query(machine, "INSERT INTO background_jobs (type, package_name, active)"
                   " VALUES ('once', 'Patient', true)")  # fmt: skip
    wake(machine)
    until(lambda: exists(machine, BEGUN), "the job is in the middle of its work")
    old = main_pid(machine)
    with ThreadPoolExecutor() as threads:
        upgrade = threads.submit(dnf, machine, "--enablerepo=second", "upgrade", NAME)
        until(lambda: upgrade.done() or stopping(), "it is being stopped")
        assert main_pid(machine) == old  # it waits for its job
        machine.run("touch", GO_ON, user="www-data")
        said = upgrade.result()
    assert "Upgraded" in said
    assert machine.run("rpm", "-q", "--qf", "%{release}", NAME).stdout == "1.fc43"
    # Fedora's user, with Fedora's number
    assert machine.run("id", "-u", "apache").stdout == "48\n"
    assert main_pid(machine) not in (old, "")
    runs = "SELECT status, result FROM background_job_histories WHERE package_name = 'Patient'"
    assert query(machine, runs) == "success|waited"

    # the new one takes up the work: a period that is not billed after all
    before = invoices(machine)
    query(machine, "DELETE FROM periodic_invoices WHERE id = (SELECT id FROM periodic_invoices"
                   " ORDER BY period_start_date DESC, id LIMIT 1);"
                   " UPDATE background_jobs SET next_run_at = now()"
                   " WHERE package_name = 'CreatePeriodicInvoices'")  # fmt: skip
    wake(machine)
    until(lambda: invoices(machine) == before + 1, "one more invoice")


def query(machine: Container, statement: str) -> str:
    """Ask the first tenant's database."""
    rows: str = machine.run(
        "psql", "-X", "-q", "-A", "-t", "-d", "muster", "-c", statement, user="postgres", cwd="/"
    ).stdout
    return rows.strip()


def invoices(machine: Container) -> int:
    """How many invoices the first tenant has."""
    return int(query(machine, "SELECT count(*) FROM ar"))


def make_site(machine: Container) -> None:
    """A kivitendo with two tenants and orders that are due; needs our package inside."""
    machine.write("/srv/make_site.py", (CHECKOUT / "debian/tests/make_site.py").read_bytes())
    machine.run("/etc/init.d/postgresql", "start")
    machine.run("python3", "/srv/make_site.py", KIVITENDO)


def add_job(machine: Container) -> None:
    """Install the job that waits, as an add-on."""
    place = "/usr/lib/python3/dist-packages"
    machine.write(f"{place}/patient_job.py", PATIENT_JOB)
    machine.write(f"{place}/patient_job-1.dist-info/METADATA",
                  "Metadata-Version: 2.1\nName: patient-job\nVersion: 1\n")  # fmt: skip
    machine.write(f"{place}/patient_job-1.dist-info/entry_points.txt",
                  "[kivitendo_task_server.jobs]\nPatient = patient_job:Patient\n")  # fmt: skip


def wake(machine: Container) -> None:
    """What kivitendo's web interface does after a change."""
    machine.run("kill", "-ALRM", main_pid(machine), user="www-data")


def exists(machine: Container, path: str) -> bool:
    """Whether there is such a file inside."""
    return machine.run("test", "-e", path, check=False).returncode == 0


def main_pid(machine: Container) -> str:
    """The PID of the service by its PID file; empty if it does not run."""
    return str(machine.run("cat", PID_FILE, check=False).stdout).strip()


def state(machine: Container, question: str, unit: str) -> str:
    """What ``systemctl is-enabled`` or ``is-active`` says."""
    return str(machine.run("systemctl", question, unit, check=False).stdout).strip()


def processes(machine: Container) -> str:
    """The PIDs of our processes."""
    return str(machine.run("pgrep", "-f", "bin/kivitendo-task-server", check=False).stdout)
