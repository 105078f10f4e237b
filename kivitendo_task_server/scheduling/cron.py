"""When a job runs next: kivitendo's cron dialect, and the rules at changes of the clock.

What a specification means follows task-server.md, d.2 and d.3; the calendar is croniter's, which
gets our understanding of the fields as plain lists of numbers, so that none of the extensions
croniter has and kivitendo has not (names, ``@daily``, seconds, ``L``, ``#``) can take effect.

**Changes of the clock** follow Debian's cron:

* A *fixed* time (neither the minute nor the hour is a wildcard: no ``*``, not the whole range)
  which the clock skips runs right after the gap, and one that occurs twice runs once, at its first
  occurrence. Jumps of more than three hours are corrections of the zone, not summer time.
* A *wildcard* follows real time: nothing is made up after a gap, and in the repeated hour it goes
  on as in any other.

**Storage.** kivitendo keeps next_run_at as local time without a zone, so in the night when the
hour from 2 to 3 exists twice, "02:05" alone does not say which one is meant. Only wildcards ever
need the second one. No mark is stored for it, because the row tells: after a run in the first
02:55, whose next run is the second 02:00, next_run_at is not later than last_run_at, which is
impossible otherwise. The due rule (:mod:`kivitendo_task_server.database.due`) holds such a row
back until the clock has been set back; in the second hour plain comparison is right again.
A restart and another node see the same rows and so decide the same. (A run that began before the
repeated hour and ends in the first half of it leaves no such trace; it is followed by one run
that is early by at most an hour.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from croniter import croniter

from kivitendo_task_server.scheduling.cron_fields import (
    DAY,
    HOUR,
    MINUTE,
    MONTH,
    WEEKDAY,
    CronError,
    CronField,
    parse_field,
)
from kivitendo_task_server.scheduling.cron_words import in_words

__all__ = ["CronError", "Schedule"]

MAXIMUM_LENGTH = 255  # of kivitendo's column, in characters
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LONGEST_JUMP = timedelta(hours=3)  # as Debian's cron
_A_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Schedule:
    """An understood cron specification."""

    spec: str
    minute: CronField
    hour: CronField
    day: CronField
    month: CronField
    weekday: CronField
    ignored: str = ""
    """What stands behind the fifth field; kivitendo does not look at it."""

    @classmethod
    def parse(cls, spec: str | None) -> Schedule:
        """Understand ``spec``; None, "" and "0" mean every minute.

        Raises CronError with the text that kivitendo has for it.
        """
        text = "* * * * *" if spec in (None, "", "0") else str(spec)
        try:
            if len(text) > MAXIMUM_LENGTH:
                raise CronError(f"More than {MAXIMUM_LENGTH} characters.")
            words = text.split(maxsplit=5)
            if len(words) < 5:
                raise CronError(
                    "At least five cron entry fields required.",
                    remedy="minute, hour, day of the month, month and weekday;"
                    " short forms such as @daily are not known",
                )
            minute, hour, day, month, weekday = map(
                parse_field, (MINUTE, HOUR, DAY, MONTH, WEEKDAY), words
            )
            _check_days_exist(day, month)
        except CronError as error:
            place = f"cron specification {text!r}"
            error.where = f"{place}, {error.where}" if error.where else place
            raise
        ignored = words[5].strip() if len(words) > 5 else ""
        return cls(text, minute, hour, day, month, weekday, ignored)

    def describe(self) -> str:
        """When it runs, in words: ``at 03:00, every day``."""
        return in_words(self.minute, self.hour, self.day, self.month, self.weekday)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What kivitendo accepts in this specification and a reader may not expect."""
        fields = (self.minute, self.hour, self.day, self.month, self.weekday)
        found = [remark for field in fields for remark in field.remarks]
        if self.ignored:
            found.append(f"{self.ignored!r} behind the fifth field is ignored")
        return tuple(found)

    @property
    def follows_real_time(self) -> bool:
        """Whether it is a wildcard in the sense of the rules at changes of the clock."""
        return self.minute.wildcard or self.hour.wildcard

    def next_after(self, now: datetime) -> datetime:
        """The first time strictly later than ``now``, both aware and in the zone of ``now``.

        What is stored is its wall-clock part (``.replace(tzinfo=None)``). Compare results in
        UTC: Python compares times of one zone by their wall clock. Raises CronError if there is
        no next time before the year 10000.
        """
        if now.tzinfo is None:
            raise ValueError("an aware time is needed")
        candidates = [self._next_by_wall_clock(now)]
        if self.follows_real_time:
            candidates += self._in_the_repeated_hour(now)
        return min(candidates, key=_utc)

    def _next_by_wall_clock(self, now: datetime) -> datetime:
        assert now.tzinfo is not None
        for wall in self._matches_after(_wall(now)):
            for moment in self._moments(wall, now.tzinfo):
                if _utc(moment) > _utc(now):
                    return moment
        raise AssertionError("the matches have no end")

    def _moments(self, wall: datetime, zone: tzinfo) -> Iterator[datetime]:
        """When a matching wall-clock minute runs: once, twice, or never."""
        first = wall.replace(tzinfo=zone)
        jump = _jump(first)
        if jump > timedelta(0):
            if not self.follows_real_time and jump <= _LONGEST_JUMP:
                while _jump(first) > timedelta(0):
                    first += _A_MINUTE
                yield first
            return
        yield first
        if self.follows_real_time and jump:
            yield first.replace(fold=1)

    def _in_the_repeated_hour(self, now: datetime) -> Iterator[datetime]:
        """The first match of the second pass whose wall-clock time is not later than now's.

        Others are found by the wall clock alone.
        """
        assert now.tzinfo is not None
        back = -_jump(now)
        if now.fold or back <= timedelta(0):
            return
        wall = _wall(now)
        for match in self._matches_after(wall - back):
            if match > wall:
                return
            if _jump(match.replace(tzinfo=now.tzinfo)) < timedelta(0):
                yield match.replace(tzinfo=now.tzinfo, fold=1)
                return

    def _matches_after(self, wall: datetime) -> Iterator[datetime]:
        """All matching wall-clock minutes later than ``wall``, in order, zones aside."""
        try:
            matches = croniter(self._for_croniter(), wall)
            while True:
                yield matches.get_next(datetime)
        except (ValueError, OverflowError) as error:
            raise CronError(
                "There is no next time.", where=f"cron specification {self.spec!r}"
            ) from error

    def _for_croniter(self) -> str:
        day, weekday = self.day, self.weekday
        either = day.restricted and weekday.restricted
        if either and (day.complete or weekday.complete):
            days = weekdays = "*"
        else:
            days = _numbers(day) if day.restricted else "*"
            weekdays = _numbers(weekday) if weekday.restricted else "*"
        return " ".join(
            (
                _numbers(self.minute),
                _numbers(self.hour),
                days,
                _numbers(self.month),
                weekdays,
            )
        )


def _check_days_exist(day: CronField, month: CronField) -> None:
    longest = max(_DAYS_OF_MONTH[number - 1] for number in month.values)
    if day.restricted and min(day.values) > longest:
        raise CronError("Impossible last day for provided months.")


def _jump(moment: datetime) -> timedelta:
    """How far the clock is set forward (a gap) or back (negative) around this wall-clock time."""
    before, after = moment.replace(fold=0).utcoffset(), moment.replace(fold=1).utcoffset()
    assert before is not None and after is not None
    return after - before


def _numbers(field: CronField) -> str:
    """The field for croniter, whose Sunday is 0 in all versions."""
    if field.complete:
        return "*"
    values = (n % 7 for n in field.values) if field.kind is WEEKDAY else field.values
    return ",".join(map(str, values))


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _wall(moment: datetime) -> datetime:
    """The naive wall-clock minute that ``moment`` lies in."""
    return moment.replace(tzinfo=None, fold=0, second=0, microsecond=0)
