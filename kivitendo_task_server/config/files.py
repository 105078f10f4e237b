"""Reading the configuration files, and the merge of the delivered defaults with the local file."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from kivitendo_task_server.config.grammar import Entry, ParsedFile, parse
from kivitendo_task_server.config.location import present
from kivitendo_task_server.errors import ConfigurationError

DEFAULT_FILES = ("config/kivitendo.conf.default", "config/lx_office.conf.default")
"""Below the kivitendo directory; the first that exists is always read first."""

LARGEST_FILE = 4 * 1024 * 1024
"""Bytes. A real file has some 20,000; more is a mistake, such as a path to a device."""

Sections: TypeAlias = Mapping[str, Mapping[str, Entry]]


def read_file(file: Path) -> ParsedFile:
    """Read and parse one file (task-server.md, a.1.5 to a.2).

    Raises ConfigurationError if it is missing, not a plain file, unreadable, locked or wrong.
    """
    return parse(_content(file), file)


def default_file(kivitendo_dir: Path) -> Path:
    """The delivered defaults of this installation. Raises ConfigurationError if there are none."""
    for name in DEFAULT_FILES:
        if present(kivitendo_dir / name):
            return kivitendo_dir / name
    raise ConfigurationError(
        "the delivered default configuration is missing",
        where=str(kivitendo_dir / DEFAULT_FILES[0]),
        remedy="restore it from kivitendo's sources",
    )


def merged(defaults: ParsedFile, local: ParsedFile) -> dict[str, dict[str, Entry]]:
    """Section -> key -> entry: keys of the local file replace the defaults' (a.3).

    An empty value in the local file counts: this is how a default is switched off.
    """
    result = {section: dict(entries) for section, entries in defaults.sections.items()}
    for section, entries in local.sections.items():
        result.setdefault(section, {}).update(entries)
    return result


def _content(file: Path) -> bytes:
    try:
        # without O_NONBLOCK, a named pipe would wait for its writer
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(file, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigurationError(
            "not a regular file", where=str(file), remedy="put a configuration file in its place"
        )
    with os.fdopen(descriptor, "rb") as opened:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                "the configuration file is locked by another program",
                where=str(file),
                remedy=f"wait until it has finished; 'fuser {file}' names it",
            ) from error
        except OSError:
            pass  # a file system without locks
        try:
            content = opened.read(LARGEST_FILE + 1)
        except OSError as error:
            raise _unreadable(file, error) from error
    if len(content) > LARGEST_FILE:
        raise ConfigurationError(
            f"larger than {LARGEST_FILE // 1024 // 1024} MB, so hardly a configuration file",
            where=str(file),
            remedy="check the path",
        )
    return content


def _unreadable(file: Path, error: OSError) -> ConfigurationError:
    what = "the configuration file cannot be read: " + (error.strerror or str(error)).lower()
    remedy = None
    if error.errno == errno.ENOENT:
        what = "the configuration file does not exist"
        remedy = "check the path; a new one is made by copying config/kivitendo.conf.default"
        if file.is_symlink():
            remedy = f"it is a symbolic link to {file.readlink()}; create that file"
    elif error.errno == errno.EACCES:
        remedy = "let the user or group of the service read it, and enter the directories above it"
    elif error.errno == errno.ELOOP:
        remedy = "a symbolic link leads back to itself; let it lead to the file"
    return ConfigurationError(what, where=str(file), remedy=remedy)
