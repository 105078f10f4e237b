"""Month arithmetic, extension, due periods and cycles, against slow and obvious models.

The tables are those of recurring-invoices.md, sections 2.2, 2.5, 5.2.1 and 5.2.2.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.periods import (
    MONTHS,
    LifeCycle,
    Terms,
    add_months,
    due_date,
    due_periods,
    expected_periods,
    is_last_of_cycle,
    life_cycle,
    lost_periods,
    period_end,
    tax_point,
)

TODAY = date(2026, 3, 15)
NOON = datetime(2026, 3, 15, 12)

days = st.dates(date(2019, 1, 1), date(2032, 12, 31))
periodicities = st.sampled_from(sorted(set(MONTHS) & set("mqby")))
value_periodicities = st.sampled_from(["p", "m", "q", "b", "y", "2", "3", "4", "5"])


def terms(start: str | date | None = "2026-01-01", periodicity: str = "m", **rest: Any) -> Terms:
    """Terms with the usual values; dates may be texts."""

    def as_date(value: str | date | None) -> date | None:
        return date.fromisoformat(value) if isinstance(value, str) else value

    return Terms(
        periodicity=periodicity,
        order_value_periodicity=rest.get("value", "p"),
        start_date=as_date(start),
        first_billing_date=as_date(rest.get("first")),
        end_date=as_date(rest.get("end")),
        terminated=rest.get("terminated", False),
        extend_automatically_by=rest.get("extend"),
    )


# -- month arithmetic (2.2) ------------------------------------------------------------------------


def model_add(day: date, months: int) -> date:
    """Walk to the first of the month, month by month; then day by day to the day's number."""
    first = day.replace(day=1)
    for _ in range(months):
        first = (first + timedelta(days=31)).replace(day=1)
    for _ in range(day.day - 1):
        first += timedelta(days=1)
    return first


@given(days, st.integers(0, 70))
def test_add_months_is_what_walking_gives(day: date, months: int) -> None:
    assert add_months(day, months) == model_add(day, months)


@given(days, st.integers(-30, -1))
def test_months_are_subtracted_from_a_first_of_month(day: date, months: int) -> None:
    first = day.replace(day=1)
    assert model_add(add_months(first, months), -months) == first


@pytest.mark.parametrize(
    ("begin", "months", "end"),
    [
        ("2026-01-28", 1, "2026-02-28"),
        ("2026-01-29", 1, "2026-03-01"),
        ("2026-01-30", 1, "2026-03-02"),
        ("2026-01-31", 1, "2026-03-03"),
        ("2028-01-29", 1, "2028-02-29"),
        ("2028-01-30", 1, "2028-03-01"),
        ("2028-01-31", 1, "2028-03-02"),
        ("2026-01-31", 3, "2026-05-01"),
        ("2026-08-31", 3, "2026-12-01"),
        ("2026-08-31", 6, "2027-03-03"),
        ("2028-02-29", 12, "2029-03-01"),
        ("2028-02-29", 48, "2032-02-29"),
        ("2025-11-30", 3, "2026-03-02"),
        ("2026-03-31", 1, "2026-05-01"),
    ],
)
def test_table_of_month_arithmetic(begin: str, months: int, end: str) -> None:
    assert add_months(date.fromisoformat(begin), months) == date.fromisoformat(end)


@pytest.mark.parametrize(
    ("periodicity", "start", "expected"),
    [
        ("m", "2025-12-31", ["2025-12-31", "2026-01-31", "2026-03-03", "2026-04-03", "2026-05-03"]),
        ("m", "2025-12-29", ["2025-12-29", "2026-01-29", "2026-03-01", "2026-04-01", "2026-05-01"]),
        ("q", "2025-08-31", ["2025-08-31", "2025-12-01", "2026-03-01", "2026-06-01"]),
        ("y", "2028-02-29", ["2028-02-29", "2029-03-01", "2030-03-01"]),
    ],
)
def test_schedules_are_cumulative(periodicity: str, start: str, expected: list[str]) -> None:
    last = date.fromisoformat(expected[-1])
    assert [str(day) for day in due_periods(terms(start, periodicity), None, last)] == expected


# -- a configuration's life, day by day (2.3, 2.4) -------------------------------------------------


def model_day(
    state: Terms, active: bool, previous: date | None, now: datetime
) -> tuple[Terms, bool, list[date]]:
    """One run as sections 2.3 and 2.4 say it, word for word."""
    end = state.end_date
    if active and not state.terminated and end is not None and now > datetime.combine(end, time()):
        if not state.extend_automatically_by:
            return state, False, []
        while datetime.combine(end, time()) < now:
            end = model_add(end, state.extend_automatically_by)
        state = replace(state, end_date=end)
    if not active:
        return state, active, []
    first = state.first_billing_date or state.start_date
    assert first is not None
    begin = first if previous is None else previous + timedelta(days=1)
    limit = now.date()
    ends = state.terminated or not state.extend_automatically_by
    if ends and state.end_date is not None and state.end_date < limit:
        limit = state.end_date
    if state.periodicity == "o":
        return state, active, [first] if begin <= first <= limit else []
    schedule = []
    while first <= limit:
        schedule.append(first)
        first = model_add(first, MONTHS[state.periodicity])
    return state, active, [day for day in schedule if day >= begin]


@st.composite
def lives(draw: st.DrawFn) -> Terms:
    """Terms of all kinds, around the year 2026."""
    start = draw(st.dates(date(2025, 10, 1), date(2026, 3, 31)))
    length = draw(st.none() | st.integers(-40, 300))
    return Terms(
        periodicity=draw(st.sampled_from("omqb")),
        order_value_periodicity="p",
        start_date=start,
        first_billing_date=draw(st.none() | st.just(start + timedelta(days=17))),
        end_date=None if length is None else start + timedelta(days=length),
        terminated=draw(st.booleans()),
        extend_automatically_by=draw(st.sampled_from([None, 0, 1, 3, 12])),
    )


@given(lives(), st.dates(date(2025, 10, 1), date(2026, 4, 30)), st.integers(1, 150))
def test_daily_runs_do_what_the_specification_says(life: Terms, begin: date, runs: int) -> None:
    """Run after run: the same end date, the same activity, the same periods."""
    ours, active, previous = life, True, None
    for number in range(runs):
        now = datetime.combine(begin + timedelta(days=number), time(3))
        model, model_active, expected = model_day(ours, active, previous, now)
        cycle = life_cycle(ours, now)
        assert cycle == LifeCycle(model_active, model.end_date)
        ours, active = replace(ours, end_date=cycle.end_date), cycle.active
        due = due_periods(ours, previous, now.date()) if active else []
        assert due == expected
        previous = due[-1] if due else previous
        if not active or (ours.one_time and due):
            break


@given(lives(), st.integers(1, 200), st.data())
def test_runs_at_any_times_bill_each_period_once(
    life: Terms, length: int, data: st.DataObject
) -> None:
    """Whatever the days of the runs, while nothing ends: what one late run would have billed."""
    life = replace(life, end_date=None)
    assert life.start_date is not None
    run_days = sorted(data.draw(st.sets(st.integers(0, length), max_size=12)) | {length})
    billed: list[date] = []
    for number in run_days:
        today = life.start_date + timedelta(days=number)
        billed += due_periods(life, billed[-1] if billed else None, today)
    assert billed == due_periods(life, None, life.start_date + timedelta(days=length))
    assert all(early < late for early, late in pairwise(billed))


@given(lives(), st.dates(date(2025, 10, 1), date(2026, 4, 30)), st.integers(0, 150))
def test_expected_periods_are_those_of_daily_runs(life: Terms, begin: date, length: int) -> None:
    """What a preview promises, daily runs then do."""
    now = datetime.combine(begin, time(3))
    until = begin + timedelta(days=length)
    state, active, previous = life, True, None
    billed: list[date] = []
    for number in range(length + 1):
        moment = now + timedelta(days=number)
        state, active, due = model_day(state, active, previous, moment)
        billed += due
        previous = due[-1] if due else previous
        if not active or (life.periodicity == "o" and due):
            break
    assert expected_periods(life, None, now, until) == billed


def test_the_end_date_has_passed_once_its_midnight_has() -> None:
    ends_today = terms(end="2026-03-15")
    assert life_cycle(ends_today, datetime(2026, 3, 15)).active
    assert not life_cycle(ends_today, datetime(2026, 3, 15, 0, 0, 1)).active


def test_extension_walks_on_until_it_is_not_before_now() -> None:
    cycle = life_cycle(terms(end="2026-01-31", extend=1), NOON)
    assert cycle == LifeCycle(True, date(2026, 4, 3))  # by way of 03-03


def test_a_negative_extension_is_refused_instead_of_looping() -> None:
    with pytest.raises(TaskServerError, match="negative"):
        life_cycle(terms(end="2026-01-31", extend=-1), NOON)


def test_without_any_date_nothing_can_be_said() -> None:
    with pytest.raises(TaskServerError, match="start_date"):
        due_periods(terms(None), None, TODAY)


THREE = ["2026-01-01", "2026-02-01", "2026-03-01"]
OVER = "ended"


@pytest.mark.parametrize(
    ("name", "life", "end", "billed"),
    [
        ("A", terms(end="2026-02-10"), OVER, []),
        ("B", terms(end="2026-03-15"), OVER, []),
        ("C", terms(end="2026-01-31", extend=1), "2026-04-03", THREE),
        ("D", terms(end="2026-02-28", extend=12), "2027-02-28", THREE),
        ("E", terms(end="2026-02-10", terminated=True, extend=1), "2026-02-10", THREE[:2]),
        ("F", terms(terminated=True), None, THREE),
        ("G", terms(end="2026-12-31", extend=12), "2026-12-31", THREE),
        ("H", terms(end="2026-03-01", terminated=True), "2026-03-01", THREE),
        ("I", terms(end="2026-02-28", terminated=True), "2026-02-28", THREE[:2]),
        ("K", terms("2026-03-15"), None, ["2026-03-15"]),
        ("L", terms("2026-03-16"), None, []),
        ("M", terms(periodicity="o", end="2026-02-01", terminated=True), "2026-02-01", THREE[:1]),
        ("N", terms("2026-03-01", "o", end="2026-02-01", terminated=True), "2026-02-01", []),
        ("O", terms(end="2026-03-14", extend=1), "2026-04-14", THREE),
        ("P", terms(end="2026-03-15", extend=1), "2026-04-15", THREE),
        ("S", terms("2026-03-01", end="2026-03-10", extend=0), OVER, []),
        ("T", terms(periodicity="o", end="2026-02-01"), OVER, []),
    ],
)
def test_worked_examples(name: str, life: Terms, end: str | None, billed: list[str]) -> None:
    """The table of section 2.5, one run on 2026-03-15 at noon."""
    cycle = life_cycle(life, NOON)
    assert cycle.active == (end != OVER)
    due = []
    if cycle.active:
        assert cycle.end_date == (date.fromisoformat(end) if end else None)
        due = due_periods(replace(life, end_date=cycle.end_date), None, TODAY)
    assert [str(day) for day in due] == billed


def test_example_l_is_billed_the_next_day() -> None:
    assert due_periods(terms("2026-03-16"), None, date(2026, 3, 16)) == [date(2026, 3, 16)]


@given(lives(), st.none() | st.dates(date(2025, 10, 1), date(2026, 9, 30)))
def test_lost_periods_are_those_up_to_the_end(life: Terms, previous: date | None) -> None:
    lost = lost_periods(life, previous)
    if life.end_date is None:
        assert lost == []
        return
    everything = due_periods(replace(life, end_date=None), None, life.end_date)
    assert lost == [day for day in everything if previous is None or day > previous]


@given(lives(), days)
def test_before_3_5_6_an_end_date_limits_only_what_is_terminated(life: Terms, today: date) -> None:
    old = due_periods(life, None, today, end_date_limits=False)
    if life.terminated:
        assert old == due_periods(life, None, today)
    else:
        assert old == due_periods(replace(life, end_date=None), None, today)


# -- cycles (4) ------------------------------------------------------------------------------------


def model_last(life: Terms, period: date) -> bool:
    """Section 4: whether a value period ends exactly where this billing period does."""
    begins = [day for day in (life.start_date, life.first_billing_date) if day]
    ends = [max(begins)]
    after = model_add(period, life.billing_length)
    while ends[-1] < after:
        ends.append(model_add(ends[-1], life.value_length))
    return after in ends


@given(
    days, periodicities, value_periodicities, st.none() | st.integers(-70, 70), st.integers(0, 1500)
)
def test_last_of_a_cycle(
    start: date, periodicity: str, value: str, shift: int | None, horizon: int
) -> None:
    first = None if shift is None else start + timedelta(days=shift)
    life = terms(start, periodicity, value=value, first=first)
    for period in due_periods(life, None, start + timedelta(days=horizon)):
        assert is_last_of_cycle(life, period) == model_last(life, period)


@given(st.dates(date(2019, 1, 1), date(2027, 12, 31)), periodicities, value_periodicities)
def test_every_cycle_has_one_last_invoice(start: date, periodicity: str, value: str) -> None:
    """Up to the 28th; later days can miss each other, as section 4 admits."""
    assume(start.day <= 28)
    life = terms(start, periodicity, value=value)
    assume(life.value_length > life.billing_length)
    in_cycle = life.value_length // life.billing_length
    schedule = due_periods(life, None, model_add(start, 3 * life.value_length - 1))
    assert len(schedule) == 3 * in_cycle
    last = [is_last_of_cycle(life, period) for period in schedule]
    assert last == ([False] * (in_cycle - 1) + [True]) * 3


# -- ends, tax points and due dates (3.3, 5.2) -----------------------------------------------------


@given(days, st.sampled_from("omqby"), value_periodicities)
def test_a_period_ends_the_day_before_the_next(day: date, periodicity: str, value: str) -> None:
    life = terms(day, periodicity, value=value)
    length = life.value_length if life.one_time else life.billing_length
    assert period_end(life, day) == model_add(day, length) - timedelta(days=1)
    # before 3.8
    assert period_end(life, day, one_time_uses_value=False) == (
        model_add(day, life.billing_length) - timedelta(days=1)
    )


@pytest.mark.parametrize(
    ("period", "life", "end"),
    [
        ("2026-03-01", terms(), "2026-03-31"),
        ("2026-01-31", terms(), "2026-03-02"),
        ("2026-01-29", terms(), "2026-02-28"),
        ("2026-01-10", terms(periodicity="o", value="y"), "2027-01-09"),
    ],
)
def test_table_of_period_ends(period: str, life: Terms, end: str) -> None:
    assert period_end(life, date.fromisoformat(period)) == date.fromisoformat(end)


@pytest.mark.parametrize(
    ("ordered", "periodicity", "period", "point"),
    [
        ("2026-01-31", "m", "2026-03-01", "2026-03-03"),
        ("2026-01-31", "m", "2026-04-01", "2026-04-03"),
        ("2025-12-31", "q", "2026-03-01", "2026-03-31"),
        ("2027-01-31", "m", "2026-03-01", "2027-01-31"),
        ("2027-01-31", "y", "2026-03-01", "2027-01-31"),
        ("2025-12-15", "o", "2026-03-01", "2026-03-15"),
        (None, "m", "2026-02-01", "2026-02-28"),
        (None, "m", "2026-01-31", "2026-03-02"),
    ],
)
def test_table_of_tax_points(
    ordered: str | None, periodicity: str, period: str, point: str
) -> None:
    life, begin = terms(periodicity=periodicity), date.fromisoformat(period)
    given_point = date.fromisoformat(ordered) if ordered else None
    found = tax_point(life, begin, given_point, period_end(life, begin))
    assert found == date.fromisoformat(point)


@given(days, days, periodicities)
def test_a_tax_point_is_never_before_its_period(period: date, ordered: date, which: str) -> None:
    life = terms(periodicity=which)
    point = tax_point(life, period, ordered, period_end(life, period))
    assert point >= max(period, ordered)
    if ordered >= period:
        assert point == ordered
    else:
        assert point < model_add(period, life.billing_length) + timedelta(days=3)


@pytest.mark.parametrize(
    ("netto", "automatic", "expected"),
    [
        (0, True, "2026-03-16"),
        (5, True, "2026-03-23"),
        (6, True, "2026-03-23"),
        (12, True, "2026-03-30"),
        (14, True, "2026-03-30"),
        (-3, True, "2026-03-13"),
        (14, False, "2026-03-16"),
        (None, None, "2026-03-16"),
        (None, False, "2026-03-16"),
    ],
)
def test_table_of_due_dates(netto: int | None, automatic: bool | None, expected: str) -> None:
    assert due_date(date(2026, 3, 16), netto, automatic) == date.fromisoformat(expected)


def test_a_weekend_today_moves_nothing_without_automatic_terms() -> None:
    saturday = date(2026, 3, 14)
    assert due_date(saturday, None, None) == due_date(saturday, 10, False) == saturday
    assert due_date(saturday, 0, True) == date(2026, 3, 16)


@given(days, st.integers(-60, 120))
@example(date(2026, 3, 14), 0)
def test_a_due_date_is_the_next_working_day(today: date, netto: int) -> None:
    day = today + timedelta(days=netto)
    while day.strftime("%a") in ("Sat", "Sun"):
        day += timedelta(days=1)
    assert due_date(today, netto, True) == day


def test_terms_without_days_are_an_error() -> None:
    with pytest.raises(TaskServerError, match="no number of days"):
        due_date(TODAY, None, True)
