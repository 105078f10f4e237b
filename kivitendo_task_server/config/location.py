"""Where kivitendo is installed, and which configuration file applies.

Unlike the original (task-server.md, a.1.1), the command can be called from anywhere, also through
symbolic links; the order of the places is that of the documentation of ``--kivitendo-dir``.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.errors import ConfigurationError, NotInstalledError, UsageError

VARIABLE = "KIVITENDO_DIR"
INSTALLER_FILE = Path("/etc/kivitendo-task-server.conf")
"""Written by the installer: ``kivitendo_dir = /path`` and ``run_as = user``."""
INSTALLER_KEY = "kivitendo_dir"

MARKS = (
    "config/kivitendo.conf.default",
    "config/lx_office.conf.default",
    "SL/System/TaskServer.pm",
)
"""A kivitendo directory has at least one of these."""

LOCAL_FILES = ("config/kivitendo.conf", "config/lx_office.conf", "config/kivitendo.conf.default")
"""The configuration file without ``-c``: the first that exists (a.1.4)."""

USUAL_PLACES = tuple(
    Path(place)
    for place in (
        "/var/www/kivitendo-erp",
        "/var/www/html/kivitendo-erp",
        "/var/www/kivitendo",
        "/opt/kivitendo-erp",
        "/opt/kivitendo",
        "/usr/share/kivitendo-erp",
        "/usr/lib/kivitendo-erp",
        "/srv/www/kivitendo-erp",
        "/srv/www/htdocs/kivitendo-erp",
        "/srv/kivitendo-erp",
        "/var/www/lx-office-erp",
    )
)

_LONGEST_CHAIN = 40
"""Symbolic links followed, like the kernel's limit."""


@dataclass(frozen=True)
class Surroundings:
    """All that the search looks at."""

    option: str | None
    """``--kivitendo-dir``."""
    config_option: str | None
    """``-c``."""
    called_by: str
    """The path the command was called by, ``sys.argv[0]``."""
    cwd: Path
    environ: Mapping[str, str]
    installer_file: Path = INSTALLER_FILE
    usual_places: Sequence[Path] = USUAL_PLACES


@dataclass(frozen=True)
class Location:
    """A kivitendo directory, and the rule that found it, as the end of "found by …"."""

    kivitendo_dir: Path
    rule: str


def is_kivitendo_dir(directory: Path) -> bool:
    """Whether the directory holds kivitendo, by kivitendo's own files."""
    # here and below os.path, whose tests never raise, unlike pathlib's
    return any(os.path.exists(directory / mark) for mark in MARKS)  # noqa: PTH110


def locate(around: Surroundings) -> Location:
    """The first kivitendo directory in the documented order.

    A directory that is named (option, environment, installer's setting) must be one. Raises
    NotInstalledError, listing where it looked.
    """
    named = _named(around)
    if named is not None:
        return named
    looked: list[str] = []
    for place, directories in _places(around):
        for directory in directories:
            if is_kivitendo_dir(directory):
                return Location(_tidy(directory), place)
        looked.append(place)
    raise NotInstalledError(
        f"no kivitendo directory found by: {'; '.join(looked)}"
        f" ({', '.join(map(str, around.usual_places))})",
        remedy=f"name it with --kivitendo-dir, or in the environment variable {VARIABLE}",
    )


def configuration_file(option: str | None, *, kivitendo_dir: Path, cwd: Path) -> Path:
    """The local configuration file (a.1.4), its links not resolved.

    ``option`` (``-c``) is relative to the kivitendo directory, or else to the caller's. Raises
    ConfigurationError if there is no such file (i.9), or none at all.
    """
    if option is None:
        for name in LOCAL_FILES:
            if present(kivitendo_dir / name):
                return kivitendo_dir / name
        raise ConfigurationError(
            "no configuration file found",
            where=str(kivitendo_dir / LOCAL_FILES[0]),
            remedy="copy config/kivitendo.conf.default to config/kivitendo.conf and edit it,"
            " or name another file with -c",
        )
    if not option:
        raise UsageError("-c needs the name of a file")
    candidates = tuple(dict.fromkeys((kivitendo_dir / option, cwd / option)))
    for candidate in candidates:
        if present(candidate):
            return candidate
    raise ConfigurationError(
        "the configuration file does not exist",
        where=" and ".join(map(str, candidates)),
        remedy="check -c; its path is relative to the kivitendo directory or the current one",
    )


def present(file: Path) -> bool:
    """Whether there is such a file, as far as we may see: reading it tells what is wrong with it.

    A symbolic link that leads nowhere is present.
    """
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def installers_user(kivitendo_dir: Path, file: Path = INSTALLER_FILE) -> str | None:
    """The user the installer chose for this kivitendo directory, if it was installed for it."""
    directory = _installers_setting(file, INSTALLER_KEY)
    if not directory or Path(directory).resolve() != kivitendo_dir.resolve():
        return None
    return _installers_setting(file, "run_as")


def _named(around: Surroundings) -> Location | None:
    """The directory somebody named, if anybody did."""
    names = (
        (around.option, "--kivitendo-dir"),
        (around.environ.get(VARIABLE), f"the environment variable {VARIABLE}"),
        (
            _installers_setting(around.installer_file, INSTALLER_KEY),
            f"the installer's setting in {around.installer_file}",
        ),
    )
    for name, rule in names:
        if not name:
            if name == "" and rule == "--kivitendo-dir":
                raise UsageError("--kivitendo-dir needs a directory")
            continue
        directory = around.cwd / name
        if not is_kivitendo_dir(directory):
            closed = os.path.isdir(directory) and not os.access(directory, os.X_OK)  # noqa: PTH112
            raise NotInstalledError(
                "the directory may not be entered by this user"
                if closed
                else f"not a kivitendo directory: it has no {MARKS[0]}",
                where=f"{directory}, named by {rule}",
                remedy="correct it",
            )
        return Location(_tidy(directory), rule)
    return None


def _places(around: Surroundings) -> Iterator[tuple[str, Iterator[Path]]]:
    """The places to search if nobody named a directory."""
    if around.config_option:
        config_file = around.cwd / around.config_option
        yield f"the place of -c {around.config_option}", _ancestors_by_links(config_file)
    if called_by := _called_by(around):
        yield f"the path of the command, {called_by}", _ancestors_by_links(called_by)
    yield f"the current directory, {around.cwd}", iter((around.cwd,))
    yield "the usual places", iter(around.usual_places)


def _called_by(around: Surroundings) -> Path | None:
    if not around.called_by:
        return None
    if "/" in around.called_by:
        return around.cwd / around.called_by
    found = shutil.which(around.called_by, path=around.environ.get("PATH"))
    return around.cwd / found if found else None


def _ancestors_by_links(path: Path) -> Iterator[Path]:
    """The directories above a file, above each link it goes through, and above the real file."""
    chain = [path]
    while os.path.islink(chain[-1]) and len(chain) < _LONGEST_CHAIN:  # noqa: PTH114
        chain.append(chain[-1].parent / chain[-1].readlink())
    # a loop of links has no real path; Python below 3.13 calls it a RuntimeError
    with suppress(OSError, RuntimeError):
        chain.append(path.resolve())
    for each in chain:
        for parent in each.parents:
            yield parent
            if parent.name == "..":
                break  # what stands in front of it is not above the file


def _tidy(directory: Path) -> Path:
    """Without ``..``; otherwise as it was named, because links may be meant to be switched."""
    return directory.resolve() if ".." in directory.parts else directory


def _installers_setting(file: Path, wanted: str) -> str | None:
    """One key of the small ``key = value`` file, if there is one."""
    try:
        content = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotInstalledError(
            f"the installer's setting cannot be read: {(error.strerror or str(error)).lower()}",
            where=str(file),
            remedy="let everybody read the file; it holds no secrets",
        ) from error
    for line in content.splitlines():
        key, separator, value = line.partition("=")
        if separator and key.strip().lower() == wanted:
            return value.strip().strip("\"'") or None
    return None
