"""What kind of system this is: distribution, init system, programs; each finding with evidence.

Everything is looked up below a root directory, so that images, chroots and tests work alike. What
runs counts only on the live system: ``/proc`` and ``/run`` of an image say nothing about it.
"""

from __future__ import annotations

import re
import shlex
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Generic, Literal, TypeAlias, TypeVar, get_args

from kivitendo_task_server.errors import ConfigurationError, NotInstalledError

Family: TypeAlias = Literal["debian", "redhat", "suse", "arch"]
Init: TypeAlias = Literal["systemd", "sysv", "upstart", "openrc"]
Found = TypeVar("Found")

INIT_SYSTEMS: tuple[str, ...] = get_args(Init)
PROGRAM = "kivitendo-task-server"

_FAMILIES: dict[str, Family] = {
    "debian": "debian", "ubuntu": "debian", "devuan": "debian",
    "fedora": "redhat", "rhel": "redhat", "centos": "redhat",
    "suse": "suse", "opensuse": "suse", "sles": "suse",
    "arch": "arch", "archlinux": "arch",
}  # fmt: skip

_MOST_LINKS = 40  # like the kernel's limit
_PROGRAM_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin", "usr/local/sbin", "usr/local/bin")


@dataclass(frozen=True)
class Finding(Generic[Found]):
    """One fact about the host, and the evidence for it."""

    value: Found
    evidence: str

    def __str__(self) -> str:
        return f"{self.value} ({self.evidence})"


@dataclass(frozen=True)
class Host:
    """The system to install on."""

    root: Path
    family: Finding[Family]
    init: Finding[Init]
    init_runs: bool
    """Whether that init system is the one running here: only then is anything started."""
    systemd_version: int
    """0 where there is no systemd."""

    @property
    def has_lsb_scripts(self) -> bool:
        """Whether boot scripts are those of SysV: Debian's OpenRC runs these, too.

        Its command ``service`` does not start OpenRC's own.
        """
        return self.init.value == "sysv" or (
            self.init.value == "openrc" and self.family.value == "debian"
        )

    def has(self, path: str) -> bool:
        """Whether something lies at this absolute path below the root."""
        return exists(self.root, path)

    def program(self, name: str) -> str | None:
        """The absolute path, as seen from inside the root, of an installed program."""
        return find_program(self.root, name)


def exists(root: Path, path: str) -> bool:
    """Whether something lies at an absolute path below the root; a dangling link counts."""
    place = root / path.lstrip("/")
    return place.exists() or place.is_symlink()


def inside(root: Path, path: str) -> Path:
    """Where an absolute path of the system below the root really lies, links followed as there."""
    steps = deque(PurePosixPath(path).parts[1:])
    real, links = root, 0
    while steps:
        name = steps.popleft()
        if name == "..":
            real = real if real == root else real.parent
        elif (real / name).is_symlink() and links < _MOST_LINKS:
            links += 1
            target = (real / name).readlink()
            if target.is_absolute():
                real = root
            steps.extendleft(part for part in reversed(target.parts) if part != "/")
        else:
            real /= name
    return real


def place_of(root: Path, path: str) -> Path:
    """Where we find an absolute path of the system below the root; on our own as it is named."""
    return Path(path) if root == Path("/") else inside(root, path)


def find_program(root: Path, name: str) -> str | None:
    """Where a program is installed below the root, as a path from inside."""
    for folder in _PROGRAM_FOLDERS:
        if exists(root, f"{folder}/{name}"):
            return f"/{folder}/{name}"
    return None


def detect(root: Path, *, init: str = "auto", live: bool | None = None) -> Host:
    """Find out all about the host below ``root``.

    ``live``: whether ``root`` is the running system; by default only "/" is. Raises
    ConfigurationError for a distribution or an init system that is not known.
    """
    if live is None:
        live = root == Path("/")
    family = distribution_family(root)
    running = running_init(root) if live else None
    chosen = choose_init(root, init, running)
    return Host(
        root,
        family,
        chosen,
        init_runs=running is not None and running.value == chosen.value,
        systemd_version=systemd_version(root) if chosen.value == "systemd" else 0,
    )


def distribution_family(root: Path) -> Finding[Family]:
    """The family of distributions by os-release: its ID, else the first known of ID_LIKE."""
    for name in ("etc/os-release", "usr/lib/os-release"):
        file = root / name
        if not file.is_file():
            continue
        fields = dict(_assignments(file.read_text(encoding="utf-8", errors="replace")))
        for key in ("ID", "ID_LIKE"):
            for word in fields.get(key, "").lower().split():
                # openSUSE has "opensuse-leap", "opensuse-tumbleweed"
                family = _FAMILIES.get(word) or _FAMILIES.get(word.partition("-")[0])
                if family:
                    return Finding(family, f"/{name}: {key}={fields[key]}")
        raise ConfigurationError(
            f"this distribution is not known: ID={fields.get('ID', '')},"
            f" ID_LIKE={fields.get('ID_LIKE', '')}",
            where=f"/{name}",
            remedy="known are Debian, Ubuntu, Fedora, RHEL, openSUSE, SLES, Arch and what names"
            " one of them in ID_LIKE",
        )
    raise ConfigurationError(
        "the distribution cannot be told: there is no /etc/os-release", where=str(root)
    )


def running_init(root: Path) -> Finding[str] | None:
    """The init system that runs, by its traces in /run and /proc; also one we do not know."""
    if (root / "run/systemd/system").is_dir():
        return Finding("systemd", "/run/systemd/system exists")
    if (root / "run/openrc").is_dir():
        return Finding("openrc", "/run/openrc exists")
    try:
        name = (root / "proc/1/comm").read_text().strip()
    except OSError:
        return None
    if name != "init":
        # in a container without init, process 1 is anything; it does not boot this system
        known = {"runit", "s6-svscan", "dinit", "busybox"}
        return Finding(name, f"process 1 is {name}") if name in known else None
    if (root / "sbin/initctl").exists() and not (root / "etc/inittab").exists():
        return Finding("upstart", "process 1 is init, and /sbin/initctl exists")
    return Finding("sysv", "process 1 is init")


def installed_init(root: Path) -> Finding[str] | None:
    """The init system that would run if the system below the root were booted."""
    for name in ("sbin/init", "usr/sbin/init"):
        link = root / name
        if link.is_symlink() and "systemd" in link.readlink().name:
            return Finding("systemd", f"/{name} is a link to {link.readlink()}")
    if exists(root, "sbin/openrc-init") or exists(root, "sbin/openrc"):
        return Finding("openrc", "/sbin/openrc exists")
    if exists(root, "sbin/initctl") and exists(root, "etc/init"):
        return Finding("upstart", "/sbin/initctl and /etc/init exist")
    for name in ("sbin/runit-init", "usr/sbin/runit-init"):
        if exists(root, name):
            return Finding("runit", f"/{name} exists")
    if exists(root, "etc/inittab") and (exists(root, "etc/init.d") or exists(root, "etc/rc.d")):
        return Finding("sysv", "/etc/inittab exists")
    for name in ("usr/lib/systemd/systemd", "lib/systemd/systemd"):
        if exists(root, name):
            return Finding("systemd", f"/{name} exists")
    return None


def choose_init(root: Path, option: str, running: Finding[str] | None) -> Finding[Init]:
    """The init system to install for: as told, or what runs, or what is installed."""
    if option != "auto":
        return Finding(_known(option, "--init"), f"--init {option}")
    found = running or installed_init(root)
    if found is None:
        raise ConfigurationError(
            "no init system found: neither running nor installed",
            where=str(root),
            remedy=f"name it with --init ({', '.join(INIT_SYSTEMS)})",
        )
    return Finding(_known(found.value, found.evidence), found.evidence)


def _known(name: str, evidence: str) -> Init:
    for init in get_args(Init):
        if name == init:
            return init  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"the init system {name} is not known ({evidence})",
        remedy=f"known are {', '.join(INIT_SYSTEMS)}; choose one with --init if this system has it",
    )


def systemd_version(root: Path) -> int:
    """The major version of the systemd below the root; 0 if it cannot be told.

    From the name of its private library, which needs no program of the root to be run.
    """
    for folder in ("usr/lib/systemd", "usr/lib64/systemd", "usr/lib/*/systemd", "lib/systemd"):
        for library in root.glob(f"{folder}/libsystemd-shared-*.so"):
            if found := re.search(r"shared-(\d+)", library.name):
                return int(found[1])
    return 0


def executable(root: Path, called_by: str) -> Finding[str]:
    """The path of our own program as the boot process must call it.

    On the live system the one that is running, also inside a virtual environment; below another
    root the one installed there. Raises NotInstalledError.
    """
    if root == Path("/"):
        called = Path(called_by)
        if called.name == PROGRAM and called.is_absolute() and called.exists():
            if called.is_symlink():  # which may go, or lead where the units forbid it
                return Finding(str(called.resolve()), f"where {called} leads to")
            return Finding(str(called), "the path this command was called by")
        script = Path(sysconfig.get_path("scripts")) / PROGRAM
        if script.exists():
            place = "virtual environment" if sys.prefix != sys.base_prefix else "Python"
            return Finding(str(script), f"belongs to the {place} this command runs in")
    installed = find_program(root, PROGRAM)
    if installed is None:
        raise NotInstalledError(
            f"the program {PROGRAM} is not installed",
            where=str(root),
            remedy="install the package or the wheel there first",
        )
    return Finding(installed, "installed there")


def service_units(root: Path, pattern: str) -> list[str]:
    """Names of the systemd units below the root that match a pattern."""
    found = {
        unit.name
        for folder in ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
        for unit in (root / folder).glob(pattern)
    }
    return sorted(found)


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """Key and value of each line of a file in the style of os-release."""
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith("#"):
            try:
                yield key, " ".join(shlex.split(value))
            except ValueError:  # an unclosed quote
                yield key, value
