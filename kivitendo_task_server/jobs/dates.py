"""Calendar arithmetic as kivitendo's Perl libraries do it."""

from __future__ import annotations

import calendar
import re
from datetime import date, timedelta


def minus_years(day: date, years: int) -> date:
    """The same day ``years`` earlier; 29 February becomes 28 February (jobs.md, 1.8)."""
    year = max(day.year - years, 1)
    return date(year, day.month, min(day.day, _last_day(year, day.month)))


def minus_months_keeping_month_end(day: date, months: int) -> date:
    """``months`` earlier; the last day of a month leads to the last day again (jobs.md, 1.9)."""
    month0 = max(day.year * 12 + day.month - 1 - months, 12)
    year, month = divmod(month0, 12)
    last = _last_day(year, month + 1)
    is_month_end = (day + timedelta(days=1)).day == 1
    return date(year, month + 1, last if is_month_end else min(day.day, last))


def _last_day(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


_ORDER = {"dd.mm.yy": "dmy", "dd/mm/yy": "dmy", "mm/dd/yy": "mdy"}


def parse_user_date(text: str, dateformat: str) -> date | None:
    """A date as the user writes it, or as YYYY-MM-DD; None if it is none.

    Years of two digits are those from 1970 to 2069.
    """
    numbers = re.fullmatch(r"\s*([0-9]{1,4})([-./])([0-9]{1,2})\2([0-9]{1,4})\s*", text)
    if numbers is None:
        return None
    first, sign, second, third = numbers.groups()
    order = "ymd" if sign == "-" else _ORDER.get(dateformat, "dmy")
    parts = dict(zip(order, (first, second, third), strict=True))
    year = int(parts["y"])
    if len(parts["y"]) == 2:
        year += 1900 if year >= 70 else 2000
    elif len(parts["y"]) != 4:
        return None
    try:
        return date(year, int(parts["m"]), int(parts["d"]))
    except ValueError:
        return None
