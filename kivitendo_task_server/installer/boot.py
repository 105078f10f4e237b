"""The boot files for a host: which templates apply, and their texts.

Templates are in ``templates/boot``. A value a template uses and nobody gave is an error, not an
empty string (StrictUndefined).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2

from kivitendo_task_server.installer.host import Host, inside, service_units
from kivitendo_task_server.installer.installation import Installation
from kivitendo_task_server.installer.remembered import PATH as SETTINGS
from kivitendo_task_server.templating import templates_directory

NAME = "kivitendo-task-server"
UMBRELLA = f"{NAME}.service"
UNITS = "/etc/systemd/system"
PACKAGED_UNITS = "/usr/lib/systemd/system"
DROP_INS = f"{UNITS}/{NAME}@.service.d"
INIT_SCRIPT = f"/etc/init.d/{NAME}"
TMPFILES = f"/etc/tmpfiles.d/{NAME}.conf"
SYSUSERS = f"/etc/sysusers.d/{NAME}.conf"

_HOMES = ("/home", "/root", "/run/user")


@dataclass(frozen=True)
class BootFile:
    """A file to be written: its path as seen inside the root, and its whole text."""

    path: str
    text: str
    mode: int = 0o644
    optional: bool = False
    """Left out where its directory does not exist or cannot be written."""


@dataclass(frozen=True)
class Word:
    """An option or a command, and what it does."""

    text: str
    help: str

    @property
    def is_option(self) -> bool:
        """Whether it is offered only after a hyphen has been typed."""
        return self.text.startswith("-")


@dataclass(frozen=True)
class Valued:
    """An option that takes a value, in all its spellings, and what is offered for it."""

    options: tuple[str, ...]
    kind: Literal["choices", "file", "directory", "user", "other"]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandLine:
    """What can be typed, for the shells' completion.

    ``after`` has the words that may follow each command, such as ``tenant add``.
    """

    first: tuple[Word, ...]
    after: Mapping[str, tuple[Word, ...]]
    valued: tuple[Valued, ...]


def unit_name(instance: str) -> str:
    """The systemd unit of an instance."""
    return f"{NAME}@{instance}.service"


def path_unit_name(instance: str) -> str:
    """The systemd unit that answers the web interface's start requests (``adopt``)."""
    return f"{NAME}@{instance}.path"


def packaged_umbrella(user: str) -> str:
    """The umbrella as the RPM packages it, for the web server's user of the distribution.

    Where it is just what the installer would write, the installer writes none.
    """
    return render(f"systemd/{UMBRELLA}", {"user": user, "protect_home": "yes"})


def boot_files(
    host: Host, installation: Installation, program: str, commands: CommandLine, *, adopted: bool
) -> list[BootFile]:
    """All files that make the service part of the boot process of this host.

    ``adopted``: kivitendo's web interface starts and stops the service.
    """
    values = _values(host, installation, program)
    files = {
        "systemd": _systemd_files,
        "sysv": _sysv_files,
        "upstart": _upstart_files,
        "openrc": _openrc_files,
    }[host.init.value](host, installation, values, adopted)
    if host.has("/etc/logrotate.d") and not _is_rotated(host, installation.log_file):
        text = render("logrotate/kivitendo-task-server", values)
        files.append(BootFile(f"/etc/logrotate.d/{NAME}", text, optional=True))
    return [*files, *_completions(host, commands)]


def render(template: str, values: dict[str, Any]) -> str:
    """The text of one template below ``templates/boot`` (without its suffix ``.j2``)."""
    return _environment().get_template(f"boot/{template}.j2").render(values)


def _values(host: Host, installation: Installation, program: str) -> dict[str, Any]:
    directory = installation.directory.value
    needed = (directory, program, *installation.write_paths)
    units: Sequence[str] = ()
    if installation.database_is_local.value:
        units = [
            unit for unit in service_units(host.root, "postgresql*.service") if "@" not in unit
        ] or ["postgresql.service"]
    return {
        "program": program,
        "directory": directory,
        "settings": SETTINGS,
        "user": installation.user.value.name,
        "group": installation.user.value.group,
        "write_paths": installation.write_paths,
        "log_file": installation.log_file,
        "database_units": units,
        "stop_timeout": installation.stop_timeout,
        "systemd_version": host.systemd_version,
        "protect_home": "read-only" if any(_in_home(host, path) for path in needed) else "yes",
    }


def _in_home(host: Host, path: str) -> bool:
    """Whether a path, or where its links lead, is in a home, which units are shut out of."""
    real = inside(host.root, path)
    return any(
        Path(path).is_relative_to(home) or real.is_relative_to(host.root / home.lstrip("/"))
        for home in _HOMES
    )


def _systemd_files(
    host: Host, installation: Installation, values: dict[str, Any], adopted: bool
) -> list[BootFile]:
    def unit(name: str) -> BootFile:
        return BootFile(f"{UNITS}/{name}", render(f"systemd/{name}", values))

    sendmail = "sendmail.conf" if installation.sendmail.value else "sendmail.conf.example"
    umbrella = unit(UMBRELLA)
    files = [
        # one that is there is kept up to date: it is the one that counts, and may have been edited
        *([umbrella] if host.has(umbrella.path) or not _is_packaged(host, umbrella) else []),
        unit(f"{NAME}-wait.service"),
        unit(f"{NAME}@.service"),
        BootFile(f"{DROP_INS}/{sendmail}", render("systemd/sendmail.conf", values)),
        BootFile(
            f"{DROP_INS}/libreoffice.conf.example", render("systemd/libreoffice.conf", values)
        ),
    ]
    if installation.user.value.uid is None and host.program("systemd-sysusers"):
        text = render("sysusers/kivitendo-task-server.conf", values)
        files.append(BootFile(SYSUSERS, text))
    if adopted:
        files.append(unit(f"{NAME}@.path"))
        text = render("tmpfiles/kivitendo-task-server.conf", values)
        files.append(BootFile(TMPFILES, text))
    return files


def _is_packaged(host: Host, unit: BootFile) -> bool:
    """Whether a package has brought the very same unit."""
    packaged = host.root / PACKAGED_UNITS.lstrip("/") / Path(unit.path).name
    return packaged.is_file() and packaged.read_bytes() == unit.text.encode()


def _sysv_files(
    host: Host, installation: Installation, values: dict[str, Any], adopted: bool
) -> list[BootFile]:
    family = "debian" if host.family.value == "arch" else host.family.value
    text = render(f"sysv/{family}/kivitendo-task-server", values)
    return [BootFile(INIT_SCRIPT, text, mode=0o755)]


def _upstart_files(
    host: Host, installation: Installation, values: dict[str, Any], adopted: bool
) -> list[BootFile]:
    return [
        BootFile(f"/etc/init/{name}", render(f"upstart/{name}", values))
        for name in (f"{NAME}.conf", f"{NAME}-instance.conf")
    ]


def _openrc_files(
    host: Host, installation: Installation, values: dict[str, Any], adopted: bool
) -> list[BootFile]:
    if host.has_lsb_scripts:
        return _sysv_files(host, installation, values, adopted)
    return [BootFile(INIT_SCRIPT, render("openrc/kivitendo-task-server", values), mode=0o755)]


def _is_rotated(host: Host, log_file: str) -> bool:
    """Whether somebody else's file has logrotate see to the log: twice would be an error."""
    for file in sorted((host.root / "etc/logrotate.d").iterdir()):
        if file.name != NAME and file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(log_file in line.partition("#")[0] for line in lines):
                return True
    return False


def _completions(host: Host, commands: CommandLine) -> list[BootFile]:
    """Completion for the shells that look for it: in the first of their folders that exists."""
    values = {"first": commands.first, "after": commands.after, "valued": commands.valued}
    places = {
        "bash": (
            f"/usr/share/bash-completion/completions/{NAME}",
            f"/etc/bash_completion.d/{NAME}",
        ),
        "zsh": (
            f"/usr/share/zsh/vendor-completions/_{NAME}",
            f"/usr/share/zsh/site-functions/_{NAME}",
        ),
    }
    files = []
    for shell, paths in places.items():
        path = next((path for path in paths if host.has(path.rpartition("/")[0])), None)
        if path is not None:
            text = render(f"completion/{shell}", values)
            files.append(BootFile(path, text, optional=True))
    return files


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_directory()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # shell and units: each value names its own escaping
    )
    environment.filters |= {
        "sh": shlex.quote,
        "unit": _unit,
        "unit_word": _unit_word,
        "quoted": _quoted,
        "zsh_choice": _zsh_choice,
    }
    return environment


def _unit(text: str) -> str:
    """A value of a unit that is taken as a whole, blanks included."""
    return text.replace("%", "%%")


def _unit_word(text: str) -> str:
    """One word of a unit's list; paths with quotes and the like have been refused before."""
    escaped = _unit(text)
    return f'"{escaped}"' if " " in escaped else escaped


def _quoted(text: str) -> str:
    return f'"{text}"'


def _zsh_choice(word: Word) -> str:
    """``word:what it does`` for zsh's _describe."""
    escaped = word.text.replace(":", "\\:")
    return f"{escaped}:{word.help}" if word.help else escaped
