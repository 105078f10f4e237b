"""The line between the supervisor and a worker, up to its end."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from kivitendo_task_server.scheduling.messages import encode
from kivitendo_task_server.scheduling.pool import Worker


def test_a_worker_that_ends_without_reading_its_stop_is_heard_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The kernel resets a line whose end was closed with something unread in it."""

    async def hear() -> list[dict[str, Any]]:
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        os.close(write)
        ours.setblocking(False)
        worker = Worker(1, lambda pid, number: None)
        await worker.connect(ours, read)
        worker.stop()
        theirs.sendall(encode("recorded", job=1) + encode("done"))
        theirs.close()
        reader = worker._reader
        assert reader is not None
        while not (reader._eof or reader.exception()):  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        heard = [message async for message in worker.messages()]
        worker.close()
        return heard

    assert [message["event"] for message in asyncio.run(hear())] == ["recorded", "done"]
    assert caplog.record_tuples == []


def test_a_report_that_is_too_long_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would read on otherwise: the worker would wait for ever, and its tenant with it."""

    async def hear() -> list[str]:
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        os.close(write)
        ours.setblocking(False)
        worker = Worker(1, lambda pid, number: None)
        await worker.connect(ours, read)
        lines = encode("log", text="x" * 5_000_000) + encode("recorded", job=1) + encode("done")
        sending = asyncio.get_running_loop().run_in_executor(None, theirs.sendall, lines)
        heard = []
        async for message in worker.messages():
            heard.append(message["event"])
            if message["event"] == "done":
                break
        await sending
        worker.close()
        theirs.close()
        return heard

    assert asyncio.run(hear()) == ["recorded", "done"]
    assert {record.fields["action"] for record in caplog.records} == {  # type: ignore[attr-defined]
        "worker_report_unreadable"
    }
