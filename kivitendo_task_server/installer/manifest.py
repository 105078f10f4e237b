"""What was written where: so that edits are kept, and uninstalling removes ours and only ours.

The manifest is a plain file of lines ``kind sha256 path``, which the package hooks can read without
Python. ``file``: a boot file, replaced and removed as long as it is as we wrote it.
``configuration``: generated, then the administrator's; only purging removes it. ``directory``: made
by us, removed when empty. ``wrapper``: ours in the place of kivitendo's script, and ``kept``:
somebody else's file that ``adopt`` put aside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.installer.tree import Tree

PATH = "/var/lib/kivitendo-task-server/manifest"

Kind: TypeAlias = Literal["file", "configuration", "directory", "wrapper", "kept"]

_HEADER = "# What kivitendo-task-server install wrote: kind, sha256, path. Do not edit.\n"


@dataclass(frozen=True)
class Entry:
    """One line: the checksum is that of the content as we wrote it, ``-`` for directories."""

    kind: Kind
    checksum: str
    path: str


@dataclass
class Manifest:
    """All entries by path."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def record(self, kind: Kind, path: str, content: bytes | None = None) -> None:
        """Remember a file with its content, or a directory."""
        self.entries[path] = Entry(kind, "-" if content is None else checksum(content), path)

    def forget(self, path: str) -> None:
        """Drop an entry, if there is one."""
        self.entries.pop(path, None)

    def of_kind(self, kind: Kind) -> Iterator[Entry]:
        """The entries of one kind, in the order of their paths."""
        return iter(sorted(
            (entry for entry in self.entries.values() if entry.kind == kind),
            key=lambda entry: entry.path,
        ))  # fmt: skip

    def is_ours(self, path: str) -> bool:
        """Whether we wrote this file."""
        return path in self.entries

    def is_unchanged(self, path: str, content: bytes) -> bool:
        """Whether a file is still as we wrote it."""
        entry = self.entries.get(path)
        return entry is not None and entry.checksum == checksum(content)


def checksum(content: bytes) -> str:
    """The SHA-256 of a content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def load(tree: Tree) -> Manifest:
    """Read the manifest; an empty one if nothing is installed. Raises TaskServerError."""
    content = tree.read(PATH)
    manifest = Manifest()
    for number, line in enumerate((content or b"").decode("utf-8", "replace").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        kind, _, rest = line.partition(" ")
        digest, _, path = rest.partition(" ")
        if kind not in get_args(Kind) or not path.startswith("/"):
            raise TaskServerError(
                f"not a line of a manifest: {line[:60]!r}",
                where=f"{tree.shown(PATH)}:{number}",
                remedy="restore the file, or remove it if nothing of ours is installed",
            )
        manifest.entries[path] = Entry(kind, digest, path)  # type: ignore[arg-type]
    return manifest


def save(tree: Tree, manifest: Manifest) -> None:
    """Write the manifest, or remove it and its directory when nothing is left in it."""
    if not manifest.entries:
        tree.remove(PATH)
        tree.remove_directories([PATH.rpartition("/")[0]])
        return
    lines = sorted(f"{each.kind} {each.checksum} {each.path}" for each in manifest.entries.values())
    tree.write(PATH, (_HEADER + "\n".join(lines) + "\n").encode())
