"""Notices changes of files: configuration and templates. Part of an asyncio loop, no thread.

inotify on the directories tells of editors' rename-over, of writes in place, of switched symbolic
links, and of files that appear and vanish. Where inotify is not to be had, the files are compared
every few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from kivitendo_task_server.config.inotify import DirectoryEvents, InotifyUnavailable
from kivitendo_task_server.config.watched import fingerprint, watch_points
from kivitendo_task_server.log import fields, logger

log = logger(__name__)

LONGEST_DEBOUNCE = 5
"""Times the debounce: so long can a change be put off by further ones."""


class Watcher:
    """Calls ``on_change`` when the content of a file has changed, once for changes in a row.

    Start it before the files are read, so that no change falls between.
    """

    def __init__(
        self,
        files: Iterable[Path],
        on_change: Callable[[], None],
        *,
        debounce: float = 0.3,
        poll_interval: float = 2.0,
        recheck_interval: float = 60.0,
    ) -> None:
        """All times in seconds.

        ``debounce`` of quiet must follow a change; ``poll_interval`` is that without inotify;
        ``recheck_interval`` is how often the files are compared although inotify works, for what
        it cannot see: network file systems, directories renamed further up.
        """
        self._files = tuple(dict.fromkeys(files))
        self._on_change = on_change
        self._debounce = debounce
        self._poll_interval = poll_interval
        self._recheck_interval = recheck_interval
        self._known: dict[Path, bytes] = {}
        self._names: set[str] = set()
        self._events: DirectoryEvents | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._check_at: asyncio.TimerHandle | None = None
        self._check_by = 0.0
        self._tick_at: asyncio.TimerHandle | None = None

    @property
    def polling(self) -> bool:
        """Whether the files are compared every few seconds, because inotify is unavailable."""
        return self._loop is not None and self._events is None

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Begin to watch, in ``loop`` (default: the running one)."""
        self._loop = loop or asyncio.get_running_loop()
        try:
            self._events = DirectoryEvents()
            self._loop.add_reader(self._events.fileno(), self._read_events)
        except InotifyUnavailable as error:
            self._poll_instead(error)
        self._watch()
        self._known = self._fingerprints()
        self._tick_later()

    def set_files(self, files: Iterable[Path]) -> None:
        """Watch these files instead; what they hold now counts as known."""
        self._files = tuple(dict.fromkeys(files))
        if self._loop is not None:
            self._watch()
            now = self._fingerprints()
            # a change of a file that stays must not get lost
            self._known = {file: self._known.get(file, now[file]) for file in now}

    def close(self) -> None:
        """Stop watching; may be called twice."""
        for handle in (self._check_at, self._tick_at):
            if handle is not None:
                handle.cancel()
        self._check_at = self._tick_at = None
        self._close_events()
        self._loop = None

    def _fingerprints(self) -> dict[Path, bytes]:
        return {file: fingerprint(file) for file in self._files}

    def _watch(self) -> None:
        """Let inotify watch what leads to the files now."""
        points = watch_points(self._files)
        self._names = set().union(*points.values())
        if self._events is not None:
            try:
                self._events.watch(points)
            except InotifyUnavailable as error:
                self._poll_instead(error)

    def _poll_instead(self, reason: InotifyUnavailable) -> None:
        self._close_events()
        log.warning(
            "changes of the configuration are looked for every %g seconds, because inotify is"
            " unavailable: %s",
            self._poll_interval,
            reason,
            extra=fields("watch_polling", interval=self._poll_interval),
        )
        if self._tick_at is not None:  # otherwise start() does it
            self._tick_at.cancel()
            self._tick_later()

    def _close_events(self) -> None:
        if self._events is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._events.fileno())
            self._events.close()
            self._events = None

    def _read_events(self) -> None:
        assert self._events is not None
        # by name alone: whichever directory it is in, a check too many does no harm
        if any(name is None or name in self._names for name in self._events.read()):
            self._check_later()

    def _check_later(self) -> None:
        """Check after a time of quiet, but not for ever later."""
        assert self._loop is not None
        now = self._loop.time()
        if self._check_at is None:
            self._check_by = now + LONGEST_DEBOUNCE * self._debounce
        else:
            self._check_at.cancel()
        self._check_at = self._loop.call_at(min(now + self._debounce, self._check_by), self._check)

    def _check(self) -> None:
        self._check_at = None
        # first watch, then read: what changes after the reading is an event again
        self._watch()
        found = self._fingerprints()
        if found != self._known:
            self._known = found
            self._on_change()

    def _tick_later(self) -> None:
        assert self._loop is not None
        interval = self._poll_interval if self._events is None else self._recheck_interval
        self._tick_at = self._loop.call_later(interval, self._tick)

    def _tick(self) -> None:
        self._tick_later()
        if self._check_at is None and self._fingerprints() != self._known:
            self._check_later()
        elif self._events is not None:
            self._watch()
