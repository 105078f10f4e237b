"""What to watch so that no change of some files is missed, and how to tell that they changed."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterable
from pathlib import Path

_LONGEST_CHAIN = 40
"""Symbolic links followed, like the kernel's limit."""


def watch_points(files: Iterable[Path]) -> dict[Path, set[str]]:
    """Directory -> names in it whose change may change one of the files.

    These are the file itself, every symbolic link on the way to it (of a directory, too), and of a
    path that leads nowhere the first name that is missing.
    """
    points: dict[Path, set[str]] = {}
    for file in files:
        _follow(file, points)
    return points


def _follow(file: Path, points: dict[Path, set[str]]) -> None:
    file = Path(os.path.abspath(file)) if not file.is_absolute() else file  # noqa: PTH100
    current, ahead, links = Path(file.anchor), deque(file.parts[1:]), 0
    while ahead:
        name = ahead.popleft()
        if name == "..":
            current = current.parent  # no link, for links on the way are followed
            continue
        path = current / name
        try:
            mode = path.lstat().st_mode
            target = path.readlink() if stat.S_ISLNK(mode) else None
        except OSError:
            mode, target = 0, None
        if stat.S_ISDIR(mode) and ahead:
            current = path
            continue
        points.setdefault(current, set()).add(name)
        links += 1
        if target is None or links > _LONGEST_CHAIN:
            return
        ahead.extendleft(reversed([part for part in target.parts if part != target.anchor]))
        if target.is_absolute():
            current = Path(target.anchor)


def fingerprint(file: Path) -> bytes:
    """The file's content, or why there is none; the same as long as both are.

    The content and not its time of change counts: two changes within a tick of the kernel's clock
    can have the same time and size, and a touched file has not changed.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?").encode()
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b"not a file"
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            # some kilobytes; a digest would need hashlib, and with it OpenSSL in the idle service
            return b"content " + opened.read()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?").encode()
    finally:
        os.close(descriptor)
