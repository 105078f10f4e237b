"""Stored local times in the nights when the clock changes: the real due rule in a database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from one_tenant import OneTenant

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import TaskServerSettings
from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.due import DueRule, TableShape
from kivitendo_task_server.scheduling.cron import Schedule
from kivitendo_task_server.scheduling.once import Summary

BERLIN = ZoneInfo("Europe/Berlin")
Due = Callable[[datetime | None, datetime, datetime], bool]


@pytest.fixture
def due(tenant_connection: Connection) -> Due:
    """Whether a row with these two columns is due."""

    def ask(last_run_at: datetime | None, next_run_at: datetime, now: datetime) -> bool:
        rule = DueRule.at(FixedClock(now), TaskServerSettings(), TableShape())
        with tenant_connection.cursor() as cursor:
            cursor.execute(
                f"SELECT COALESCE({rule.due}, false)"  # noqa: S608 - the rule's own text
                " FROM (SELECT true AS active, 'interval' AS type, '*' AS cron_spec,"
                " NULL AS node_id, %(last)s::timestamp AS last_run_at,"
                " %(next)s::timestamp AS next_run_at) j",
                {**rule.values, "last": last_run_at, "next": next_run_at},
            )
            row = cursor.fetchone()
        assert row is not None
        return bool(row[0])

    return ask


def _walk(due: Due, spec: str, start: datetime, hours: int) -> list[datetime]:
    """The runs of a job that is looked at every minute and takes seven seconds."""
    schedule = Schedule.parse(spec)
    runs = []
    last_run_at: datetime | None = None
    next_run_at = schedule.next_after(start).replace(tzinfo=None)
    for minute in range(hours * 60):
        moment = start.astimezone(UTC) + timedelta(minutes=minute)
        now, end = (m.astimezone(start.tzinfo) for m in (moment, moment + timedelta(seconds=7)))
        if due(last_run_at, next_run_at, now):
            runs.append(now)
            last_run_at = now.replace(tzinfo=None)
            next_run_at = schedule.next_after(end).replace(tzinfo=None)
    return runs


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("*/20 * * * *", "01:00+02 01:20+02 01:40+02 02:00+02 02:20+02 02:40+02"
                         " 02:00+01 02:20+01 02:40+01 03:00+01 03:20+01 03:40+01"),
        ("0 * * * *", "01:00+02 02:00+02 02:00+01 03:00+01"),
        ("59 * * * *", "00:59+02 01:59+02 02:59+02 02:59+01"),
        ("30 2 * * *", "02:30+02"),
        ("0,30 1-3 * * *", "01:00+02 01:30+02 02:00+02 02:30+02 03:00+01 03:30+01"),
    ],
)  # fmt: skip
def test_the_repeated_hour(due: Due, spec: str, expected: str) -> None:
    runs = _walk(due, spec, datetime(2026, 10, 25, 0, 50, tzinfo=BERLIN), hours=4)
    assert " ".join(f"{run:%H:%M%z}"[:-2] for run in runs) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("*/20 * * * *", "01:20 01:40 03:00 03:20 03:40 04:00"),
        ("30 2 * * *", "03:00"),
        ("0,30 1-3 * * *", "01:30 03:00 03:30"),
        ("0 */2 * * *", "04:00"),
    ],
)
def test_the_gap(due: Due, spec: str, expected: str) -> None:
    runs = _walk(due, spec, datetime(2026, 3, 29, 1, 10, tzinfo=BERLIN), hours=2)
    assert " ".join(f"{run:%H:%M}" for run in runs) == expected


def test_after_an_outage_in_the_repeated_hour(due: Due) -> None:
    last, following = datetime(2026, 10, 25, 2, 55), datetime(2026, 10, 25, 2, 0)
    first_pass = datetime(2026, 10, 25, 2, 56, tzinfo=BERLIN)
    assert not due(last, following, first_pass)
    assert due(last, following, first_pass.replace(fold=1))
    assert due(last, following, datetime(2026, 10, 25, 9, tzinfo=BERLIN))
    # a user who sets the column back to have the job run at once is not held up on other days
    assert due(datetime(2026, 11, 21), datetime(2026, 11, 1), datetime(2026, 11, 22, tzinfo=UTC))


@pytest.mark.parametrize(
    ("now", "runs"),
    [
        # at its minute in the first pass, and at the last of them: nothing was missed
        (datetime(2026, 10, 25, 2, 0, 5, tzinfo=BERLIN), {"planned": "02:00", "next": "02:20"}),
        (datetime(2026, 10, 25, 2, 40, 5, tzinfo=BERLIN), {"planned": "02:40", "next": "02:00"}),
        # and in the second
        (
            datetime(2026, 10, 25, 2, 40, 5, tzinfo=BERLIN, fold=1),
            {"planned": "02:40", "next": "03:00"},
        ),
    ],
)
def test_nothing_is_made_up_for_in_the_repeated_hour_that_was_not_missed(
    tenant: OneTenant, caplog: pytest.LogCaptureFixture, now: datetime, runs: dict[str, str]
) -> None:
    """The stored time alone does not say which of the two is meant."""
    tenant.add(cron_spec="*/20 * * * *", next_run_at=f"2026-10-25 {runs['planned']}")
    tenant.add(
        cron_spec="*/20 * * * *", next_run_at=f"2026-10-25 {runs['planned']}", data="catch_up: 1"
    )
    with caplog.at_level("INFO"):
        assert tenant.run(now) == Summary(2, 0, ())
    assert tenant.execute(
        "SELECT DISTINCT to_char(next_run_at, 'HH24:MI') FROM background_jobs"
    ) == [(runs["next"],)]
    assert "later runs" not in caplog.text


def test_making_up_for_a_night_with_a_repeated_hour_comes_to_an_end(tenant: OneTenant) -> None:
    """Each wall-clock time once: from 01:40 to 04:00 in steps of 20 minutes."""
    job = tenant.add(cron_spec="*/20 * * * *", next_run_at="2026-10-25 01:40", data="catch_up: 1")
    assert tenant.run(datetime(2026, 10, 25, 4, 5, tzinfo=BERLIN)) == Summary(8, 0, ())
    assert tenant.times(job)[1] == datetime(2026, 10, 25, 4, 20)
