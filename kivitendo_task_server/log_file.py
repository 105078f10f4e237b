"""Kivitendo's debug file as a target of the log: opened safely, and anew after rotation."""

from __future__ import annotations

import logging
import logging.handlers
import os
import stat
from io import TextIOWrapper
from pathlib import Path

from kivitendo_task_server.errors import ConfigurationError


class DebugFileHandler(logging.handlers.WatchedFileHandler):
    """Appends to kivitendo's debug file; opens it anew when it was rotated away.

    The original opens the file for every message and so never notices rotation; this does what
    its users see, without the cost.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> TextIOWrapper:
        return _open_log(Path(self.baseFilename))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            # the rotated file cannot be opened again (directory gone, disk full): logging must
            # not end what it reports on, and the next message tries again
            self.handleError(record)


def check_writable(file: Path) -> None:
    """Raise ConfigurationError if the log cannot be written; creates it where it is missing."""
    try:
        _open_log(file).close()
    except OSError as error:
        raise ConfigurationError(
            f"the log file cannot be written: {error.strerror}",
            where=str(file),
            remedy="give it to the user the service runs as, or change [debug] file_name",
        ) from error


def _open_log(file: Path) -> TextIOWrapper:
    """Open a log for appending, safely even as root in a directory that belongs to another.

    There a link is refused, as the directory's owner could point it at any file of the system;
    and a file made by root is given to that owner, as kivitendo writes to it too (weakness 13).
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    owner = file.parent.stat()
    foreign = os.geteuid() == 0 and owner.st_uid != 0
    if foreign:
        flags |= os.O_NOFOLLOW
    created = False
    try:
        descriptor = os.open(file, flags)
    except FileNotFoundError:
        descriptor = os.open(file, flags | os.O_CREAT | (os.O_EXCL if foreign else 0), 0o640)
        created = True
    try:
        found = os.fstat(descriptor)
        if foreign and (not stat.S_ISREG(found.st_mode) or found.st_nlink != 1):
            raise PermissionError(1, "not a plain file, in a directory of another user")
        if foreign and created:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")
    except BaseException:
        os.close(descriptor)
        raise
