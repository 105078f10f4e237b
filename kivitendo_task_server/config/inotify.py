"""inotify on a set of directories, by pyinotify."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

LIMITS = {
    "ENOSPC": "raise the limit with sysctl fs.inotify.max_user_watches",
    "EMFILE": "raise the limit with sysctl fs.inotify.max_user_instances, or that of open files",
}


class InotifyUnavailable(Exception):  # noqa: N818 - a state, not a mistake
    """inotify cannot be used, or not for all directories; the text says why."""


class DirectoryEvents:
    """Tells the names of what changes in some directories."""

    def __init__(self) -> None:
        """Raises InotifyUnavailable."""
        self._pyinotify = _pyinotify()
        try:
            self._manager = self._pyinotify.WatchManager()
        except (OSError, self._pyinotify.PyinotifyError) as error:
            raise _unavailable(error) from error
        # pyinotify's descriptor would be inherited by every program we start
        os.set_inheritable(self._manager.get_fd(), False)
        self._changed: list[str | None] = []
        self._notifier = self._pyinotify.Notifier(self._manager, self._take)
        of = self._pyinotify
        # not IN_MODIFY: while a writer has the file open, it is half of a file
        self._mask = (
            of.IN_CLOSE_WRITE | of.IN_CREATE | of.IN_DELETE | of.IN_MOVED_FROM | of.IN_MOVED_TO
            | of.IN_ATTRIB | of.IN_DELETE_SELF | of.IN_MOVE_SELF | of.IN_ONLYDIR
        )  # fmt: skip

    def fileno(self) -> int:
        """The descriptor that becomes readable when something has changed."""
        descriptor: int = self._manager.get_fd()
        return descriptor

    def watch(self, directories: Iterable[Path]) -> None:
        """Watch these directories, and no others. Raises InotifyUnavailable if one cannot be.

        A directory that stays watched keeps its watch; one that was replaced under its name gets
        a new one.
        """
        wanted: set[int] = set()
        for directory in directories:
            try:
                added = self._manager.add_watch(str(directory), self._mask, quiet=False)
            except self._pyinotify.WatchManagerError as error:
                if os.path.isdir(directory):  # noqa: PTH112 - never raises
                    raise _unavailable(error) from error
                continue  # gone just now: what removed it is an event of the directory above
            except UnicodeEncodeError as error:
                reason = f"pyinotify cannot watch a path in another encoding: {directory}"
                raise InotifyUnavailable(reason) from error
            wanted.update(added.values())
        self._manager.rm_watch([wd for wd in self._manager.watches if wd not in wanted])

    def read(self) -> list[str | None]:
        """The names that have changed; None stands for "anything". Never waits."""
        try:
            self._notifier.read_events()
            self._notifier.process_events()
        except (UnicodeDecodeError, self._pyinotify.NotifierError):
            self._changed.append(None)  # pyinotify cannot read a name that is not UTF-8
        changed, self._changed = self._changed, []
        return changed

    def close(self) -> None:
        """Give the descriptor back."""
        self._notifier.stop()

    def _take(self, event: Any) -> None:
        # no name: the directory itself, or events were lost
        self._changed.append(getattr(event, "name", None) or None)


def _pyinotify() -> ModuleType:
    """Import pyinotify, quietly. Raises InotifyUnavailable."""
    with warnings.catch_warnings():
        # it imports asyncore, which it does not need here
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import pyinotify
        except Exception as error:  # whatever an incomplete installation raises
            raise InotifyUnavailable(f"pyinotify cannot be imported: {error}") from error
    # what matters comes to us as an exception; its own handler would write to stderr
    pyinotify.log.disabled = True
    module: ModuleType = pyinotify
    return module


def _unavailable(error: Exception) -> InotifyUnavailable:
    reason = str(error) or type(error).__name__
    remedies = [remedy for name, remedy in LIMITS.items() if name in reason]
    return InotifyUnavailable("; ".join([reason, *remedies]))
