"""kivitendo's Perl task server on this host: where it runs, and what starts it at boot."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.daemon import control, pidfile
from kivitendo_task_server.daemon.piddirectory import DIRECTORY
from kivitendo_task_server.errors import ControlError, PrivilegeError
from kivitendo_task_server.installer.commands import Commands
from kivitendo_task_server.installer.host import inside, place_of
from kivitendo_task_server.installer.tree import Tree

SCRIPT = "scripts/task_server.pl"
MARK = b"task_server.pl"
"""What the boot scripts of the Perl server contain, and ours do not."""

# The names of kivitendo's own boot files, old and new, and of its install command's link.
BOOT_FILES = (
    "/etc/init.d/kivitendo-task-server",
    "/etc/init.d/kivitendo-server",
    "/etc/init.d/lx-office-erp-task-server",
    "/etc/init.d/task_server.pl",
    "/etc/init/kivitendo-task-server.conf",
    "/etc/systemd/system/kivitendo-task-server.service",
    "/lib/systemd/system/kivitendo-task-server.service",
    "/usr/lib/systemd/system/kivitendo-task-server.service",
)

# Folder, names, and the lines that count, of boot files that somebody has named otherwise. No
# templates of units, and no scripts that were put aside, which have a dot in their names.
_OTHER_BOOT_FILES = (
    ("/etc/systemd/system", r"[^@]+\.service", r"ExecStart="),
    ("/etc/init.d", r"[^.]+", r"\s*[^#\s]"),
    ("/etc/init", r".+\.conf", r"\s*[^#\s]"),
)
_CALL = rf"/[^\s\"'=]*/{SCRIPT}"


@dataclass(frozen=True)
class Running:
    """A Perl task server that runs."""

    pid: int
    pid_file: Path


def running(root: Path, directory: str) -> list[Running]:
    """The Perl task servers of this installation that run: they hold the lock of a PID file.

    Below another root none does.
    """
    found: list[Running] = []
    if root != Path("/"):
        return found
    for path in sorted((Path(directory) / DIRECTORY).glob("*.pid")):
        with contextlib.suppress(ControlError, PrivilegeError):
            holder = pidfile.inspect(path)
            if holder.state is pidfile.State.FOREIGN and holder.pid is not None:
                found.append(Running(holder.pid, path))
    return found


def boot_files(tree: Tree, directory: str) -> list[str]:
    """The boot files of the Perl server below the root, real files and links to the script.

    Those with kivitendo's own names, and others that start the script of this installation.
    """
    found: dict[tuple[int, int], str] = {}
    for path in BOOT_FILES:
        status = tree.status(path)
        if status is None:
            continue
        place = tree.root / path.lstrip("/")
        if place.is_symlink():
            theirs = place.readlink().name == Path(SCRIPT).name
        else:
            theirs = MARK in (tree.read(path) or b"")
        if theirs:
            # /lib may be a link to /usr/lib
            found.setdefault((status.st_dev, status.st_ino), path)
    return [*found.values(), *_with_other_names(tree, directory)]


def _with_other_names(tree: Tree, directory: str) -> Iterator[str]:
    script = inside(tree.root, f"{directory}/{SCRIPT}")
    for folder, names, line in _OTHER_BOOT_FILES:
        for file in sorted(place_of(tree.root, folder).glob("*")):
            path = f"{folder}/{file.name}"
            if path in BOOT_FILES or not re.fullmatch(names, file.name):
                continue
            if file.is_symlink() or not file.is_file():
                continue
            lines = (tree.read(path) or b"").decode("utf-8", "replace").splitlines()
            called = [name for each in lines if re.match(line, each)
                      for name in re.findall(_CALL, each)]  # fmt: skip
            if any(inside(tree.root, name) == script for name in called):
                yield path


def disable(commands: Commands, boot_file: str) -> None:
    """Stop what a boot file started, and take it out of the boot process."""
    name = Path(boot_file).name
    host = commands.host
    if boot_file.endswith(".service"):
        if host.init_runs:
            commands.run("systemctl", "stop", name, may_fail=True, patient=True)
        commands.run("systemctl", "disable", name, may_fail=True)
    elif boot_file.startswith("/etc/init/"):
        if host.init_runs:
            commands.run("initctl", "stop", name.removesuffix(".conf"), may_fail=True)
    else:
        _disable_script(commands, name)


def enable(commands: Commands, boot_file: str) -> None:
    """Make a boot file that was put back part of the boot process again."""
    name = Path(boot_file).name
    host = commands.host
    if boot_file.endswith(".service"):
        if host.init_runs:
            commands.run("systemctl", "daemon-reload")
        commands.run("systemctl", "enable", name)
    elif boot_file.startswith("/etc/init/"):
        return
    elif commands.has("update-rc.d"):
        commands.run("update-rc.d", name, "defaults")
    elif commands.has("chkconfig"):
        commands.run("chkconfig", "--add", name)
    elif commands.has("insserv"):
        commands.run("insserv", name)


def stop(server: Running, commands: Commands) -> None:
    """End a Perl server as its own ``stop`` does. Raises ControlError if it does not end."""
    control.stop(server.pid_file, commands.report)


def _disable_script(commands: Commands, name: str) -> None:
    """Out of the runlevels; the running server is stopped by its PID file."""
    if commands.has("update-rc.d"):
        commands.run("update-rc.d", "-f", name, "remove", may_fail=True)
    elif commands.has("chkconfig"):
        commands.run("chkconfig", "--del", name, may_fail=True)
    elif commands.has("insserv"):
        commands.run("insserv", "-r", name, may_fail=True)
