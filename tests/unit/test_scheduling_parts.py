"""The small parts of the scheduler: pace, slots, kept connections, calendar."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.scheduling.calendar import MOST_MISSED, Calendar
from kivitendo_task_server.scheduling.kept_connections import KeptConnections
from kivitendo_task_server.scheduling.pace import MinutePace
from kivitendo_task_server.scheduling.slots import Slots

BERLIN = ZoneInfo("Europe/Berlin")


class ShiftedClock:
    """Goes like the real one, from another moment on; may be set."""

    def __init__(self, start: datetime) -> None:
        self.set(start)

    def set(self, moment: datetime) -> None:
        self._start, self._zero = moment, time.monotonic()

    @property
    def zone(self) -> ZoneInfo:
        return BERLIN

    def now(self) -> datetime:
        passed = timedelta(seconds=time.monotonic() - self._zero)
        return (self._start.astimezone(UTC) + passed).astimezone(BERLIN)


@pytest.mark.parametrize(
    ("start", "minute"),
    [
        (datetime(2026, 11, 22, 12, 0, 59, 900_000, BERLIN), (12, 1)),
        (datetime(2026, 11, 22, 23, 59, 59, 900_000, BERLIN), (0, 0)),
        (datetime(2026, 3, 29, 1, 59, 59, 900_000, BERLIN), (3, 0)),
        (datetime(2026, 10, 25, 2, 59, 59, 900_000, BERLIN), (2, 0)),
    ],
)
def test_a_tick_comes_when_the_minute_begins(start: datetime, minute: tuple[int, int]) -> None:
    clock = ShiftedClock(start)
    asyncio.run(MinutePace(clock).next_tick())
    now = clock.now()
    assert (now.hour, now.minute) == minute


def test_a_clock_that_is_set_back_does_not_stop_the_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kivitendo_task_server.scheduling.pace.LONGEST_NAP", 0.05)
    clock = ShiftedClock(datetime(2026, 11, 22, 12, 0, 30, tzinfo=BERLIN))

    async def set_back_while_waiting() -> None:
        waiting = asyncio.create_task(MinutePace(clock).next_tick())
        await asyncio.sleep(0.01)
        clock.set(datetime(2026, 11, 22, 11, 0, 30, tzinfo=BERLIN))
        await waiting

    asyncio.run(set_back_while_waiting())
    assert clock.now().hour == 11


def test_slots_are_given_in_order_and_can_change() -> None:
    order: list[str] = []

    async def use(slots: Slots, name: str, release: asyncio.Event) -> None:
        async with slots:
            order.append(name)
            await release.wait()

    async def scenario() -> None:
        slots = Slots(1)
        releases = {name: asyncio.Event() for name in "abcd"}
        tasks = {name: asyncio.create_task(use(slots, name, releases[name])) for name in "abcd"}
        await asyncio.sleep(0)
        assert order == ["a"]
        tasks["b"].cancel()  # gives its place in the queue up
        slots.resize(2)
        await asyncio.sleep(0.01)
        assert order == ["a", "c"]
        slots.resize(1)
        releases["a"].set()
        await asyncio.sleep(0.01)
        assert order == ["a", "c"]
        releases["c"].set()
        await asyncio.sleep(0.01)
        assert order == ["a", "c", "d"]
        releases["d"].set()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        async with slots:
            order.append("free again")

    asyncio.run(scenario())
    assert order[-1] == "free again"


HERE = DatabaseAccess("localhost", 5432, "a", "u")
THERE = DatabaseAccess("db.example", 5432, "a", "u")


def test_half_of_a_servers_connections_are_left_to_kivitendo() -> None:
    kept = KeptConnections()
    kept.counted(HERE, allowed=20, used=7)
    assert [kept.keep(HERE) for _ in range(4)] == [True, True, True, False]
    kept.counted(THERE, allowed=3, used=3)
    assert kept.keep(THERE)  # always one
    assert not kept.keep(THERE)
    kept.release(HERE)
    assert kept.keep(HERE)


def test_connections_are_given_back_when_others_need_them() -> None:
    kept = KeptConnections()
    kept.counted(HERE, allowed=20, used=0)
    assert all(kept.keep(HERE) for _ in range(10))
    kept.counted(HERE, allowed=20, used=15)
    assert not kept.is_surplus(HERE)
    kept.counted(HERE, allowed=20, used=16)
    given_back = 0
    while kept.is_surplus(HERE):
        kept.release(HERE)
        given_back += 1
    assert given_back == 6  # half of the server's are free again
    kept.counted(HERE, allowed=20, used=20)
    while kept.is_surplus(HERE):
        kept.release(HERE)
    kept.release(HERE)  # the last one was not asked for
    assert not kept.is_surplus(HERE)


def test_one_of_many_tenants_counts_a_servers_sessions() -> None:
    kept = KeptConnections()
    assert kept.count_is_due(HERE)
    assert not kept.count_is_due(HERE)
    assert kept.count_is_due(THERE)


def test_the_calendar_asks_once_a_minute_and_knows_the_fold() -> None:
    calendar = Calendar()
    first = datetime(2026, 10, 25, 2, 30, 10, tzinfo=BERLIN)
    assert calendar.next_run("*/20 * * * *", first) == datetime(2026, 10, 25, 2, 40)
    second = first.replace(fold=1, minute=55)
    assert calendar.next_run("*/20 * * * *", first.replace(minute=55)) == datetime(2026, 10, 25, 2)
    assert calendar.next_run("*/20 * * * *", second) == datetime(2026, 10, 25, 3, 0)
    assert calendar.next_run("nonsense", first) is None
    assert calendar.error("nonsense") is not None
    assert calendar.error(None) is None


def test_missed_runs_are_counted_up_to_a_limit() -> None:
    calendar, now = Calendar(), datetime(2026, 11, 22, 15, 22, 10, tzinfo=BERLIN)
    assert calendar.missed("0 3 * * *", datetime(2026, 11, 22, 3), now) == 0
    assert calendar.missed("0 3 * * *", datetime(2026, 11, 20, 3), now) == 2
    assert calendar.missed("* * * * *", datetime(2020, 1, 1), now) == MOST_MISSED
    assert calendar.missed("nonsense", datetime(2020, 1, 1), now) == 0
