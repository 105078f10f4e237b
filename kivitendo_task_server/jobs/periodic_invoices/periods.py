"""Periods: month arithmetic, extension and end of a configuration, due dates, the last of a cycle.

Pure functions, section 2 and parts of 3.3, 4 and 5.2.2 of recurring-invoices.md. All lengths are
in months.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from kivitendo_task_server.errors import TaskServerError

MONTHS = {"o": 0, "m": 1, "q": 3, "b": 6, "y": 12, "2": 24, "3": 36, "4": 48, "5": 60}
ONE_TIME = "o"
SAME_AS_PERIODICITY = "p"


@dataclass(frozen=True)
class Terms:
    """What a row of periodic_invoices_configs says about time (section 1.1)."""

    periodicity: str
    order_value_periodicity: str
    start_date: date | None
    first_billing_date: date | None
    end_date: date | None
    terminated: bool
    extend_automatically_by: int | None

    @property
    def one_time(self) -> bool:
        """Whether one invoice ends it."""
        return self.periodicity == ONE_TIME

    @property
    def billing_length(self) -> int:
        """Months from one invoice to the next; 1 for one-time configurations."""
        return MONTHS.get(self.periodicity, 0) or 1

    @property
    def value_length(self) -> int:
        """Months that the order's prices refer to."""
        if self.order_value_periodicity == SAME_AS_PERIODICITY:
            return self.billing_length
        return MONTHS.get(self.order_value_periodicity, 0) or 1

    @property
    def first(self) -> date:
        """The start of the first period. Raises TaskServerError if no date is set (2.4)."""
        first = self.first_billing_date or self.start_date
        if first is None:
            raise TaskServerError(
                "neither start_date nor first_billing_date is set",
                remedy="enter a start date in the order's configuration",
            )
        return first


def add_months(day: date, months: int) -> date:
    """Move a date by months; days that do not exist run over into the next month (2.2)."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1) + timedelta(days=day.day - 1)


@dataclass(frozen=True)
class LifeCycle:
    """What the first pass decides: the configuration goes on, with which end, or is finished."""

    active: bool
    end_date: date | None


def life_cycle(terms: Terms, now: datetime) -> LifeCycle:
    """Automatic extension or deactivation at ``now`` (naive local time; 2.3).

    The end date itself has passed as soon as it is later than its midnight. Raises
    TaskServerError for a negative extension, which would never come to an end.
    """
    end = terms.end_date
    if terms.terminated or end is None or now <= datetime.combine(end, time()):
        return LifeCycle(True, end)
    months = terms.extend_automatically_by
    if not months:
        return LifeCycle(False, end)
    if months < 0:
        raise TaskServerError(
            f"extend_automatically_by is negative ({months})",
            remedy="enter a positive number of months, or none",
        )
    while datetime.combine(end, time()) < now:
        end = add_months(end, months)
    return LifeCycle(True, end)


def due_periods(
    terms: Terms, previous: date | None, today: date, *, end_date_limits: bool = True
) -> list[date]:
    """Start dates of the periods to be billed today, ascending (2.4).

    ``previous`` is the latest period billed so far. ``end_date_limits``: since release 3.5.6 an end
    date limits also configurations that are neither terminated nor extended (1.10).
    """
    first = terms.first
    start = first if previous is None else previous + timedelta(days=1)
    limit = today
    limited = terms.terminated or (end_date_limits and not terms.extend_automatically_by)
    if limited and terms.end_date is not None:
        limit = min(limit, terms.end_date)
    if terms.one_time:
        return [first] if start <= first <= limit else []
    return [day for day in _walk(first, terms.billing_length, limit) if day >= start]


def expected_periods(
    terms: Terms, previous: date | None, now: datetime, until: date, *, end_date_limits: bool = True
) -> list[date]:
    """Periods that daily runs from ``now`` to the day ``until`` would bill; for previews.

    Follows extension and deactivation from run to run, as life_cycle and due_periods have it.
    """
    runs = [now]
    runs += [
        datetime.combine(day, time(3))
        for day in _walk(terms.first, terms.billing_length, until)
        if day > now.date()
    ]
    periods: list[date] = []
    for run in runs:
        cycle = life_cycle(terms, run)
        if not cycle.active or (terms.one_time and periods):
            break
        terms = replace(terms, end_date=cycle.end_date)
        due = due_periods(terms, previous, run.date(), end_date_limits=end_date_limits)
        periods += due
        previous = due[-1] if due else previous
    return periods


def lost_periods(terms: Terms, previous: date | None) -> list[date]:
    """Periods up to the end date which a deactivation leaves unbilled (2.3 [W])."""
    if terms.end_date is None or (terms.first_billing_date or terms.start_date) is None:
        return []
    return due_periods(terms, previous, terms.end_date)


def is_last_of_cycle(terms: Terms, period: date) -> bool:
    """Whether an invoice takes the rest of a price that covers several periods (section 4)."""
    begins = [day for day in (terms.start_date, terms.first_billing_date) if day is not None]
    cycle = max(begins)
    end = add_months(period, terms.billing_length)
    while cycle < end:
        cycle = add_months(cycle, terms.value_length)
    return cycle == end


def period_end(terms: Terms, period: date, *, one_time_uses_value: bool = True) -> date:
    """The last day of a period (3.3); one-time: of the value period, since release 3.8 (1.10)."""
    uses_value = terms.one_time and one_time_uses_value
    months = terms.value_length if uses_value else terms.billing_length
    return add_months(period, months) - timedelta(days=1)


def tax_point(terms: Terms, period: date, ordered: date | None, end: date) -> date:
    """The date that decides on the tax rate: never before the period, never moved back (5.2.2).

    ``ordered`` is oe.tax_point, ``end`` the period's end, which stands in for it.
    """
    point = ordered or end
    while point < period:
        point = add_months(point, terms.billing_length)
    return point


def due_date(today: date, terms_netto: int | None, automatic: bool | None) -> date:
    """When an invoice of today is to be paid (5.2.1); a weekend moves to Monday.

    ``automatic`` is None without payment terms. Raises TaskServerError for terms without days.
    """
    if not automatic:
        return today
    if terms_netto is None:
        raise TaskServerError(
            "the payment terms have no number of days",
            remedy="enter the days, or switch the automatic calculation off",
        )
    day = today + timedelta(days=terms_netto)
    return day + timedelta(days=max(0, 7 - day.weekday()) if day.weekday() >= 5 else 0)


def _walk(first: date, months: int, limit: date) -> Iterator[date]:
    """Cumulative: a day that ran over shifts all later ones (2.2)."""
    day = first
    while day <= limit:
        yield day
        day = add_months(day, months)
