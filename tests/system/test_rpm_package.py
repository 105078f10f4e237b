"""The RPM from our own dnf repository: in trees, and on a booted system.

The systems are Debian's, as nothing else can be had here, and call themselves Fedora; an RPM
``debian-tree`` tells dnf what is really in them, with the true versions.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from system.container import Container, Spec, tree
from system.inside import CHECKOUT, PACKAGES, until

NAME = "kivitendo-task-server"
KIVITENDO = "/var/www/kivitendo-erp"
SETTINGS = f"/etc/{NAME}.conf"
UMBRELLA = f"{NAME}.service"
INSTANCE = f"{NAME}@kivitendo.service"
REPOSITORY = "/srv/repository"
FEDORA = Spec("bookworm", "systemd", (*PACKAGES, "dnf", "rpm"))

DEBIAN_TREE = """\
Name: debian-tree
Version: 12
Release: 1
Summary: What a Debian tree holds
License: MIT
BuildArch: noarch
AutoReqProv: no
{provides}
%description
For tests: tells dnf what dpkg has installed.
%install
install -d %{{buildroot}}/usr/lib/python3/dist-packages
echo {site_packages} >%{{buildroot}}/usr/lib/python3/dist-packages/debian-tree.pth
%files
/usr/lib/python3/dist-packages/debian-tree.pth
"""

# What the Python of the tree can import, by the names and versions that rpm's generators use.
PROVIDES = """
import importlib.metadata as metadata, re, sys
python = "%d.%d" % sys.version_info[:2]
print("python3 = " + sys.version.split()[0])
print("python(abi) = " + python)
print("/usr/bin/python3\\n/bin/sh")
for each in metadata.distributions():
    name = re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower()
    print(f"python{python}dist({name}) = {each.version}")
"""

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

# chkconfig, and the functions that Red Hat's boot scripts use; what is called is written down
CHKCONFIG = '#!/bin/sh\necho "chkconfig $*" >>/chkconfig.log\n'
FUNCTIONS = "success() { echo OK; }\nfailure() { echo FAILED; }\n"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the packages of this checkout are, built by tools/build-rpm."""
    folder = tmp_path_factory.mktemp("rpm")
    tool("build-rpm", "--output", str(folder))
    return folder


@pytest.fixture(scope="session")
def repositories(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``first`` with the package, ``second`` with the next one, and ``debian``."""
    place = tmp_path_factory.mktemp("repositories")
    place.chmod(0o755)
    keys = str(tmp_path_factory.mktemp("keys"))
    (source,) = folder.glob("*.src.rpm")
    command("rpmbuild", "--rebuild", "--nodeps", "--without=check", "--define", "dist .next",
            "--define", f"_topdir {folder}/next", str(source))  # fmt: skip
    for name, packages in ("first", folder), ("second", folder / "next/RPMS/noarch"):
        tool("build-repo", "--packages", str(packages), "--output", str(place / name),
             XDG_DATA_HOME=keys)  # fmt: skip
    build_debian_tree(place / "debian", folder)
    return place


def build_debian_tree(place: Path, work: Path) -> None:
    """The repository with the package that tells what is in the tree."""
    machine = Container(tree(FEDORA))
    machine.mount()
    try:
        provides = machine.chroot("python3", "-c", PROVIDES).stdout.splitlines()
    finally:
        machine.unmount()
    python = next(line.split()[2] for line in provides if line.startswith("python(abi)"))
    spec = work / "debian-tree.spec"
    spec.write_text(DEBIAN_TREE.format(
        provides="\n".join(f"Provides: {line}" for line in provides),
        site_packages=f"/usr/lib/python{python}/site-packages",
    ))  # fmt: skip
    place.mkdir()
    command("rpmbuild", "-bb", "--define", f"_topdir {work}/tree", "--define", f"_rpmdir {place}",
            str(spec))  # fmt: skip
    command("createrepo_c", "--quiet", str(place))


def tool(name: str, *arguments: str, **environment: str) -> str:
    """Run one of the checkout's tools; both of its outputs."""
    return command(str(CHECKOUT / "tools" / name), *arguments, **environment)


def command(*argv: str, check: bool = True, **environment: str) -> str:
    """Run a command of this machine; both of its outputs."""
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


# On a booted system


@pytest.fixture
def machine(repositories: Path) -> Iterator[Container]:
    """A system with dnf, PostgreSQL and our repositories."""
    with Container(tree(FEDORA)) as booted:
        call_it_fedora(booted)
        subprocess.run(["cp", "-r", repositories, f"{booted.root}{REPOSITORY}"], check=True)
        for name in ("first", "second"):
            booted.write(f"/etc/yum.repos.d/{name}.repo", repository_file(name))
        booted.write(
            "/etc/yum.repos.d/debian.repo",
            f"[debian]\nname=debian\nbaseurl=file://{REPOSITORY}/debian\ngpgcheck=0\n",
        )
        yield booted


def call_it_fedora(machine: Container) -> None:
    """So that the installer takes it for one of Red Hat's family."""
    release = machine.root / "usr/lib/os-release"
    release.write_text(release.read_text().replace("\nID=debian\n", "\nID=fedora\n"))


def repository_file(name: str) -> str:
    """What build-repo says to write, with all signatures checked."""
    place = f"file://{REPOSITORY}/{name}/dnf"
    enabled = int(name == "first")
    return (
        f"[{name}]\nname={name}\nbaseurl={place}\nenabled={enabled}\ngpgcheck=1\nrepo_gpgcheck=1\n"
        f"gpgkey={place}/RPM-GPG-KEY-{NAME}\n"
    )


def dnf(machine: Container, *words: str) -> str:
    """dnf without questions; both of its outputs."""
    done = machine.run(
        "dnf", "-y", "--releasever=12", "--setopt=install_weak_deps=False", *words, check=False
    )
    said: str = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "scriptlet failed" not in said
    return said


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
    machine.run("systemctl", "start", "postgresql")
    machine.run("python3", "/srv/make_site.py", KIVITENDO)


def add_job(machine: Container) -> None:
    """Install the job that waits, as an add-on."""
    place = "/usr/lib/python3/dist-packages"
    machine.write(f"{place}/patient_job.py", PATIENT_JOB)
    machine.write(f"{place}/patient_job-1.dist-info/METADATA",
                  "Metadata-Version: 2.1\nName: patient-job\nVersion: 1\n")  # fmt: skip
    machine.write(f"{place}/patient_job-1.dist-info/entry_points.txt",
                  "[kivitendo_task_server.jobs]\nPatient = patient_job:Patient\n")  # fmt: skip


def state(machine: Container, question: str, unit: str) -> str:
    """What ``systemctl is-enabled`` or ``is-active`` says."""
    return str(machine.run("systemctl", question, unit, check=False).stdout).strip()


def processes(machine: Container) -> str:
    """The PIDs of our processes."""
    return str(machine.run("pgrep", "-f", "bin/kivitendo-task-server", check=False).stdout)


def test_life_of_the_package(machine: Container) -> None:
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

    an_upgrade_loses_nothing(machine)
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
    assert machine.shell(f"ls -d /var/lib/{NAME} /run/{NAME}* 2>/dev/null || :") == f"/run/{NAME}\n"

    # kivitendo is there and configured: found, enabled and started without a question
    dnf(machine, "install", NAME)
    assert state(machine, "is-enabled", INSTANCE) == "enabled"
    until(lambda: state(machine, "is-active", INSTANCE) == "active", "started by the package")


def an_upgrade_loses_nothing(machine: Container) -> None:
    """A job that runs is finished by the program that began it, before that is exchanged."""
    query(machine, "INSERT INTO background_jobs (type, package_name, active)"
                   " VALUES ('once', 'Patient', true)")  # fmt: skip
    wake(machine)
    until(lambda: exists(machine, BEGUN), "the job is in the middle of its work")
    old = main_pid(machine)
    with ThreadPoolExecutor() as threads:
        upgrade = threads.submit(dnf, machine, "--enablerepo=second", "upgrade", NAME)
        until(lambda: upgrade.done() or state(machine, "is-active", INSTANCE) == "deactivating",
              "it is being stopped")  # fmt: skip
        assert main_pid(machine) == old  # it waits for its job
        machine.run("touch", GO_ON, user="www-data")
        said = upgrade.result()
    assert "Upgraded" in said
    assert machine.run("rpm", "-q", "--qf", "%{release}", NAME).stdout == "1.next"
    assert main_pid(machine) not in (old, "0")
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


def wake(machine: Container) -> None:
    """What kivitendo's web interface does after a change."""
    machine.run("kill", "-ALRM", main_pid(machine), user="www-data")


def exists(machine: Container, path: str) -> bool:
    """Whether there is such a file inside."""
    return machine.run("test", "-e", path, check=False).returncode == 0


def main_pid(machine: Container) -> str:
    """The PID of the service."""
    shown = machine.run("systemctl", "show", "-P", "MainPID", INSTANCE).stdout
    return str(shown).strip()


def what_is_disabled_stays_disabled(machine: Container) -> None:
    """Also what does not run is not started by an upgrade (here: the same again)."""
    machine.run("systemctl", "disable", "--now", UMBRELLA, INSTANCE)
    dnf(machine, "--enablerepo=second", "reinstall", NAME)
    assert state(machine, "is-enabled", UMBRELLA) == "disabled"
    assert state(machine, "is-active", INSTANCE) == "inactive"
    machine.run("systemctl", "enable", "--now", UMBRELLA, INSTANCE)


# In trees that are not running


@pytest.fixture
def root(repositories: Path) -> Iterator[Container]:
    """A tree with a kivitendo that is configured."""
    machine = Container(tree(FEDORA))
    machine.mount()
    try:
        call_it_fedora(machine)
        defaults = (CHECKOUT / "kivitendo_task_server/demo/kivitendo_folder.py").read_text()
        (text,) = re.findall(r'^DEFAULTS = """\\\n(.*?)"""', defaults, re.M | re.S)
        put(machine, f"{KIVITENDO}/config/kivitendo.conf.default", text)
        put(machine, f"{KIVITENDO}/config/kivitendo.conf",
            "[authentication/database]\nuser = kivitendo\npassword = kivitendo\n")  # fmt: skip
        put(machine, f"{KIVITENDO}/SL/System/TaskServer.pm", "1;\n")
        machine.chroot("install", "-d", "-o", "www-data", f"{KIVITENDO}/users")
        yield machine
    finally:
        machine.unmount()


def put(machine: Container, path: str, text: str, mode: int = 0o644) -> None:
    """Make a file in a tree that does not run."""
    place = machine.root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)


def dnf_from_outside(machine: Container, repositories: Path, *words: str) -> str:
    """This machine's dnf on the tree; the packages' scripts run inside."""
    said = command(
        "dnf", "-y", f"--installroot={machine.root}", "--releasever=12",
        "--setopt=reposdir=/nonexistent", "--setopt=install_weak_deps=False", "--refresh",
        f"--repofrompath=first,file://{repositories}/first/dnf", "--setopt=first.gpgcheck=1",
        f"--setopt=first.gpgkey=file://{repositories}/first/dnf/RPM-GPG-KEY-{NAME}",
        f"--repofrompath=debian,file://{repositories}/debian", "--setopt=debian.gpgcheck=0", *words,
    )  # fmt: skip
    assert "scriptlet failed" not in said, said
    return said


def test_into_a_tree_with_systemd(root: Container, repositories: Path) -> None:
    """An image is made: enabled, as the configuration is valid, and not started."""
    said = dnf_from_outside(root, repositories, "install", NAME)
    assert "not started: this is not the running system" in said, said
    wants = root.root / "etc/systemd/system"
    assert (wants / f"multi-user.target.wants/{UMBRELLA}").is_symlink()
    assert (wants / f"{UMBRELLA}.wants/{INSTANCE}").is_symlink()
    dnf_from_outside(root, repositories, "remove", NAME)
    assert [path.name for path in (root.root / "etc").rglob(f"*{NAME}*")] == [
        f"{NAME}.conf.rpmsave"
    ]


def test_nothing_is_enabled_without_a_valid_configuration(
    root: Container, repositories: Path
) -> None:
    """What nobody has edited leaves no trace, either."""
    put(root, f"{KIVITENDO}/config/kivitendo.conf", "[task_server]\nmax_parallel_tenants = many\n")
    said = dnf_from_outside(root, repositories, "install", NAME)
    assert "not enabled and not started: there is no valid configuration yet" in said
    assert list((root.root / "etc/systemd/system").rglob(f"*.wants/{NAME}*")) == []


def test_into_a_tree_of_red_hats_with_boot_scripts(root: Container, repositories: Path) -> None:
    """No systemctl: Red Hat's script, registered with chkconfig."""
    root.chroot("rm", "/usr/bin/systemctl", "/usr/sbin/init", "/usr/lib/systemd/systemd")
    root.chroot("rm", "/usr/sbin/update-rc.d", "/usr/sbin/invoke-rc.d", "/usr/sbin/service")
    put(root, "/etc/inittab", "id:3:initdefault:\n")
    put(root, "/etc/rc.d/init.d/functions", FUNCTIONS)
    put(root, "/usr/sbin/chkconfig", CHKCONFIG, 0o755)
    calls = root.root / "chkconfig.log"

    dnf_from_outside(root, repositories, "install", NAME)
    assert calls.read_text() == f"chkconfig --add {NAME}\n"
    script = root.root / f"etc/init.d/{NAME}"
    text = script.read_text()
    assert ". /etc/rc.d/init.d/functions\n" in text
    assert re.search(r"^# chkconfig: 2345 95 05$", text, re.M)
    assert not (root.root / f"etc/systemd/system/{UMBRELLA}").exists()
    status = root.chroot(f"/etc/init.d/{NAME}", "status", check=False)
    assert status.returncode == 3, status

    # again: what is registered stays as it is
    dnf_from_outside(root, repositories, "reinstall", NAME)
    assert calls.read_text() == f"chkconfig --add {NAME}\n"
    script.write_text(text + "# mine\n")
    dnf_from_outside(root, repositories, "remove", NAME)
    assert calls.read_text() == f"chkconfig --add {NAME}\nchkconfig --del {NAME}\n"
    assert not script.exists()
    assert script.with_name(f"{NAME}.rpmsave").read_text().endswith("# mine\n")


# The packages themselves


def test_no_complaints_of_rpmlint(folder: Path) -> None:
    ours = CHECKOUT / "rpm" / NAME
    found = command(
        "rpmlint", "-r", f"{ours}.rpmlintrc", f"{ours}.spec", *map(str, folder.glob("*.rpm"))
    )
    assert re.search(r"2 packages and 1 specfiles checked; 0 errors, 0 warnings", found), found


def test_the_same_again_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    tool("build-rpm", "--without-check", "--output", str(tmp_path))
    tool("build-rpm", "--without-check", "--output", str(tmp_path / "again"))
    names = sorted(path.name for path in tmp_path.glob("*.rpm"))
    assert names == sorted(path.name for path in folder.glob("*.rpm"))
    for name in names:
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
