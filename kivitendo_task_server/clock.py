"""The clock, always passed in, so that a test can set it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzlocal

from kivitendo_task_server.errors import ConfigurationError

LOCALTIME = Path("/etc/localtime")


class Clock(Protocol):
    """Tells the time in the local zone of the machine."""

    @property
    def zone(self) -> tzinfo:
        """The zone that job times are meant in."""

    def now(self) -> datetime:
        """The current time, aware, in :attr:`zone`."""


class SystemClock:
    """The machine's own clock and zone; raises ConfigurationError if the zone is unknown."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._given = zone
        self._zone: tzinfo = zone if zone is not None else local_zone()

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


def local_zone(environ: Mapping[str, str] = os.environ, localtime: Path = LOCALTIME) -> tzinfo:
    """The zone of this machine (task-server.md, d.4): ``TZ``, else /etc/localtime, else others.

    It is the zone of all other programs, too: an /etc/timezone that says something else, as
    upgraded systems have it, does not count. Raises ConfigurationError if ``TZ`` is no zone.
    """
    name = environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return _zone_in(Path(name)) if name.startswith("/") else ZoneInfo(name)
        with suppress(OSError, ValueError):
            return _zone_in(localtime)
        return tzlocal.get_localzone()
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ConfigurationError(
            f"the time zone {name!r} is unknown" if name else "the local time zone is unknown",
            where="environment variable TZ" if name else str(localtime),
            remedy="name one such as Europe/Berlin",
        ) from error


def _zone_in(file: Path) -> tzinfo:
    """The zone by the name of the file, or of what it links to; otherwise by its contents."""
    _, separator, name = str(file.resolve()).rpartition("/zoneinfo/")
    if separator:
        with suppress(ZoneInfoNotFoundError, ValueError):
            return ZoneInfo(name)
    with file.open("rb") as content:
        return ZoneInfo.from_file(content, key=str(file))


def wall_time(clock: Clock) -> datetime:
    """The clock's time as kivitendo stores it: naive local time in whole seconds."""
    return clock.now().replace(tzinfo=None, microsecond=0)


def today(clock: Clock) -> date:
    """The current local calendar date (recurring-invoices.md, section 0)."""
    return clock.now().date()
