"""The plan of what is written and removed: checked as a whole, done as a whole or taken back.

An administrator's edit is never overwritten: the new version is put beside the file, under the
name the distribution's own packages use for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.installer import manifest as manifests
from kivitendo_task_server.installer import remembered
from kivitendo_task_server.installer.boot import BootFile
from kivitendo_task_server.installer.host import Family
from kivitendo_task_server.installer.manifest import Entry, Kind, Manifest
from kivitendo_task_server.installer.perl_server import MARK
from kivitendo_task_server.installer.remembered import Remembered
from kivitendo_task_server.installer.tree import FileError, InTheWayError, Tree

# New version beside an edited file, edited file put aside: ignored by insserv, logrotate, systemd.
_SUFFIXES: dict[Family, tuple[str, str]] = {
    "debian": (".dpkg-dist", ".dpkg-old"),
    "redhat": (".rpmnew", ".rpmsave"),
    "suse": (".rpmnew", ".rpmsave"),
    "arch": (".pacnew", ".pacsave"),
}

KEPT_SUFFIX = ".orig"
"""What files that ``adopt`` replaces are kept as; ignored by the same programs."""


@dataclass(frozen=True)
class Step:
    """One thing to do with one file."""

    action: Literal[
        "write", "update", "leave", "remove", "put aside", "put back", "release", "skip"
    ]
    path: str
    note: str = ""
    kind: Kind = "file"
    content: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] | None = None
    new_path: str = ""
    """Where a file that is put aside or put back will be."""

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"{self.action:<9} {self.path}{note}"


class Plan:
    """Collects steps; each is checked when it is added, so a refusal comes before any change."""

    def __init__(self, tree: Tree, manifest: Manifest, family: Family) -> None:
        self._tree = tree
        self._manifest = manifest
        self._beside, self._aside = _SUFFIXES[family]
        self._displaced: set[str] = set()
        self.steps: list[Step] = []

    @property
    def updates(self) -> bool:
        """Whether a boot file that was there before will be replaced."""
        return any(step.action == "update" and step.kind == "file" for step in self.steps)

    def lines(self) -> list[str]:
        """The steps for people; what stays as it is, is left out."""
        return [str(step) for step in self.steps if step.action != "leave" or step.note]

    def boot_file(self, file: BootFile) -> None:
        """Plan a file of ours. Raises FileError if something foreign is in the way."""
        if file.optional:
            try:
                self._tree.check_writable(file.path)
            except FileError as error:
                self.steps.append(Step("skip", file.path, error.what))
                return
        self.file(file.path, file.text.encode(), mode=file.mode)

    def file(
        self,
        path: str,
        content: bytes,
        *,
        mode: int = 0o644,
        owner: tuple[int, int] | None = None,
        kind: Kind = "file",
    ) -> None:
        """Plan to write a file, or its new version beside it if the administrator edited it."""
        if not path.isprintable():
            raise FileError("a path with control characters", where=repr(path))
        present = None if path in self._displaced else self._present(path)
        step = Step("write", path, kind=kind, content=content, mode=mode, owner=owner)
        if present is None:
            self._tree.check_writable(path)
        elif present == content:
            step = Step("leave", path, kind=kind, content=content)
        elif not self._manifest.is_ours(path):
            raise self._foreign(path, present)
        elif self._manifest.is_unchanged(path, present):
            self._tree.check_writable(path)
            step = Step("update", path, kind=kind, content=content, mode=mode, owner=owner)
        else:
            self._edited(path, content, mode)
            return
        self.steps.append(step)

    def settings(self, settings: Remembered) -> None:
        """Plan the installer's own settings: only the lines that change."""
        path = remembered.PATH
        present = self._present(path)
        text = remembered.updated(None if present is None else present.decode(), settings)
        action: Literal["write", "update", "leave"] = "write" if present is None else "update"
        if present == text.encode():
            action = "leave"
        else:
            self._tree.check_writable(path)
        self._tree.check_writable(manifests.PATH)
        self.steps.append(Step(action, path, kind="configuration", content=text.encode()))

    def displace(self, path: str) -> None:
        """Plan to put a foreign file (or link) aside, so that ours can take its place.

        It is remembered, and :meth:`put_back` undoes it. Raises FileError if its new name is taken.
        """
        kept = path + KEPT_SUFFIX
        if not self._tree.is_missing(kept) and not self._manifest.is_ours(kept):
            raise FileError(
                f"{path} cannot be kept here: there is such a file",
                where=self._tree.shown(kept),
                remedy="move it away",
            )
        self._take(Step("put aside", path, f"kept as {kept}", "kept", new_path=kept))
        self._displaced.add(path)

    def put_back(self) -> list[str]:
        """Plan to undo all that was displaced; returns the paths that will be back.

        To be called after the removal of our files is planned. What took our place meanwhile
        stays, for instance kivitendo's own script after an update of kivitendo.
        """
        back = []
        for entry in self._manifest.of_kind("wrapper"):
            content = self._present(entry.path)
            if content is None or self._manifest.is_unchanged(entry.path, content):
                self._take(Step("remove", entry.path, kind="wrapper"))
            else:
                self.steps.append(Step("release", entry.path, "no longer ours", "wrapper"))
        for entry in self._manifest.of_kind("kept"):
            original = entry.path.removesuffix(KEPT_SUFFIX)
            if self._tree.is_missing(entry.path):
                self.steps.append(Step("release", entry.path, "is gone", "kept"))
            elif self._will_be_free(original):
                self._take(Step("put back", entry.path, "", "kept", new_path=original))
                back.append(original)
            else:
                self._take(Step("remove", entry.path, "was replaced meanwhile", "kept"))
        return back

    def _will_be_free(self, path: str) -> bool:
        moved_away = {step.path for step in self.steps if step.action in ("remove", "put aside")}
        return path in moved_away or self._tree.is_missing(path)

    def back_up(self, path: str, backup: str) -> None:
        """Plan to keep a configuration of ours under another name, for good."""
        content = self._present(path) or b""
        note = f"kept as {backup}"
        self._take(Step("put aside", path, note, "configuration", content, new_path=backup))

    def remove(self, paths: Collection[str]) -> None:
        """Plan the removal of these boot files, as far as they are ours."""
        for entry in self._manifest.of_kind("file"):
            if entry.path in paths:
                self._removal(entry, "no longer needed")

    def remove_stale(self, but: Iterable[str] = ()) -> None:
        """Plan the removal of boot files of ours that are no longer among those planned."""
        planned = {step.path for step in self.steps}.union(but)
        for entry in self._manifest.of_kind("file"):
            if entry.path not in planned:
                self._removal(entry, "no longer needed")

    def remove_all(self, *, purge: bool) -> None:
        """Plan the removal of the boot files and, with ``purge``, of all that was generated."""
        for entry in self._manifest.of_kind("file"):
            self._removal(entry, "")
        for entry in self._manifest.of_kind("configuration"):
            if not purge:
                self.steps.append(Step("leave", entry.path, "configuration; --purge removes it"))
            elif not self._tree.is_missing(entry.path):
                self._take(Step("remove", entry.path, kind="configuration"))

    def apply(self) -> None:
        """Do all steps; on an error take back those done. The manifest is kept up to date."""
        undo: list[Callable[[], object]] = []
        entries = dict(self._manifest.entries)
        try:
            for step in self.steps:
                self._do(step, undo)
            self._remove_directories()
            manifests.save(self._tree, self._manifest)
        except BaseException:
            for take_back in reversed(undo):
                with contextlib.suppress(TaskServerError):
                    take_back()
            self._manifest.entries = entries
            raise

    def _do(self, step: Step, undo: list[Callable[[], object]]) -> None:
        tree, manifest, path = self._tree, self._manifest, step.path
        if step.action in ("write", "update"):
            before, status = tree.read(path), tree.status(path)
            made = tree.write(path, step.content, mode=step.mode, owner=step.owner)
            undo.append(lambda: tree.remove_directories(made))
            for directory in made:
                manifest.record("directory", directory)
            if before is None or status is None:
                undo.append(lambda: tree.remove(path))
            else:
                owner, mode = (status.st_uid, status.st_gid), status.st_mode & 0o7777
                undo.append(lambda: tree.write(path, before, mode=mode, owner=owner))
            manifest.record(step.kind, path, step.content)
        elif step.action == "leave" and step.content:
            manifest.record(step.kind, path, step.content)
        elif step.action == "remove":
            tree.remove(path)
            manifest.forget(path)
        elif step.action in ("put aside", "put back"):
            tree.rename(path, step.new_path)
            undo.append(lambda: tree.rename(step.new_path, path))
            manifest.forget(path)
            if step.action == "put aside":
                manifest.record(step.kind, step.new_path, step.content or None)
        elif step.action == "release":
            manifest.forget(path)

    def _remove_directories(self) -> None:
        if not any(step.action in ("remove", "put aside") for step in self.steps):
            return
        directories = [entry.path for entry in self._manifest.of_kind("directory")]
        for path in self._tree.remove_directories(directories):
            self._manifest.forget(path)

    def _edited(self, path: str, content: bytes, mode: int) -> None:
        """The administrator's version stays; the new one goes beside it."""
        beside = path + self._beside
        note = f"edited by the administrator; the new version is {beside}"
        self.steps.append(Step("leave", path, note))
        present = self._present(beside)
        if present is not None and not self._manifest.is_ours(beside):
            raise self._foreign(beside, present)
        action: Literal["write", "update", "leave"] = "write" if present is None else "update"
        if present == content:
            action = "leave"
        else:
            self._tree.check_writable(beside)
        self.steps.append(Step(action, beside, content=content, mode=mode & 0o666))

    def _removal(self, entry: Entry, note: str) -> None:
        if self._tree.is_missing(entry.path):
            self.steps.append(Step("remove", entry.path, "is gone already"))
            return
        content = self._present(entry.path)
        if content is None or self._manifest.is_unchanged(entry.path, content):
            self._take(Step("remove", entry.path, note))
        else:
            aside = entry.path + self._aside
            note = f"edited by the administrator; it is now {aside}"
            # purging removes it, nothing else does
            kind: Kind = "configuration"
            self._take(Step("put aside", entry.path, note, kind, content, new_path=aside))

    def _take(self, step: Step) -> None:
        """Plan to take a file away. Raises FileError, while all still runs, if it cannot be."""
        for path in (step.path, manifests.PATH):
            self._tree.check_writable(path)
        self.steps.append(step)

    def _present(self, path: str) -> bytes | None:
        """What is there now; a link or a directory in the way is refused."""
        return self._tree.read(path)

    def _foreign(self, path: str, content: bytes) -> FileError:
        if MARK in content:
            return InTheWayError(
                "the boot script of kivitendo's Perl task server is in the way",
                where=self._tree.shown(path),
                remedy="kivitendo-task-server adopt takes over from it",
            )
        return InTheWayError(
            "a file that is not ours is in the way",
            where=self._tree.shown(path),
            remedy="move it away, or remove it",
        )
