"""The clock, always passed in, so that a test can set it."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from typing import Protocol

import tzlocal


class Clock(Protocol):
    """Tells the time in the local zone of the machine."""

    @property
    def zone(self) -> tzinfo:
        """The zone that job times are meant in."""

    def now(self) -> datetime:
        """The current time, aware, in :attr:`zone`."""


class SystemClock:
    """The machine's own clock and zone (task-server.md, d.4)."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._given = zone
        self._zone: tzinfo = zone if zone is not None else tzlocal.get_localzone()

    def __reduce__(self) -> tuple[type[SystemClock], tuple[tzinfo | None]]:
        # a zone read from /etc/localtime that has no name cannot be pickled
        return SystemClock, (self._given,)

    @property
    def zone(self) -> tzinfo:
        return self._zone

    def now(self) -> datetime:
        return datetime.now(UTC).astimezone(self._zone)


class FixedClock:
    """A clock that stands still until it is set; for replayed vectors and tests."""

    def __init__(self, moment: datetime) -> None:
        if moment.tzinfo is None:
            raise ValueError("a clock needs an aware time")
        self.moment = moment

    @property
    def zone(self) -> tzinfo:
        assert self.moment.tzinfo is not None
        return self.moment.tzinfo

    def now(self) -> datetime:
        return self.moment


def wall_time(clock: Clock) -> datetime:
    """The clock's time as kivitendo stores it: naive local time in whole seconds."""
    return clock.now().replace(tzinfo=None, microsecond=0)


def today(clock: Clock) -> date:
    """The current local calendar date (recurring-invoices.md, section 0)."""
    return clock.now().date()
