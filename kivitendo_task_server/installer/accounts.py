"""The users of the system below a root: of the running one also those of a directory service."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Account:
    """A system user with its main group; ``uid`` is None while it is still to be created."""

    name: str
    uid: int | None
    gid: int | None
    group: str

    def __str__(self) -> str:
        return self.name


def account(root: Path, name: str) -> Account | None:
    """The user of that name in the system below the root."""
    return next(iter(_accounts(root, name=name)), None)


def owner(root: Path, uid: int) -> Account | None:
    """The user with that number in the system below the root."""
    return next(iter(_accounts(root, uid=uid)), None)


def _accounts(root: Path, *, name: str | None = None, uid: int | None = None) -> Iterable[Account]:
    if root == Path("/"):  # also users of a directory service
        try:
            entry = pwd.getpwnam(name) if name is not None else pwd.getpwuid(uid or 0)
        except KeyError:
            return
        try:
            group = grp.getgrgid(entry.pw_gid).gr_name
        except KeyError:
            group = str(entry.pw_gid)
        yield Account(entry.pw_name, entry.pw_uid, entry.pw_gid, group)
        return
    groups = {fields[2]: fields[0] for fields in _table(root / "etc/group", 4)}
    for fields in _table(root / "etc/passwd", 7):
        if fields[0] == name or (name is None and fields[2] == str(uid)):
            group = groups.get(fields[3], fields[3])
            yield Account(fields[0], int(fields[2]), int(fields[3]), group)


def _table(file: Path, width: int) -> Iterable[list[str]]:
    """The lines of passwd or group that have all their fields, with numbers where they belong."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(":")
        if len(fields) == width and fields[2].isdigit() and (width < 7 or fields[3].isdigit()):
            yield fields
