"""kivitendo's cron dialect against the measured vectors, croniter aside, and at clock changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from kivitendo_task_server.scheduling.cron import CronError, Schedule

BERLIN = ZoneInfo("Europe/Berlin")
VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors/cron_vectors.json").read_text(encoding="utf-8")
)["vectors"]

LIBRARY_BUG = "the library skips matches; ours gives the right one (d.5)"
GAP = "a fixed time in the gap runs right after it"
ONCE = "a fixed time that exists twice has had its one run in the first pass"
REPEATED = "a wildcard goes on in the repeated hour"

# (spec, now, zone) -> (our next time, the reason): where we differ from the original on purpose.
DIFFERENCES: dict[tuple[str, str, str], tuple[str, str]] = {
    ("30 2 * * *", "2026-03-28T02:30:00+01:00", "Europe/Berlin"): (
        "2026-03-29T03:00:00+02:00",
        GAP,
    ),
    ("30 2 * * *", "2026-03-28T12:00:00+01:00", "Europe/Berlin"): (
        "2026-03-29T03:00:00+02:00",
        GAP,
    ),
    ("30 2 * * *", "2026-03-29T01:30:00+01:00", "Europe/Berlin"): (
        "2026-03-29T03:00:00+02:00",
        GAP,
    ),
    ("30 2 * * *", "2026-03-29T01:59:30+01:00", "Europe/Berlin"): (
        "2026-03-29T03:00:00+02:00",
        GAP,
    ),
    ("0 2 * * *", "2026-03-28T02:30:00+01:00", "Europe/Berlin"): ("2026-03-29T03:00:00+02:00", GAP),
    ("0 2 * * *", "2026-03-28T12:00:00+01:00", "Europe/Berlin"): ("2026-03-29T03:00:00+02:00", GAP),
    ("0 2 * * *", "2026-03-29T01:30:00+01:00", "Europe/Berlin"): ("2026-03-29T03:00:00+02:00", GAP),
    ("0 2 * * *", "2026-03-29T01:59:30+01:00", "Europe/Berlin"): ("2026-03-29T03:00:00+02:00", GAP),
    ("30 2 29 3 *", "2026-03-28T02:30:00+01:00", "Europe/Berlin"): (
        "2026-03-29T03:00:00+02:00",
        GAP,
    ),
    ("30 2 29 3 *", "2026-03-28T12:00:00+01:00", "Europe/Berlin"): (
        "2026-03-29T03:00:00+02:00",
        GAP,
    ),
    ("30 2 29 3 *", "2026-03-29T01:30:00+01:00", "Europe/Berlin"): (
        "2026-03-29T03:00:00+02:00",
        GAP,
    ),
    ("30 2 29 3 *", "2026-03-29T01:59:30+01:00", "Europe/Berlin"): (
        "2026-03-29T03:00:00+02:00",
        GAP,
    ),
    ("0 2 * * 0", "2026-03-28T02:30:00+01:00", "Europe/Berlin"): ("2026-03-29T03:00:00+02:00", GAP),
    ("0 2 * * 0", "2026-03-28T12:00:00+01:00", "Europe/Berlin"): ("2026-03-29T03:00:00+02:00", GAP),
    ("0 2 * * 0", "2026-03-29T01:30:00+01:00", "Europe/Berlin"): ("2026-03-29T03:00:00+02:00", GAP),
    ("0 2 * * 0", "2026-03-29T01:59:30+01:00", "Europe/Berlin"): ("2026-03-29T03:00:00+02:00", GAP),
    ("30 2 * * *", "2026-10-25T02:00:00+01:00", "Europe/Berlin"): (
        "2026-10-26T02:30:00+01:00",
        ONCE,
    ),
    ("30 2 * * *", "2026-10-25T02:29:59+01:00", "Europe/Berlin"): (
        "2026-10-26T02:30:00+01:00",
        ONCE,
    ),
    ("*/5 * * * *", "2026-10-25T02:59:00+02:00", "Europe/Berlin"): (
        "2026-10-25T02:00:00+01:00",
        REPEATED,
    ),
    ("* * * * *", "2026-10-25T02:59:00+02:00", "Europe/Berlin"): (
        "2026-10-25T02:00:00+01:00",
        REPEATED,
    ),
    ("30 2 25 10 *", "2026-10-25T02:00:00+01:00", "Europe/Berlin"): (
        "2027-10-25T02:30:00+02:00",
        ONCE,
    ),
    ("30 2 25 10 *", "2026-10-25T02:29:59+01:00", "Europe/Berlin"): (
        "2027-10-25T02:30:00+02:00",
        ONCE,
    ),
    ("0 */2 * * *", "2026-10-25T02:30:07+02:00", "Europe/Berlin"): (
        "2026-10-25T02:00:00+01:00",
        REPEATED,
    ),
    ("0 */2 * * *", "2026-10-25T02:59:00+02:00", "Europe/Berlin"): (
        "2026-10-25T02:00:00+01:00",
        REPEATED,
    ),
    ("30 1 * * *", "2026-03-29T00:30:00+00:00", "Europe/London"): (
        "2026-03-29T02:00:00+01:00",
        GAP,
    ),
    ("52 12 * 6-10 4", "2027-10-28T12:52:00+02:00", "Europe/Berlin"): (
        "2028-06-01T12:52:00+02:00",
        LIBRARY_BUG,
    ),
    ("0 9 9 10 5", "2026-10-30T09:00:00+01:00", "Europe/Berlin"): (
        "2027-10-01T09:00:00+02:00",
        LIBRARY_BUG,
    ),
    ("36 0 * 1,8,11 3,6", "2028-08-30T00:36:00+02:00", "Europe/Berlin"): (
        "2028-11-01T00:36:00+01:00",
        LIBRARY_BUG,
    ),
    ("35 8 * 11,12 7", "2028-12-31T08:35:00+01:00", "Europe/Berlin"): (
        "2029-11-04T08:35:00+01:00",
        LIBRARY_BUG,
    ),
}


def _vector_id(vector: dict[str, str]) -> str:
    return f"{vector['category']}: {vector['spec']!r} at {vector['now']}"


def _next(spec: str, now: str, zone: str) -> datetime:
    return Schedule.parse(spec).next_after(datetime.fromisoformat(now).astimezone(ZoneInfo(zone)))


@pytest.mark.parametrize("vector", VECTORS, ids=_vector_id)
def test_vector(vector: dict[str, str]) -> None:
    if "error" in vector:
        with pytest.raises(CronError) as caught:
            Schedule.parse(vector["spec"])
        assert caught.value.what == vector["error"]
        return
    found = _next(vector["spec"], vector["now"], vector["tz"])
    case = (vector["spec"], vector["now"], vector["tz"])
    if case in DIFFERENCES:
        assert found.isoformat() == DIFFERENCES[case][0]
        assert f"{found:%F %T}" != vector["stored_next_run_at"], "no difference: not to be listed"
    else:
        assert f"{found:%F %T}" == vector["stored_next_run_at"]


def test_every_difference_belongs_to_a_vector() -> None:
    assert set(DIFFERENCES) <= {(v["spec"], v["now"], v["tz"]) for v in VECTORS}


@pytest.mark.parametrize("spec", [None, "", "0"])
def test_no_specification_means_every_minute(spec: str | None) -> None:
    now = datetime(2026, 11, 22, 15, 22, 10, tzinfo=BERLIN)
    assert Schedule.parse(spec).next_after(now) == datetime(2026, 11, 22, 15, 23, tzinfo=BERLIN)


@pytest.mark.parametrize("days", ["31", "31,31", "30-31,!30"])
def test_days_that_no_given_month_has(days: str) -> None:
    for months in ("2", "4,6,9,11", "4"):
        for weekdays in ("*", "1"):
            with pytest.raises(CronError, match="Impossible last day for provided months"):
                Schedule.parse(f"0 0 {days} {months} {weekdays}")
    Schedule.parse(f"0 0 {days} 4,5 *")


def test_february_29_is_possible_and_30_is_not() -> None:
    Schedule.parse("0 0 29 2 *")
    with pytest.raises(CronError, match="Impossible last day"):
        Schedule.parse("0 0 30 2 *")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("0-" + "9" * 200 + " * * * *", "out of range (0-59)"),
        ("0-999999999999/7 * * * *", "out of range (0-59)"),
        ("9" * 240 + " * * * *", "out of range (0-59)"),
        ("* " * 200, "More than 255 characters."),
        ("1-0/0 * * * *", "Malformed cron field '1-0/0'"),
        ("５ * * * *", "Malformed cron field '５'"),
        ("5,!5 * * * *", "Malformed cron field '5,!5'"),
        ("*/00 * * * *", "Illegal modulus zero"),  # seen by running the library, unlike */0
        ("5,1-3/000 * * * *", "Illegal modulus zero"),
    ],
)
def test_hostile_specifications_are_refused_at_once(spec: str, message: str) -> None:
    with pytest.raises(CronError) as caught:
        Schedule.parse(spec)
    assert message in caught.value.what
    assert "cron specification" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ("0-99999999999999999999/99999999999999999998,!99999999999999999998 * * * *", (0,)),
        ("*,!0 * * * *", tuple(range(1, 60))),
        ("<3,>57 * * * *", None),
        ("1,<0 * * * *", (1,)),
        ("50,<3 * * * *", (0, 1, 2, 50)),
        ("<3,!1 * * * *", (0, 2)),
        ("<3/2,!1/5 * * * *", (0, 2)),  # a step means nothing there, nor what stands before it
        (">57/00,3-1/00,X/00 * * * *", (58, 59)),
    ],
)
def test_extensions_of_the_minute_field(spec: str, values: tuple[int, ...] | None) -> None:
    if values is None:
        with pytest.raises(CronError):
            Schedule.parse(spec)
    else:
        assert Schedule.parse(spec).minute.values == values


@pytest.mark.parametrize(
    ("field", "weekdays"),
    [
        ("!0", (1, 2, 3, 4, 5, 6, 7)),
        ("!7", (1, 2, 3, 4, 5, 6)),
        ("0-6,!0", (1, 2, 3, 4, 5, 6)),
        ("0-6,!7", (1, 2, 3, 4, 5, 6, 7)),
        ("0-7,!7", (1, 2, 3, 4, 5, 6, 7)),
        ("0,7,!0", (7,)),
        ("0,7,7", (7,)),
        ("0,0,1,!0", (1,)),
        ("<3", (1, 2)),
    ],
)
def test_exclusions_come_before_sunday_becomes_seven(field: str, weekdays: tuple[int, ...]) -> None:
    """d.3: the expanded list is what has its 0 turned into 7; a ``*`` begins at 1 (``*/2``)."""
    assert Schedule.parse(f"0 0 * * {field}").weekday.values == weekdays


@pytest.mark.parametrize("field", ["0,0", "0-3,0", "0-7,0-7", "0,0,7"])
def test_a_zero_named_twice_is_refused(field: str) -> None:
    """The library turns one 0 into Sunday's 7 (seen by running it)."""
    with pytest.raises(CronError) as caught:
        Schedule.parse(f"0 0 * * {field}")
    assert caught.value.what == "Field value (0) out of range (1-7)"
    assert "may stand in the list once" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("<010", tuple(range(8))),
        (">070", (57, 58, 59)),
        ("5,!010,8,08", (5,)),
        ("!012,10,12", (12,)),
        ("7,<5,>08", (7,)),
        ("7,!3,>08", (7,)),
        ("<08", None),
        (">50,<08", None),
        ("!08,5", None),
        ("<5,!08", None),
    ],
)
def test_a_leading_zero_behind_a_sign_is_octal(field: str, values: tuple[int, ...] | None) -> None:
    """In plain numbers it is decimal; what stands behind a sign is Perl (seen by running it)."""
    if values is None:
        with pytest.raises(CronError) as caught:
            Schedule.parse(f"{field} * * * *")
        assert caught.value.what == f"Malformed cron field '{field}'"
    else:
        schedule = Schedule.parse(f"{field} * * * *")
        assert schedule.minute.values == values
        assert schedule.remarks


def test_remarks_name_what_is_accepted_and_means_something_else() -> None:
    schedule = Schedule.parse("5/15 */0 1,MON * 1-5,5,5 root")
    texts = " | ".join(schedule.remarks)
    for part in ("'5/15' means just 5", "'*/0'", "'MON' in the day of the month", "'root'"):
        assert part in texts
    assert "every weekday" in texts
    assert Schedule.parse("0 3 * * *").remarks == ()
    assert "Sunday is also 7" in Schedule.parse("0 3 * * !0").remarks[0]
    assert Schedule.parse("!5/2 3 * * *").remarks == ("the step of '!5/2' is ignored",)


def test_no_next_time_before_the_year_10000() -> None:
    with pytest.raises(CronError, match="There is no next time"):
        Schedule.parse("0 0 29 2 *").next_after(datetime(9999, 12, 31, 23, 59, tzinfo=UTC))


def test_a_jump_of_a_whole_day_is_no_summer_time() -> None:
    """Samoa had no 2011-12-30: a fixed time is not made up, as in Debian's cron."""
    apia = ZoneInfo("Pacific/Apia")
    found = Schedule.parse("0 12 * * *").next_after(datetime(2011, 12, 29, 13, tzinfo=apia))
    assert found == datetime(2011, 12, 31, 12, tzinfo=apia)
