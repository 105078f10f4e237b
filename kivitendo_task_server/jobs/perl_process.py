"""Supervises one short-lived program: time, memory, its output, and everything it started.

The program gets one line on a descriptor of its own and answers with one line on another; standard
input is empty, standard output and error go line by line to the caller (jobs.md, 3.2). The program
is the leader of a session. When it has ended, whatever it started is ended too
(process_family.py).
"""

from __future__ import annotations

import os
import resource
import selectors
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.jobs.process_family import MARK, Family, adopting_orphans

TIME_CHECKS = 1.0  # seconds between looks at the clock, where the time is limited
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
    given_up: bool = False
    """It was ended because the condition did not hold any more."""
    last_words: str = ""
    """The last lines of its standard error."""
    suppressed: int = 0
    """Bytes of output that were thrown away."""
    left_running: tuple[str, ...] = ()
    """Names of the processes it had started that had to be ended after it."""


@dataclass(frozen=True)
class Condition:
    """What must hold while a program runs; asked whenever something happens on a descriptor."""

    descriptor: int
    holds: Callable[[], bool]


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
    condition: Condition | None = None,
) -> Ended:
    """Run ``command`` with two descriptor numbers appended, and wait for its end.

    While it runs, the calling process must not start other programs in other threads: what
    appears among its children is taken for the program's. Raises OSError if it cannot be started.
    """
    mark = uuid.uuid4().hex
    request_read, request_write = os.pipe()
    report_read, report_write = os.pipe()
    with adopting_orphans() as before:
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
        family = Family(process.pid, mark, before)
        try:
            if limits.memory is not None:
                with suppress(ProcessLookupError):
                    _limit_memory(process.pid, limits.memory)
            with suppress(BrokenPipeError):  # it ended at once; its end tells why
                # the limits hold before the program has anything to do
                _write_all(request_write, request + b"\n")
            return _Watch(process, report_read, family, limits, on_line).wait(condition)
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
        family: Family,
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

    def wait(self, condition: Condition | None) -> Ended:
        selector = selectors.DefaultSelector()
        for descriptor in (self._report, *self._streams):
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        end = _end_of(self._process)
        if end is not None:
            selector.register(end, selectors.EVENT_READ)
        if condition is not None:
            selector.register(condition.descriptor, selectors.EVENT_READ)
        left, last = self._limits.time, time.monotonic()
        try:
            while self._process.poll() is None:
                if left is not None and left <= 0:
                    self._ended.timed_out = True
                    break
                pause = None if left is None else min(left, TIME_CHECKS)
                if end is None:  # a kernel without pidfd_open
                    pause = 0.1 if pause is None else min(pause, 0.1)
                for key, _ in selector.select(pause):
                    if condition is not None and key.fd == condition.descriptor:
                        self._ended.given_up = not condition.holds()
                    elif key.fd != end and not self._read(key.fd):
                        selector.unregister(key.fd)
                if self._ended.given_up:
                    break
                now = time.monotonic()
                if left is not None:  # time in which we were stopped ourselves does not count
                    left -= min(now - last, 2 * TIME_CHECKS)
                last = now
        finally:
            selector.close()
            if end is not None:
                os.close(end)
        return self._finish()

    def _finish(self) -> Ended:
        ended = self._ended
        others = self._family.end()
        ended.left_running = () if ended.timed_out or ended.given_up else others
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


def _end_of(process: subprocess.Popen[bytes]) -> int | None:
    """A descriptor that becomes readable when the process ends."""
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        return None
