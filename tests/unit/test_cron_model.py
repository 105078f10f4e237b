"""The schedule against a slow and obvious model: Debian's cron, minute by minute.

The oracle knows nothing of croniter, of folds or of gaps: it looks at the local clock each real
minute. A wildcard runs if the clock's minute matches. A fixed time runs if it matches any minute
the clock has reached for the first time, which includes those it has jumped over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivitendo_task_server.scheduling.cron import CronError, Schedule

MINUTE = timedelta(minutes=1)
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
DAYS_WALKED = 3


@dataclass(frozen=True)
class Model:
    """A specification, expanded in the plainest way."""

    fields: tuple[str, ...]

    def entries(self, place: int) -> list[int]:
        low, high = RANGES[place]
        found: list[int] = []
        for element in self.fields[place].split(","):
            body, _, step = element.partition("/")
            if body == "*":
                part = list(range(1 if place == 4 else low, high + 1))
            elif "-" in body:
                first, last = body.split("-")
                part = list(range(int(first), int(last) + 1))
            else:
                part = [int(body)]
            found += part[:: int(step)] if step else part
        return found

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self.entries(0) or wall.hour not in self.entries(1):
            return False
        if wall.month not in self.entries(3):
            return False
        days, weekdays = self.entries(2), self.entries(4)
        if 0 in weekdays:
            weekdays = [day for day in weekdays if day not in (0, 7)] + [
                7 for _ in range(max(1, weekdays.count(7)))
            ]
        by_day, by_weekday = wall.day in days, wall.isoweekday() in weekdays
        restricted = (len(days) != 31, len(weekdays) != 7)
        return {
            (False, False): True,
            (True, False): by_day,
            (False, True): by_weekday,
            (True, True): by_day or by_weekday,
        }[restricted]

    @property
    def wildcard(self) -> bool:
        return any(
            "*" in self.fields[place] or set(self.entries(place)) == set(range(high + 1))
            for place, high in ((0, 59), (1, 23))
        )

    def next_after(self, now: datetime) -> datetime | None:
        """The first run later than ``now``, or None if the walk does not reach one."""
        moment = now.astimezone(UTC).replace(second=0, microsecond=0) - timedelta(hours=6)
        reached = _wall(moment, now)
        while moment < now.astimezone(UTC) + timedelta(days=DAYS_WALKED):
            moment += MINUTE
            wall = _wall(moment, now)
            walls = [wall]
            if not self.wildcard:
                walls = []
                while reached < wall:
                    reached += MINUTE
                    walls.append(reached)
            if moment > now.astimezone(UTC) and any(self.matches(each) for each in walls):
                return moment
        return None


def _wall(moment: datetime, now: datetime) -> datetime:
    return moment.astimezone(now.tzinfo).replace(tzinfo=None, fold=0)


def _elements(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    step = st.sampled_from(["", "/1", "/2", "/7", "/20"])
    return st.one_of(
        number.map(str),
        st.builds(lambda s: "*" + s, step),
        st.builds(lambda a, b, s: f"{min(a, b)}-{max(a, b)}{s}", number, number, step),
    )


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    return st.one_of(
        st.just("*"), st.lists(_elements(low, high), min_size=1, max_size=3).map(",".join)
    )


SPECS = st.tuples(
    _field(0, 59),
    st.one_of(_field(0, 23), st.sampled_from(["0", "1", "2", "3", "1-3"])),
    st.one_of(st.just("*"), _field(1, 28)),
    st.just("*"),
    _field(0, 7),
)
# Changes of one hour, of half an hour, of two hours, at midnight; and zones without any.
CHANGES = st.sampled_from(
    [
        ("Europe/Berlin", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-10-25T01:00"),
        ("America/New_York", "2026-03-08T07:00"),
        ("America/New_York", "2026-11-01T06:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:00"),
        ("Australia/Lord_Howe", "2026-10-03T15:30"),
        ("America/Sao_Paulo", "2018-11-04T03:00"),
        ("America/Sao_Paulo", "2018-02-18T02:00"),
        ("Antarctica/Troll", "2026-03-29T01:00"),
        ("Antarctica/Troll", "2026-10-25T01:00"),
        ("Asia/Kolkata", "2026-03-29T01:00"),
        ("UTC", "2026-10-25T01:00"),
    ]
)


@st.composite
def moments(draw: st.DrawFn) -> datetime:
    zone, change = draw(CHANGES)
    seconds = draw(
        st.one_of(
            st.integers(-3 * 60, 3 * 60).map(lambda minutes: minutes * 60),
            st.integers(-30 * 3600, 30 * 3600),
        )
    )
    moment = datetime.fromisoformat(change).replace(tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.astimezone(ZoneInfo(zone))


@settings(max_examples=100)
@given(SPECS, moments())
def test_next_time_is_the_models(fields: tuple[str, ...], now: datetime) -> None:
    if Model(fields).entries(4).count(0) > 1:
        with pytest.raises(CronError, match=r"Field value \(0\) out of range"):
            Schedule.parse(" ".join(fields))
        return
    expected = Model(fields).next_after(now)
    found = Schedule.parse(" ".join(fields)).next_after(now).astimezone(UTC)
    if expected is None:
        assert found > now.astimezone(UTC) + timedelta(days=DAYS_WALKED)
    else:
        assert found == expected
