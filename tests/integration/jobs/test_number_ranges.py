"""SetNumberRange: the scenarios of jobs.md, 1.10."""

from __future__ import annotations

from datetime import datetime

import pytest
from jobs_bench import Bench

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.set_number_range import RANGES, SetNumberRange

# in the order of RANGES
START = (
    *("RE2026456", "GS-00012", "", "p", "0", "B 2026-099", "ABC", "A2026.12x", "26001"),
    *("L26/000123456789", "12.50", "00000000001", "ä99", "99999", "R-7"),
)
YEAR = (
    *("RE0202700", "GS-202700", "202700", "p202700", "202700", "B 2026-202700", "ABC202700"),
    *("A2026.12x202700", "202700", "L26/000000202700", "12.202700", "00000202700", "ä202700"),
    *("202700", "R-202700"),
)
TWO_DIGITS = (
    *("RE0002700", "GS-02700", "2700", "p2700", "2700", "B 2026-2700", "ABC2700"),
    *("A2026.12x2700", "02700", "L26/000000002700", "12.2700", "00000002700", "ä2700"),
    *("02700", "R-2700"),
)


def _ranges(bench: Bench) -> tuple[str | None, ...]:
    return bench.rows(f"SELECT {', '.join(RANGES)} FROM defaults")[0]  # noqa: S608


def _set(bench: Bench, values: tuple[str | None, ...]) -> None:
    for name, value in zip(RANGES, values, strict=True):
        bench.execute(f"UPDATE defaults SET {name} = %s", value)  # noqa: S608


@pytest.fixture
def started(bench: Bench) -> Bench:
    bench.execute("UPDATE defaults SET customernumber = '7', articlenumber = '8'")
    _set(bench, START)
    return bench


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, YEAR),
        ("digits_year: 2", TWO_DIGITS),
        ("digits_year: 0\nmultiplier: 0", YEAR),
        ("current_year: 1", tuple(number.replace("2027", "2026") for number in YEAR)),
        (
            "current_year: 1\ndigits_year: 2",
            tuple(number.replace("27", "26") for number in TWO_DIGITS),
        ),
        ("monthly: 1", ("26-11-000",) * 15),
        (
            "monthly: 1\nmonthly_postfix: -A0001\nmonthly_strftime: '%Y-%m-%d'",
            ("2026-11-22-A0001",) * 15,
        ),
        ("monthly: 1\nmonthly_postfix: X", ("26-11-X0",) * 15),
        ("monthly: 1\nmonthly_strftime: '%-d%f%Q%Ey%{nix}%%%b'", ("%-d%f%Q%Ey%{nix}%Nov000",) * 15),
        ("monthly_strftime: '%Y'\nmonthly: no", YEAR),
        ("result: xyz", YEAR),
    ],
)
def test_scenarios(started: Bench, data: str | None, expected: tuple[str, ...]) -> None:
    result = started.run(SetNumberRange, data).text
    assert result == ("xyz" if data == "result: xyz" else "1")
    assert _ranges(started) == expected
    assert started.rows("SELECT customernumber, articlenumber FROM defaults") == [("7", "8")]


def test_scenarios_3_and_4_multiplier(started: Bench) -> None:
    started.run(SetNumberRange, "multiplier: 1000")
    ranges = dict(zip(RANGES, _ranges(started), strict=True))
    assert ranges["invnumber"] == "RE2027000"
    assert ranges["cnnumber"] == "GS-2027000"
    assert ranges["soinumber"] == "2027000"
    assert ranges["sudonumber"] == "00002027000"

    _set(started, START)
    started.run(SetNumberRange, "multiplier: 10\ndigits_year: 2")
    ranges = dict(zip(RANGES, _ranges(started), strict=True))
    assert ranges["invnumber"] == "RE0000270"
    assert ranges["cnnumber"] == "GS-00270"
    assert ranges["soinumber"] == "270"
    assert ranges["rfqnumber"] == "00270"


@pytest.mark.parametrize("data", ["digits_year: 3", "multiplier: 15", "multiplier: 30"])
def test_scenario_10_refuses(started: Bench, data: str) -> None:
    with pytest.raises(JobFailed, match="must be one of"):
        started.run(SetNumberRange, data)
    assert _ranges(started) == START


def test_scenario_11_null_is_skipped(started: Bench) -> None:
    started.execute("UPDATE defaults SET pqinumber = NULL")
    assert started.run(SetNumberRange).text == "1"  # the original fails
    assert _ranges(started) == (*YEAR[:3], None, *YEAR[4:])
    assert started.run(SetNumberRange, "monthly: 1").text == "1"
    assert _ranges(started) == ("26-11-000",) * 15


def test_an_empty_result_is_null(started: Bench) -> None:
    assert started.run(SetNumberRange, "result:\n").text is None


@pytest.mark.parametrize(
    ("due", "now", "expected"),
    [
        ("2026-12-31 23:59", "2026-12-31", "202700"),
        ("2026-12-31 23:59", "2027-01-01", "202700"),  # waited for another job
        ("2026-12-31 23:59", "2027-01-07", "202700"),  # the server was off over the holidays
        ("2026-12-31 23:59", "2026-12-30", "202700"),  # started by hand before it was due
        ("2025-12-31 23:59", "2026-11-22", "202700"),  # a relic
    ],
)
def test_the_year_is_that_of_the_time_it_was_due(
    started: Bench, due: str, now: str, expected: str
) -> None:
    started.on(now)
    started.next_run_at = datetime.fromisoformat(due)
    started.run(SetNumberRange)
    assert started.value("SELECT sonumber FROM defaults") == expected


def test_an_older_release_with_fewer_ranges(started: Bench) -> None:
    started.execute("ALTER TABLE defaults DROP COLUMN pocnumber")
    assert started.run(SetNumberRange).text == "1"
    assert started.value("SELECT sonumber FROM defaults") == "202700"
