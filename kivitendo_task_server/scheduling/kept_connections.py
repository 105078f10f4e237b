"""How many of our connections stay open between ticks.

Opening one costs PostgreSQL and us far more than a look at a tenant, but each open one is a process
there, and their number is limited: most of them must be left to kivitendo.
"""

from __future__ import annotations

from collections import Counter

from kivitendo_task_server.config.settings import DatabaseAccess

SHARE = 4
"""We keep at most one in so many of a server's connections open."""


class KeptConnections:
    """How many connections to each server are kept open between ticks."""

    def __init__(self) -> None:
        self._kept: Counter[tuple[str, int]] = Counter()

    def keep(self, access: DatabaseAccess, max_connections: int) -> bool:
        """Whether one more may be kept; then it counts until :meth:`release`."""
        server = (access.host, access.port)
        if self._kept[server] >= max(1, max_connections // SHARE):
            return False
        self._kept[server] += 1
        return True

    def release(self, access: DatabaseAccess) -> None:
        """One of the kept ones is closed."""
        self._kept[access.host, access.port] -= 1
