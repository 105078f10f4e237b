"""``format=`` patterns of text variables: strftime with German names (section 3.4).

The locale of the machine has no say: names come from CLDR, as the original takes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.periods import add_months

MONTHS_DE = (
    "Januar", "Februar", "März", "April", "Mai", "Juni",
    "Juli", "August", "September", "Oktober", "November", "Dezember",
)  # fmt: skip
MONTHS_EN = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_MONTHS_SHORT = (
    "Jan.", "Feb.", "März", "Apr.", "Mai", "Juni",
    "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez.",
)  # fmt: skip
_DAYS = ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag")
_DAYS_SHORT = ("Mo.", "Di.", "Mi.", "Do.", "Fr.", "Sa.", "So.")

_USER_FORMATS = {
    "dd.mm.yy": "%d.%m.%Y",
    "dd/mm/yy": "%d/%m/%Y",
    "mm/dd/yy": "%m/%d/%Y",
    "yyyy-mm-dd": "%Y-%m-%d",
    "yy-mm-dd": "%Y-%m-%d",
}


@lru_cache(maxsize=64)  # the days of a run are few
def in_user_format(day: date, dateformat: str) -> str:
    """A date as the user's setting ``dateformat`` wants it; the year always has four digits."""
    return day.strftime(_USER_FORMATS.get(dateformat, "%d.%m.%Y"))


def quarter(day: date) -> int:
    """The quarter of the year, 1 to 4."""
    return (day.month - 1) // 3 + 1


def _week_of_month(day: date) -> int:
    """Weeks belong to the month that their Thursday lies in; the days before the first: 0."""
    return (day.day + 4 - day.isoweekday() + 6) // 7


def _first_of_quarter(day: date) -> date:
    return date(day.year, quarter(day) * 3 - 2, 1)


def _day_of_quarter(day: date) -> int:
    return (day - _first_of_quarter(day)).days + 1


def _length(first: date, months: int) -> int:
    """Days of so many months from the first of one."""
    return (add_months(first, months) - first).days


def _epoch(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


_Token = Callable[[date], str]

# Times are always midnight, in no time zone ("floating").
_TOKENS: dict[str, _Token] = {
    "Y": lambda d: str(d.year),
    "y": lambda d: f"{d.year % 100:02d}",
    "C": lambda d: str(d.year // 100),
    "G": lambda d: str(d.isocalendar().year),
    "g": lambda d: f"{d.isocalendar().year % 100:02d}",
    "m": lambda d: f"{d.month:02d}",
    "d": lambda d: f"{d.day:02d}",
    "e": lambda d: f"{d.day:2d}",
    "j": lambda d: f"{d.timetuple().tm_yday:03d}",
    "B": lambda d: MONTHS_DE[d.month - 1],
    "b": lambda d: _MONTHS_SHORT[d.month - 1],
    "h": lambda d: _MONTHS_SHORT[d.month - 1],
    "A": lambda d: _DAYS[d.weekday()],
    "a": lambda d: _DAYS_SHORT[d.weekday()],
    "u": lambda d: str(d.isoweekday()),
    "w": lambda d: str(d.isoweekday() % 7),
    "U": lambda d: d.strftime("%U"),
    "W": lambda d: d.strftime("%W"),
    "D": lambda d: f"{d.month:02d}/{d.day:02d}/{d.year % 100:02d}",
    "F": lambda d: d.isoformat(),
    "x": lambda d: f"{d.day:02d}.{d.month:02d}.{d.year}",
    "c": lambda d: f"{d.day:02d}.{d.month:02d}.{d.year}, 00:00:00",
    "H": lambda d: "00",
    "I": lambda d: "12",
    "k": lambda d: " 0",
    "l": lambda d: "12",
    "M": lambda d: "00",
    "S": lambda d: "00",
    "p": lambda d: "AM",
    "P": lambda d: "am",
    "T": lambda d: "00:00:00",
    "R": lambda d: "00:00",
    "r": lambda d: "12:00:00 AM",
    "X": lambda d: "00:00:00",
    "s": lambda d: str(_epoch(d)),
    "N": lambda d: "000000000",
    "n": lambda d: "\n",
    "t": lambda d: "\t",
    "%": lambda d: "%",
    "z": lambda d: "+0000",
    "Z": lambda d: "floating",
    "O": lambda d: "floating",  # replaced before all others, even in %%O
}


def _counting(count: Callable[[date], int], *names: str) -> dict[str, _Token]:
    """Each of these methods counts from one, and from zero with ``_0``."""
    from_one: dict[str, _Token] = {name: lambda d: str(count(d)) for name in names}
    return from_one | {f"{name}_0": lambda d: str(count(d) - 1) for name in names}


# The methods of the original's date objects that tell something; %{…} calls them by name.
_METHODS: dict[str, _Token] = {
    "year": _TOKENS["Y"],
    "ce_year": _TOKENS["Y"],
    "year_with_era": lambda d: f"{d.year}n. Chr.",
    "year_with_christian_era": lambda d: f"{d.year}AD",
    "year_with_secular_era": lambda d: f"{d.year}CE",
    "year_length": lambda d: str(_length(d.replace(month=1, day=1), 12)),
    "is_leap_year": lambda d: str(_length(d.replace(month=1, day=1), 12) - 365),
    "era": lambda d: "n. Chr.",
    "era_name": lambda d: "n. Chr.",
    "era_abbr": lambda d: "n. Chr.",
    "christian_era": lambda d: "AD",
    "secular_era": lambda d: "CE",
    "month_name": _TOKENS["B"],
    "month_abbr": _TOKENS["b"],
    "month_length": lambda d: str(_length(d.replace(day=1), 1)),
    "day_name": _TOKENS["A"],
    "day_abbr": _TOKENS["a"],
    "quarter_name": lambda d: f"{quarter(d)}. Quartal",
    "quarter_abbr": lambda d: f"Q{quarter(d)}",
    "quarter_length": lambda d: str(_length(_first_of_quarter(d), 3)),
    "local_day_of_week": lambda d: str(d.isoweekday()),
    "week": lambda d: str(d.isocalendar().week),
    "week_number": lambda d: str(d.isocalendar().week),
    "week_year": _TOKENS["G"],
    "week_of_month": lambda d: str(_week_of_month(d)),
    "weekday_of_month": lambda d: str((d.day + 6) // 7),
    "ymd": _TOKENS["F"],
    "date": _TOKENS["F"],
    "mdy": lambda d: f"{d.month:02d}-{d.day:02d}-{d.year}",
    "dmy": lambda d: f"{d.day:02d}-{d.month:02d}-{d.year}",
    "hms": _TOKENS["T"],
    "time": _TOKENS["T"],
    "epoch": _TOKENS["s"],
    "hires_epoch": _TOKENS["s"],
    "am_or_pm": _TOKENS["p"],
    "hour_1": lambda d: "24",
    "hour_12": lambda d: "12",
    "time_zone_long_name": _TOKENS["Z"],
    "time_zone_short_name": _TOKENS["Z"],
    **_counting(lambda d: d.month, "month", "mon"),
    **_counting(lambda d: d.day, "day", "mday", "day_of_month"),
    **_counting(lambda d: d.isoweekday(), "day_of_week", "wday", "dow"),
    **_counting(_day_of_quarter, "day_of_quarter", "doq"),
    **_counting(lambda d: d.timetuple().tm_yday, "day_of_year", "doy"),
    **_counting(quarter, "quarter"),
    **dict.fromkeys(("datetime", "iso8601", "rfc3339"), lambda d: f"{d.isoformat()}T00:00:00"),
    **dict.fromkeys(
        ("hour", "minute", "min", "second", "sec", "hour_12_0", "millisecond", "microsecond",
         "nanosecond", "fractional_second", "offset", "is_dst"),
        lambda d: "0",
    ),
}  # fmt: skip

_PATTERN = re.compile(r"%\{(\w+)\}|%([%a-zA-Z])|%([1-9])N")
_LETTERS = re.compile(r"%([%a-zA-Z]|[0-9]+[a-zA-Z])")
_FRACTION = re.compile(r"[1-9]N")


def formatted(day: date, pattern: str) -> str:
    """Apply a ``format=`` pattern to the base date of a variable (3.4).

    Raises TaskServerError for a ``%`` with a letter that means nothing, and for one with a number
    (only ``%1N`` to ``%9N`` may have one); an unknown ``%{method}`` and a ``%`` before anything
    else stay as they are.
    """
    for token in _LETTERS.findall(pattern):
        if token not in _TOKENS and not _FRACTION.fullmatch(token):
            raise TaskServerError(
                f"the pattern »{pattern}« contains %{token}, which means nothing",
                remedy="use %d %m %Y %B and the like; %% for a percent sign",
            )

    def replace(match: re.Match[str]) -> str:
        method, letter, digits = match.groups()
        if digits is not None:
            return "0" * int(digits)
        known = _METHODS.get(method) if method is not None else _TOKENS.get(letter)
        return known(day) if known else match.group(0)

    return _PATTERN.sub(replace, pattern.replace("%O", "floating"))
