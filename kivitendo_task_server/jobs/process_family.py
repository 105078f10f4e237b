"""A program and everything it has started, however well hidden: to be found, and to be ended.

They are the rest of its session, processes that carry our mark in their environment, their
descendants, and, as orphans of a child come back to us while it runs (PR_SET_CHILD_SUBREAPER),
those that hid from all of this (jobs.md, 3.2).
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

MARK = "KIVITENDO_TASK_SERVER_BRIDGE"
"""The variable of the environment that tells whose process it is."""
GUARD = "kivitendo-task-server: guard of a Perl job"  # the title perl_driver.pl gives its helper
GRACE = 2.0  # seconds between "please end" and the end
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_LONGEST = 65536


class Family:
    """A program and everything it started, however well hidden."""

    def __init__(self, leader: int, mark: str, children_before: frozenset[int]) -> None:
        self._leader = leader
        self._mark = f"{MARK}={mark}".encode()
        self._before = children_before

    def end(self) -> tuple[str, ...]:
        """End them all, first politely; the names of those besides leader and guard."""
        members = self._members()
        names = [_name(pid) for pid in sorted(members - {self._leader})]
        deadline = time.monotonic() + GRACE
        number = signal.SIGTERM
        while members:
            for pid in members:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            time.sleep(0.02)
            members = self._members()
            if number == signal.SIGTERM and time.monotonic() > deadline:
                number = signal.SIGKILL
        return tuple(name for name in names if name != GUARD)

    def _members(self) -> set[int]:
        """Those that run. Reaps the adopted ones that have ended, so as to leave no zombies."""
        processes = {process.pid: process for process in _processes()}
        found = set()
        for pid, process in processes.items():
            adopted = process.parent == os.getpid() and pid not in self._before
            if process.ended:
                if adopted and pid != self._leader:  # the leader is subprocess's to collect
                    with suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)
            elif adopted or process.session == self._leader or self._mark in _environment(pid):
                found.add(pid)
        grown = True
        while grown:
            children = {
                pid
                for pid, process in processes.items()
                if process.parent in found and not process.ended
            }
            grown = not children <= found
            found |= children
        return found - {os.getpid()}


@dataclass(frozen=True)
class _Process:
    pid: int
    parent: int
    session: int
    ended: bool
    """A zombie, waiting to be reaped."""


def _processes() -> Iterator[_Process]:
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if not entry.isdigit():
            continue
        try:
            text = _content(f"/proc/{entry}/stat")
        except OSError:
            continue  # it has just ended
        state, parent, _group, session = text[text.rindex(b")") + 2 :].split(None, 4)[:4]
        yield _Process(int(entry), int(parent), int(session), state in b"ZX")


def _content(file: str) -> bytes:
    """A small file of /proc; far cheaper than pathlib, and there are hundreds of them."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)


def _environment(pid: int) -> bytes:
    try:
        return _content(f"/proc/{pid}/environ")
    except OSError:
        return b""  # another user's, or gone


def _name(pid: int) -> str:
    """The command line, which a program may have rewritten; the bare name if it has none."""
    for file in ("cmdline", "comm"):
        with suppress(OSError):
            text = _content(f"/proc/{pid}/{file}").decode("utf-8", "replace")
            if words := text.replace("\0", " ").strip():
                return words[:80]
    return "?"


@contextmanager
def adopting_orphans() -> Iterator[frozenset[int]]:
    """Let orphaned descendants become our children; yields the children there are already."""
    libc = ctypes.CDLL(None, use_errno=True)
    was = ctypes.c_int(0)
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(was), 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ours = os.getpid()
    try:
        yield frozenset(process.pid for process in _processes() if process.parent == ours)
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, was.value, 0, 0, 0)
