"""From a wheel on Debian without systemd: SysV scripts, OpenRC, a link in a runlevel directory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.container import Container, Spec, tree
from system.inside import PACKAGES, Inside, until
from system.perl_server import SCRIPT, SCRIPT_TEXT
from system.test_adopt import command_of

NOT_OURS = ("/var/log", "/var/lib/postgresql", "/var/cache", "/var/tmp", "/root", "/opt/tasks",
            "/var/lib/logrotate", "/etc/init.d/.depend*", "/var/lib/urandom",
            "/var/lib/initscripts", "/etc/mtab", "/usr/lib/rc", "/var/backups")  # fmt: skip
NAME = "kivitendo-task-server"
PROGRAM = "/opt/tasks/bin/kivitendo-task-server"


def prepared(machine: Container, wheel: Path) -> Inside:
    kivitendo = Inside(machine)
    kivitendo.create("Erste GmbH", "Zweite GmbH")
    kivitendo.install_wheel(wheel, "/opt/tasks")
    return kivitendo


@pytest.fixture(scope="module")
def sysv(wheel: Path) -> Iterator[Inside]:
    """A Debian 12 with sysvinit, sysv-rc and insserv."""
    with Container(tree(Spec("bookworm", "sysvinit", PACKAGES))) as machine:
        yield prepared(machine, wheel)


def service(kivitendo: Inside, *words: str) -> int:
    """The exit code of ``service kivitendo-task-server …``."""
    return kivitendo.machine.run("service", NAME, *words, check=False).returncode


def links(machine: Container) -> set[str]:
    """The service's links in the runlevel directories."""
    found = machine.shell(f"cd /etc; find rc?.d -name '*{NAME}' -printf '%p %l\\n' | sort")
    return set(found.splitlines())


def test_sysv(sysv: Inside) -> None:
    machine = sysv.machine
    before = machine.files(*NOT_OURS)
    output = machine.run(PROGRAM, "install").stdout
    assert f"update-rc.d {NAME} defaults: ok" in output

    # update-rc.d and insserv have really made the links, in the order of the headers
    kinds = {re.sub(r"(rc.\.d/[SK])\d\d.*", r"\1", link) for link in links(machine)}
    assert kinds == {"rc0.d/K", "rc1.d/K", "rc2.d/S", "rc3.d/S", "rc4.d/S", "rc5.d/S", "rc6.d/K"}
    order = machine.shell("grep -h '^kivitendo-task-server:' /etc/init.d/.depend.start")
    assert "postgresql" in order

    exit_codes_are_the_lsbs(sysv)
    sysv.run_a_job("Erste GmbH")
    assert owner_of(sysv) == "www-data"
    assert groups_of(sysv) == groups_of_user(machine, "www-data")

    machine.reboot()
    until(sysv.pid, "started at boot")
    sysv.run_a_job("Erste GmbH")
    two_tenants(sysv)

    what_is_disabled_stays_disabled(machine)

    # also what no boot script would start, and when somebody has removed ours
    machine.run(PROGRAM, "start")
    machine.run("rm", f"/etc/init.d/{NAME}")
    machine.run(PROGRAM, "uninstall", "--purge")
    assert not any(map(sysv.pid, ("kivitendo", "erste-gmbh", "zweite-gmbh")))
    assert links(machine) == set()
    assert machine.files(*NOT_OURS) ^ before == set()


def what_is_disabled_stays_disabled(machine: Container) -> None:
    machine.run("update-rc.d", NAME, "disable")
    disabled = links(machine)
    assert not any("/S" in link for link in disabled)
    machine.run(PROGRAM, "install")
    assert links(machine) == disabled
    machine.run("update-rc.d", NAME, "enable")


def exit_codes_are_the_lsbs(kivitendo: Inside, script: str = "") -> None:
    """By ``service``, or by the script itself where there is no such command."""
    machine, pid = kivitendo.machine, kivitendo.pid()

    def service(kivitendo: Inside, *words: str) -> int:
        argv = [script, *words] if script else ["service", NAME, *words]
        return kivitendo.machine.run(*argv, check=False).returncode

    assert pid
    assert service(kivitendo, "start") == 0  # runs already
    assert kivitendo.pid() == pid
    assert service(kivitendo, "status") == 0
    assert service(kivitendo, "reload") == 0
    assert service(kivitendo, "force-reload") == 0
    assert kivitendo.pid() == pid
    assert service(kivitendo, "try-restart") == 0
    assert kivitendo.pid() not in (None, pid)
    machine.run("kill", "-KILL", str(kivitendo.pid()))
    assert service(kivitendo, "status") == 1  # dead, PID file left
    assert service(kivitendo, "restart") == 0
    assert service(kivitendo, "stop") == 0
    assert service(kivitendo, "stop") == 0
    assert service(kivitendo, "status") == 3
    assert service(kivitendo, "try-restart") == 0
    assert kivitendo.pid() is None
    assert service(kivitendo, "reload") == 7
    assert service(kivitendo, "nonsense") == 2
    assert service(kivitendo, "start", "missing") == 6
    assert service(kivitendo, "start", "../../etc/passwd") == 2
    machine.run("mv", PROGRAM, f"{PROGRAM}.away")
    assert service(kivitendo, "start") == 5
    assert service(kivitendo, "stop") == 0
    assert service(kivitendo, "status") == 3
    machine.run("mv", f"{PROGRAM}.away", PROGRAM)
    assert service(kivitendo, "start") == 0


def owner_of(kivitendo: Inside) -> str:
    return kivitendo.machine.run("ps", "-o", "user=", "-p", str(kivitendo.pid())).stdout.strip()


def groups_of(kivitendo: Inside) -> set[str]:
    text = kivitendo.machine.run("cat", f"/proc/{kivitendo.pid()}/status").stdout
    line = re.search(r"^Groups:(.*)$", text, re.M)
    assert line
    return set(line[1].split())


def groups_of_user(machine: Container, user: str) -> set[str]:
    return set(machine.run("id", "-G", user).stdout.split())


def two_tenants(kivitendo: Inside) -> None:
    machine = kivitendo.machine
    machine.run(PROGRAM, "tenant", "scaffold")
    machine.run(PROGRAM, "tenant", "remove", "kivitendo")
    assert kivitendo.pid() is None
    kivitendo.run_a_job("Erste GmbH", "erste-gmbh")
    assert service(kivitendo, "stop", "erste-gmbh") == 0
    assert kivitendo.pid("erste-gmbh") is None
    kivitendo.run_a_job("Zweite GmbH", "zweite-gmbh")
    assert service(kivitendo, "status") == 3
    assert service(kivitendo, "start") == 0
    kivitendo.run_a_job("Erste GmbH", "erste-gmbh")


def test_a_link_from_a_runlevel_directory_to_the_executable(sysv: Inside) -> None:
    """No script between: the program itself is the boot script (kivitendo's documented way)."""
    machine = sysv.machine
    # Debian runs what insserv has ordered, or, with this file, every link in its directory
    machine.run("touch", "/etc/init.d/.legacy-bootordering")
    machine.run("ln", "-s", PROGRAM, f"/etc/rc2.d/S99{NAME}")
    machine.run("ln", "-s", PROGRAM, f"/etc/rc6.d/K01{NAME}")
    sysv.machine.write(
        f"{sysv.directory}/config/kivitendo.conf",
        "[authentication/database]\nuser = kivitendo\npassword = kivitendo\n"
        "[task_server]\nrun_as = www-data\n",
        mode=0o640, owner="root:www-data",
    )  # fmt: skip
    machine.reboot()
    until(sysv.pid, "started at boot by the link")
    assert owner_of(sysv) == "www-data"
    sysv.run_a_job("Zweite GmbH")
    log = f"{sysv.directory}/users/kivitendo-debug.log"
    ended = machine.run("grep", "-c", "service_ended", log, check=False).stdout
    machine.run("rm", f"/etc/rc2.d/S99{NAME}")
    machine.reboot()
    # the link in rc6.d has stopped it properly when going down
    assert int(machine.run("grep", "-c", "service_ended", log).stdout) == int(ended or 0) + 1
    assert sysv.pid() is None
    machine.run("rm", f"/etc/rc6.d/K01{NAME}")


RED_HAT_FUNCTIONS = """\
success() { printf '[  OK  ]'; }
failure() { printf '[FAILED]'; }
"""
SUSE_STATUS = """\
rc_reset() { _rc=0; }
rc_status() { _code=$?; [ "$_rc" -ne 0 ] || _rc=$_code; echo "$*: $_code"; return "$_code"; }
rc_exit() { exit "$_rc"; }
"""


@pytest.mark.parametrize(
    ("distribution", "function_file", "functions"),
    [
        ("rocky", "/etc/rc.d/init.d/functions", RED_HAT_FUNCTIONS),
        ("sles", "/etc/rc.status", SUSE_STATUS),
    ],
)
def test_scripts_of_other_families_do_their_work(
    sysv: Inside, distribution: str, function_file: str, functions: str
) -> None:
    """Red Hat's and SUSE's scripts, on a Debian that says it is one of them, with a recording
    chkconfig and the least of their function files."""
    machine = sysv.machine
    hidden = ("/usr/sbin/update-rc.d", "/usr/sbin/insserv", "/sbin/insserv", "/usr/sbin/service")
    for program in hidden:
        machine.shell(f"test ! -e {program} || mv {program} {program}.hidden")
    machine.run("cp", "--remove-destination", "/usr/lib/os-release", "/etc/os-release")
    machine.write("/etc/os-release", f'ID="{distribution}"\nID_LIKE="rhel suse"\n')
    machine.write(function_file, functions)
    machine.write("/usr/sbin/chkconfig", '#!/bin/sh\necho "$@" >>/tmp/chkconfig\n', mode=0o755)
    machine.run("mkdir", "-p", "/var/lock/subsys")
    machine.run("rm", "-f", "/tmp/chkconfig")
    try:
        machine.run(PROGRAM, "install")
        assert machine.run("cat", "/tmp/chkconfig").stdout == f"--add {NAME}\n"
        lock_file = f"/var/lock/subsys/{NAME}"
        assert has(machine, lock_file) is (distribution == "rocky")
        exit_codes_are_the_lsbs(sysv, f"/etc/init.d/{NAME}")
        sysv.run_a_job("Erste GmbH")
        machine.run(PROGRAM, "uninstall", "--purge")
        assert machine.run("tail", "-n1", "/tmp/chkconfig").stdout == f"--del {NAME}\n"
        assert not has(machine, lock_file)
    finally:
        for program in hidden:
            machine.shell(f"test ! -e {program}.hidden || mv {program}.hidden {program}")
        machine.run("ln", "-sf", "../usr/lib/os-release", "/etc/os-release")
        machine.run("rm", "-r", function_file, "/usr/sbin/chkconfig")


def has(machine: Container, path: str) -> bool:
    return machine.run("test", "-e", path, check=False).returncode == 0


# as kivitendo delivers it in its essentials, with the name of ours
PERL_BOOT_SCRIPT = f"""\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          {NAME}
# Required-Start:    $local_fs
# Required-Stop:     $local_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: kivitendo
### END INIT INFO
exec {SCRIPT} "$1"
"""


def test_adopt_and_undo(sysv: Inside) -> None:
    """From a Perl task server with a boot script; the web interface's buttons; and back."""
    machine, boot_script = sysv.machine, f"/etc/init.d/{NAME}"
    machine.write(SCRIPT, SCRIPT_TEXT, mode=0o755)
    machine.write(boot_script, PERL_BOOT_SCRIPT, mode=0o755)
    machine.run("update-rc.d", NAME, "defaults")
    before = links(machine)
    machine.run(SCRIPT, "start", user="www-data")
    until(sysv.pid, "the Perl task server runs")
    refused = machine.run(PROGRAM, "install", check=False)
    assert refused.returncode == 6
    assert "kivitendo-task-server adopt takes over from it" in refused.stderr
    assert "perl" in command_of(sysv)

    machine.run(PROGRAM, "adopt")
    assert PROGRAM in command_of(sysv)
    machine.run("sh", "-c", f"{SCRIPT} stop", user="www-data")
    assert sysv.pid() is None
    machine.run("sh", "-c", f"{SCRIPT} start", user="www-data")
    assert owner_of(sysv) == "www-data"
    sysv.run_a_job("Erste GmbH")

    machine.run(PROGRAM, "adopt", "--undo")
    assert sysv.pid() is None
    assert machine.run("cat", SCRIPT).stdout == SCRIPT_TEXT
    assert machine.run("cat", boot_script).stdout == PERL_BOOT_SCRIPT
    assert links(machine) == before


@pytest.mark.parametrize(
    ("distribution", "registered"),
    [("debian", f"update-rc.d {NAME} defaults"), ("arch", f"rc-update add {NAME} default")],
)
def test_openrc(wheel: Path, distribution: str, registered: str) -> None:
    """With Debian's SysV script, and with OpenRC's own on a Debian that says it is none."""
    with Container(tree(Spec("bookworm", "openrc", PACKAGES))) as machine:
        kivitendo = prepared(machine, wheel)
        machine.run("cp", "--remove-destination", "/usr/lib/os-release", "/etc/os-release")
        machine.write("/etc/os-release", f"ID={distribution}\n")
        before = machine.files(*NOT_OURS)
        output = machine.run(PROGRAM, "install").stdout
        assert "init system   openrc (/run/openrc exists)" in output
        assert f"{registered}: ok" in output
        assert NAME in machine.run("rc-update", "show", "default").stdout
        assert machine.run("rc-service", NAME, "status").returncode == 0
        kivitendo.run_a_job("Erste GmbH")
        machine.reboot()
        until(kivitendo.pid, "started at boot")
        machine.run(PROGRAM, "tenant", "scaffold")
        machine.run(PROGRAM, "tenant", "remove", "kivitendo")
        kivitendo.run_a_job("Zweite GmbH", "zweite-gmbh")
        pid = kivitendo.pid("zweite-gmbh")
        machine.run("rc-service", NAME, "reload" if distribution == "arch" else "force-reload")
        assert kivitendo.pid("zweite-gmbh") == pid
        machine.run("rc-service", NAME, "stop")
        assert kivitendo.pid("zweite-gmbh") is None
        machine.run("rc-service", NAME, "start")
        assert kivitendo.pid("zweite-gmbh")
        machine.run(PROGRAM, "uninstall", "--purge")
        assert machine.files(*NOT_OURS) ^ before == set()
