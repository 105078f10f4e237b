"""How many of our connections stay open between ticks, and how many others we open at a time.

Opening one costs PostgreSQL and us far more than a look at a tenant. But each open one is a process
there, and their number is limited: half of what a server allows is left to kivitendo.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from kivitendo_task_server.config.settings import DatabaseAccess

OTHERS_AT_A_TIME = 8
"""Connections to one server, apart from the kept ones, that we have open at the same time."""
COUNT_INTERVAL = 50.0  # seconds in which one count of a server's sessions is enough


@dataclass
class _Server:
    allowed: int = 0
    """Its max_connections."""
    used: int = 0
    """Sessions of all its users when they were counted, and what we have kept or released since."""
    counted_at: float | None = None
    kept: int = 0
    surplus: int = 0
    """So many of the kept ones are to be given back."""
    others: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OTHERS_AT_A_TIME))


class KeptConnections:
    """How many connections to each server are kept open between ticks."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, int], _Server] = {}

    def others(self, access: DatabaseAccess) -> asyncio.Semaphore:
        """To be held by whoever has a connection open that is not kept."""
        return self._server(access).others

    def count_is_due(self, access: DatabaseAccess) -> bool:
        """Whether somebody should count the server's sessions again: true for the first to ask."""
        server, now = self._server(access), time.monotonic()
        if server.counted_at is not None and now - server.counted_at < COUNT_INTERVAL:
            return False
        server.counted_at = now
        return True

    def counted(self, access: DatabaseAccess, allowed: int, used: int) -> None:
        """The server allows so many sessions, and so many there are, ours among them."""
        server = self._server(access)
        server.allowed, server.used, server.counted_at = allowed, used, time.monotonic()
        crowded = used > allowed * 3 // 4
        server.surplus = max(0, min(used - allowed // 2, server.kept - 1)) if crowded else 0

    def keep(self, access: DatabaseAccess) -> bool:
        """Whether one more may be kept; then it counts until :meth:`release`. One always may."""
        server = self._server(access)
        if server.kept and server.used >= server.allowed // 2:
            return False
        server.kept += 1
        server.used += 1
        return True

    def is_surplus(self, access: DatabaseAccess) -> bool:
        """Whether one that is kept is to be released, because others have come."""
        return self._server(access).surplus > 0

    def release(self, access: DatabaseAccess) -> None:
        """One of the kept ones is closed."""
        server = self._server(access)
        server.kept -= 1
        server.used -= 1
        server.surplus = max(0, server.surplus - 1)

    def _server(self, access: DatabaseAccess) -> _Server:
        return self._servers.setdefault((access.host, access.port), _Server())
