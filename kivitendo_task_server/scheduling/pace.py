"""When the next tick comes: at each full minute of the clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta
from typing import Protocol

from kivitendo_task_server.clock import Clock

LONGEST_NAP = 30.0  # seconds; a machine that slept, or a clock that was set, is noticed by then


class Pace(Protocol):
    """Waits for the next tick; tests bring one that needs no time."""

    async def next_tick(self) -> None:
        """Return when the next tick is due."""


class MinutePace:
    """At each full minute, as cron does it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def next_tick(self) -> None:
        """Wait for the next full minute of the clock."""
        now = self._clock.now().astimezone(UTC)
        minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
        while True:
            rest = (minute - self._clock.now()).total_seconds()
            if rest <= 0 or rest > 60:  # reached, or the clock was set back
                return
            await asyncio.sleep(min(rest, LONGEST_NAP))
