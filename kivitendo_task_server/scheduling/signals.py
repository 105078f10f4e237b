"""The signals a service is controlled by: none is lost, none strikes at the wrong moment.

While the service starts and while it puts its things away they are blocked: they wait until the
supervisor handles them, or for ever. In the original a wake-up during the start kills
(task-server.md, c.6). Handlers that raise would be no way: Python drops what is raised inside
callbacks of forks and finalizers.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

CONTROL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)


def defer() -> None:
    """Let them wait from now on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, CONTROL)


def let_through() -> None:
    """Deliver them, those that have waited at once; also if our caller had blocked them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CONTROL)


@contextmanager
def deferred() -> Iterator[None]:
    """Let them wait in this block, unless it lets them through; then be as before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, CONTROL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
