"""The supervisor's side of the workers: starting them through the spawner, hearing them, ending."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling.messages import INTERRUPT, Batch, encode_batch
from kivitendo_task_server.scheduling.spawner import (
    fork_spawner,
    request_signal,
    request_worker,
)

log = logger(__name__)

LONGEST_LINE = 1 << 20  # bytes of one message of a worker, or of one line that a job prints
GRACE = 5.0  # seconds that an interrupted job has to clean up behind itself


class _Line(asyncio.StreamReaderProtocol):
    """A worker's line; its end is no error, however it comes.

    A worker that ends without having read its "stop" resets the line. What it had sent before
    must not be lost for that.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(None)


class Worker:
    """One worker process, seen from the supervisor."""

    def __init__(self, pid: int, signal_it: Callable[[int, int], None]) -> None:
        self.pid = pid
        self.reason: str | None = None
        """Why it was interrupted by us."""
        self.own_fault = False
        """It was interrupted for what its job did."""
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Exit code; negative: the signal's number (as in subprocess)."""
        self._signal_it = signal_it
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._output: asyncio.StreamReader | None = None
        self._output_pipe: asyncio.ReadTransport | None = None

    async def connect(self, control: socket.socket, output: int) -> None:
        """Attach our ends of its lines."""
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=LONGEST_LINE)
        line = _Line(self._reader)
        transport, _ = await loop.create_connection(lambda: line, sock=control)
        self._writer = asyncio.StreamWriter(transport, line, self._reader, loop)
        self._output = asyncio.StreamReader(limit=LONGEST_LINE)
        protocol = asyncio.StreamReaderProtocol(self._output)
        pipe = os.fdopen(output, "rb", buffering=0)
        self._output_pipe, _ = await loop.connect_read_pipe(lambda: protocol, pipe)

    def give(self, batch: Batch) -> None:
        """Hand over its work."""
        assert self._writer is not None
        self._writer.write(encode_batch(batch))

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """What it reports, until it is silent for ever."""
        assert self._reader is not None
        while True:
            try:
                line = await self._reader.readline()
                if not line.endswith(b"\n"):
                    return
                message = json.loads(line)
            except ValueError as error:  # longer than any line of ours, or the end of such a one
                log.error(
                    "the worker's report cannot be read: %s",
                    error,
                    extra=fields("worker_report_unreadable", pid=self.pid),
                )
            else:
                yield message

    async def output(self) -> AsyncIterator[str]:
        """Lines that its jobs print."""
        assert self._output is not None
        while True:
            try:
                line = await self._output.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                line = end.partial
                if not line:
                    return
            except asyncio.LimitOverrunError:
                line = await self._output.read(LONGEST_LINE)
            yield line.decode("utf-8", "replace").rstrip("\r\n")

    def stop(self) -> None:
        """Let it finish the running job and begin no other."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(b"stop")

    def interrupt(self, reason: str, *, own_fault: bool = False) -> None:
        """End it now; a job that does not end within GRACE seconds is killed."""
        if self.reason is not None or self.ended.done():
            return
        self.reason, self.own_fault = reason, own_fault
        self._signal_it(self.pid, INTERRUPT)
        asyncio.get_running_loop().call_later(GRACE, self._kill)

    def _kill(self) -> None:
        if not self.ended.done():
            self._signal_it(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Give the lines back."""
        if self._writer is not None:
            self._writer.close()
        if self._output_pipe is not None:
            self._output_pipe.close()


class WorkerPool:
    """Starts workers; begun with :meth:`begin`, ended with :meth:`end`."""

    def __init__(self, spawner: tuple[int, socket.socket]) -> None:
        self._spawner_pid, self._channel = spawner
        self._starting: deque[asyncio.Future[int]] = deque()
        self._workers: dict[int, Worker] = {}

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Those that run."""
        return tuple(self._workers.values())

    def begin(self) -> None:
        """Listen to the spawner."""
        asyncio.get_running_loop().add_reader(self._channel, self._heard)

    async def start(self, batch: Batch) -> Worker:
        """A new worker, with its work. Raises OSError if none can be started."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        ours.setblocking(False)
        started: asyncio.Future[int] = loop.create_future()
        try:
            request_worker(self._channel, theirs.fileno(), write)
            self._starting.append(started)
        except OSError:
            ours.close()
            os.close(read)
            raise
        finally:
            theirs.close()
            os.close(write)
        pid = await asyncio.shield(started)
        worker = self._workers[pid]
        await worker.connect(ours, read)
        worker.give(batch)
        return worker

    def end(self) -> None:
        """Let the spawner go; there are no workers any more."""
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._spawner_pid, 0)

    def _signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(OSError):
            request_signal(self._channel, pid, number)

    def _heard(self) -> None:
        while True:
            try:
                content = self._channel.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                content = b""
            if not content:
                self._spawner_gone()
                return
            message = json.loads(content)
            if "started" in message:
                pid = message["started"]
                self._workers[pid] = Worker(pid, self._signal)
                self._starting.popleft().set_result(pid)
            else:
                self._ended(message["ended"], message["status"])

    def _ended(self, pid: int, status: int) -> None:
        worker = self._workers.pop(pid, None)
        if worker is not None and not worker.ended.done():
            worker.ended.set_result(status)

    def _spawner_gone(self) -> None:
        """Its workers died with it; begin anew."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._channel)
        self._channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._spawner_pid, 0)
        log.error(
            "the process that starts workers is gone; starting another",
            extra=fields("spawner_gone", pid=self._spawner_pid),
        )
        for pid in tuple(self._workers):
            self._ended(pid, -signal.SIGKILL)
        while self._starting:
            self._starting.popleft().set_exception(OSError("the spawner is gone"))
        self._spawner_pid, self._channel = fork_spawner()
        self.begin()
