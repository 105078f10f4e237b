"""What supervisor, spawner and workers tell each other, and how it travels.

A worker gets one :class:`Batch` (pickled: both ends are this program) and then perhaps ``stop``;
it sends lines of JSON with a key ``event``.
"""

from __future__ import annotations

import json
import pickle
import signal
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kivitendo_task_server.clock import Clock
from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database.due import DueRule
from kivitendo_task_server.database.tenants import Tenant

_LENGTH = struct.Struct("!I")
_ENCODER = json.JSONEncoder(default=str)
INTERRUPT = signal.SIGUSR1
"""Tells a worker to end its job now."""
INTERRUPTED = 75
"""Exit code of a worker that did."""
LONGEST_TEXT = 32_000  # characters of a log message or an error that travel


@dataclass(frozen=True)
class Interruption:
    """Why a worker of ours ended in the middle of a job."""

    pid: int
    reason: str
    own_fault: bool
    """The job's doing (it crashed, took too long, used too much memory): not to be repeated."""


@dataclass(frozen=True)
class Batch:
    """What one worker does: some jobs of one tenant, one after the other."""

    tenant: Tenant
    settings: Settings
    clock: Clock
    kivitendo_dir: Path
    rule: DueRule
    jobs: tuple[int, ...]
    forced: bool = False
    """Run the jobs whether they are due or not (``--run-job``)."""
    interrupted: Mapping[int, Interruption | None] = field(default_factory=dict)
    """Jobs whose interruption is to be recorded first, and why, if we know."""


def encode_batch(batch: Batch) -> bytes:
    """The batch as bytes for a stream."""
    content = pickle.dumps(batch)
    return _LENGTH.pack(len(content)) + content


def receive_batch(channel: socket.socket) -> Batch | None:
    """Worker's side; None if the supervisor went away before it sent one."""
    head = _receive(channel, _LENGTH.size)
    content = head and _receive(channel, _LENGTH.unpack(head)[0])
    if not content:
        return None
    batch = pickle.loads(content)
    assert isinstance(batch, Batch)
    return batch


def _receive(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(size - len(parts))
        if not part:
            return b""
        parts += part
    return bytes(parts)


def encode(event: str, **values: Any) -> bytes:
    """One message as a line."""
    return _ENCODER.encode({"event": event, **values}).encode() + b"\n"
