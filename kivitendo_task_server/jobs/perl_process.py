"""Supervises one short-lived program: time, memory, its output, and everything it started.

The program gets one line on a descriptor of its own and answers with one line on another; standard
input is empty, standard output and error go line by line to the caller (jobs.md, 3.2). The program
is the leader of a session. When it has ended, whatever it started is ended too: the rest of its
session, processes that carry our mark in their environment, their descendants, and, as orphans of
a child come back to us while it runs (PR_SET_CHILD_SUBREAPER), those that hid from all of this.
"""

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "KIVITENDO_TASK_SERVER_BRIDGE"
GUARD = "kivitendo-task-server: guard of a Perl job"  # the title perl_driver.pl gives its helper
GRACE = 2.0  # seconds between "please end" and the end
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_CHUNK = 65536


@dataclass(frozen=True)
class Limits:
    """What one program may use; None means no limit."""

    time: float | None = None
    """Seconds."""
    memory: int | None = None
    """Bytes of address space, for each process."""
    logged: int = 256 * 1024
    """Bytes of output that are passed on; the rest is counted and thrown away."""
    report: int = 64 * 1024 * 1024
    """Bytes of the answer."""


@dataclass
class Ended:
    """How a program ended."""

    report: bytes = b""
    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    last_words: str = ""
    """The last lines of its standard error."""
    suppressed: int = 0
    """Bytes of output that were thrown away."""
    left_running: tuple[str, ...] = ()
    """Names of the processes it had started that had to be ended after it."""


LineSink = Callable[[str, str], None]
"""Gets ``stdout`` or ``stderr``, and a line without its end."""


def supervise(
    command: Sequence[str],
    request: bytes,
    *,
    directory: Path,
    environment: Mapping[str, str],
    limits: Limits,
    on_line: LineSink,
) -> Ended:
    """Run ``command`` with two descriptor numbers appended, and wait for its end.

    While it runs, the calling process must not start other programs in other threads: what
    appears among its children is taken for the program's. Raises OSError if it cannot be started.
    """
    mark = uuid.uuid4().hex
    request_read, request_write = os.pipe()
    report_read, report_write = os.pipe()
    with _adopting_orphans() as before:
        try:
            process = subprocess.Popen(
                [*command, str(request_read), str(report_write)],
                cwd=directory,
                env={**environment, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(request_read, report_write),
                start_new_session=True,
            )
        except BaseException:
            os.close(report_read)
            os.close(request_write)
            raise
        finally:
            os.close(request_read)
            os.close(report_write)
        family = _Family(process.pid, mark, before)
        try:
            if limits.memory is not None:
                with suppress(ProcessLookupError):
                    _limit_memory(process.pid, limits.memory)
            with suppress(BrokenPipeError):  # it ended at once; its end tells why
                # the limits hold before the program has anything to do
                _write_all(request_write, request + b"\n")
            return _Watch(process, report_read, family, limits, on_line).wait()
        finally:
            os.close(request_write)
            family.end()
            process.wait()
            os.close(report_read)


def _limit_memory(pid: int, limit: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class _Watch:
    """Reads everything a program says until it has ended or its time is over."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        report: int,
        family: _Family,
        limits: Limits,
        on_line: LineSink,
    ) -> None:
        assert process.stdout is not None and process.stderr is not None
        self._process = process
        self._family = family
        self._limits = limits
        self._ended = Ended()
        self._report = report
        self._streams = {
            process.stdout.fileno(): _Lines("stdout", on_line),
            process.stderr.fileno(): _Lines("stderr", on_line),
        }
        self._logged = 0
        self._last_words = b""
        self._stderr = process.stderr.fileno()

    def wait(self) -> Ended:
        deadline = None if self._limits.time is None else time.monotonic() + self._limits.time
        selector = selectors.DefaultSelector()
        for descriptor in (self._report, *self._streams):
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        end = _end_of(self._process)
        if end is not None:
            selector.register(end, selectors.EVENT_READ)
        try:
            while self._process.poll() is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    self._ended.timed_out = True
                    break
                if end is None:  # a kernel without pidfd_open
                    left = min(0.1, left) if left is not None else 0.1
                for key, _ in selector.select(left):
                    if key.fd != end and not self._read(key.fd):
                        selector.unregister(key.fd)
        finally:
            selector.close()
            if end is not None:
                os.close(end)
        return self._finish()

    def _finish(self) -> Ended:
        ended = self._ended
        others = self._family.end()
        ended.left_running = () if ended.timed_out else others
        code = self._process.wait()
        ended.exit_code, ended.signal = (code, None) if code >= 0 else (None, -code)
        # nobody of them is left to write: what is still in the pipes is all there is
        for descriptor in (self._report, *self._streams):
            with suppress(OSError):
                for _ in range(64):
                    if not self._read(descriptor):
                        break
        for lines in self._streams.values():
            lines.close()
        assert self._process.stdout is not None and self._process.stderr is not None
        self._process.stdout.close()
        self._process.stderr.close()
        ended.last_words = self._last_words.decode("utf-8", "replace").strip()
        return ended

    def _read(self, descriptor: int) -> bool:
        """Take what is there; False at the end of the stream."""
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            return False
        if descriptor == self._report:
            room = self._limits.report - len(self._ended.report)
            self._ended.report += chunk[:room]
            return True
        if descriptor == self._stderr:
            self._last_words = (self._last_words + chunk)[-2000:]
        room = max(0, self._limits.logged - self._logged)
        self._logged += len(chunk)
        self._ended.suppressed += max(0, len(chunk) - room)
        self._streams[descriptor].feed(chunk[:room])
        return True


class _Lines:
    """Cuts a stream of bytes into lines; a line without end is passed on in pieces."""

    _LONGEST = 8192

    def __init__(self, name: str, sink: LineSink) -> None:
        self._name = name
        self._sink = sink
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._pass_on(line)
        if len(self._rest) > self._LONGEST:
            self._pass_on(self._rest)
            self._rest = b""

    def close(self) -> None:
        if self._rest:
            self._pass_on(self._rest)
        self._rest = b""

    def _pass_on(self, line: bytes) -> None:
        self._sink(self._name, line.rstrip(b"\r").decode("utf-8", "replace"))


class _Family:
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
        return os.read(descriptor, _CHUNK)
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


def _end_of(process: subprocess.Popen[bytes]) -> int | None:
    """A descriptor that becomes readable when the process ends."""
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        return None


@contextmanager
def _adopting_orphans() -> Iterator[frozenset[int]]:
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
