"""The small process that workers are forked from.

It is forked from the service before that opens anything, knows no database and has no threads, so
its forks are cheap, share their memory, and inherit no connection or lock of the supervisor. It
reports the end of each worker, and takes all of them along when the supervisor is gone.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import time
import traceback
from pathlib import Path
from typing import Any

from kivitendo_task_server.scheduling.messages import INTERRUPT
from kivitendo_task_server.without_ssl import import_without_ssl

_PR_SET_PDEATHSIG = 1
GRACE = 5.0  # seconds between INTERRUPT and SIGKILL for workers whose supervisor is gone


def fork_spawner() -> tuple[int, socket.socket]:
    """Start the spawner; returns its process id and the socket to talk to it.

    It keeps nothing of what is open but the standard descriptors, in particular no lock.
    """
    import_without_ssl("psycopg2")  # both sides need it: loaded before they part, it is shared
    inherited = _open_descriptors()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gc.freeze()  # what is there now stays shared between the processes
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            _replace_by_null(inherited)
            _Spawner(theirs).serve()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    theirs.close()
    ours.setblocking(False)
    return pid, ours


def request_worker(channel: socket.socket, control: int, output: int) -> None:
    """Ask for a worker that talks through ``control`` and whose output goes to ``output``."""
    socket.send_fds(channel, [b'{"do": "start"}'], [control, output])


def request_signal(channel: socket.socket, pid: int, number: int) -> None:
    """Ask to send a signal to a worker and the processes of its group, if it still exists."""
    channel.send(json.dumps({"do": "signal", "pid": pid, "signal": number}).encode())


def _open_descriptors() -> tuple[int, ...]:
    numbers = (int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    return tuple(number for number in numbers if number > 2)


def _replace_by_null(descriptors: tuple[int, ...]) -> None:
    """Take descriptors away whose owners (in memory we share) must not find them reused."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.dup2(null, descriptor, inheritable=False)
    os.close(null)


class _Spawner:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._workers: set[int] = set()
        self._libc = ctypes.CDLL(None, use_errno=True)

    def serve(self) -> None:
        """Answer requests until the supervisor is gone."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            # the supervisor decides when to end, also if the whole group gets the signal
            signal.signal(number, signal.SIG_IGN)
        # the supervisor blocks its signals while it starts, and its caller may have blocked more
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._inherited = (self._channel.fileno(), woken, wake)
        _preload()
        gc.freeze()
        waiting = select.poll()
        waiting.register(self._channel, select.POLLIN)
        waiting.register(woken, select.POLLIN)
        while True:
            for descriptor, _ in waiting.poll():
                if descriptor == woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(woken, 4096)
                    self._report_ended()
                elif not self._answer():
                    self._end_all()
                    return

    def _answer(self) -> bool:
        """Handle one request; False if nobody is there any more."""
        try:
            content, descriptors, _, _ = socket.recv_fds(self._channel, 4096, 2)
        except ConnectionError:
            return False
        if not content:
            return False
        request = json.loads(content)
        if request["do"] == "start":
            control, output = array.array("i", descriptors)
            self._start(control, output)
        elif request["pid"] in self._workers:  # not reaped yet: the number is still its own
            _signal_group(request["pid"], request["signal"])
        return True

    def _start(self, control: int, output: int) -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                # its own death, however it comes, ends with ours
                self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                signal.set_wakeup_fd(-1)
                for descriptor in self._inherited:
                    os.close(descriptor)
                from kivitendo_task_server.scheduling.worker_process import work

                code = work(socket.socket(fileno=control), output)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(control)
        os.close(output)
        self._workers.add(pid)
        self._tell({"started": pid})

    def _report_ended(self) -> None:
        while self._workers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._workers.discard(pid)
            self._tell({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            self._channel.send(json.dumps(message).encode())

    def _end_all(self) -> None:
        for pid in self._workers:
            _signal_group(pid, INTERRUPT)
        deadline = time.monotonic() + GRACE
        while self._workers and time.monotonic() < deadline:
            self._report_ended()
            time.sleep(0.05)
        for pid in self._workers:
            _signal_group(pid, signal.SIGKILL)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        # between its fork and setpgid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _preload() -> None:
    """Import what every worker needs, once."""
    import kivitendo_task_server.jobs.registry
    import kivitendo_task_server.scheduling.cron
    import kivitendo_task_server.scheduling.worker_process  # noqa: F401
