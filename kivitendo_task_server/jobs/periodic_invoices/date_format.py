"""``format=`` patterns of text variables: strftime with German names (section 3.4).

The locale of the machine has no say: names come from CLDR, as the original takes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

from kivitendo_task_server.errors import TaskServerError

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


def _weeks_since(day: date, *, monday_first: bool) -> int:
    """``%U`` and ``%W`` as the original counts: in some years one less than C's strftime."""
    weekday = day.isoweekday() if monday_first else day.isoweekday() % 7
    return max(0, (day.timetuple().tm_yday - 1 - weekday + 13) // 7 - 1)


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
    "U": lambda d: f"{_weeks_since(d, monday_first=False):02d}",
    "W": lambda d: f"{_weeks_since(d, monday_first=True):02d}",
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
    "O": lambda d: "floating",
}

_METHODS: dict[str, _Token] = {
    "year": _TOKENS["Y"],
    "month": lambda d: str(d.month),
    "mon": lambda d: str(d.month),
    "month_0": lambda d: str(d.month - 1),
    "month_name": _TOKENS["B"],
    "month_abbr": _TOKENS["b"],
    "day": lambda d: str(d.day),
    "mday": lambda d: str(d.day),
    "day_of_month": lambda d: str(d.day),
    "day_of_year": lambda d: str(d.timetuple().tm_yday),
    "doy": lambda d: str(d.timetuple().tm_yday),
    "day_of_week": lambda d: str(d.isoweekday()),
    "dow": lambda d: str(d.isoweekday()),
    "wday": lambda d: str(d.isoweekday()),
    "day_name": _TOKENS["A"],
    "day_abbr": _TOKENS["a"],
    "quarter": lambda d: str(quarter(d)),
    "quarter_name": lambda d: f"{quarter(d)}. Quartal",
    "quarter_abbr": lambda d: f"Q{quarter(d)}",
    "day_of_quarter": lambda d: str((d - date(d.year, quarter(d) * 3 - 2, 1)).days + 1),
    "doq": lambda d: str((d - date(d.year, quarter(d) * 3 - 2, 1)).days + 1),
    "week_number": lambda d: str(d.isocalendar().week),
    "week_year": lambda d: str(d.isocalendar().year),
    "week_of_month": lambda d: str((d.day + date(d.year, d.month, 1).weekday() + 3) // 7),
    "weekday_of_month": lambda d: str((d.day + 6) // 7),
    "ymd": lambda d: d.isoformat(),
    "date": lambda d: d.isoformat(),
    "mdy": lambda d: f"{d.month:02d}-{d.day:02d}-{d.year}",
    "dmy": lambda d: f"{d.day:02d}-{d.month:02d}-{d.year}",
    "hms": _TOKENS["T"],
    "time": _TOKENS["T"],
    "iso8601": lambda d: f"{d.isoformat()}T00:00:00",
    "datetime": lambda d: f"{d.isoformat()}T00:00:00",
    "hour": lambda d: "0",
    "minute": lambda d: "0",
    "second": lambda d: "0",
    "epoch": _TOKENS["s"],
}

_PATTERN = re.compile(r"%\{(\w+)\}|%([%a-zA-Z])|%([0-9]+)N")
_LONGEST_FRACTION = 2  # digits of the n in %nN; nobody wants a text of millions of zeros


def formatted(day: date, pattern: str) -> str:
    """Apply a ``format=`` pattern to the base date of a variable (3.4).

    Raises TaskServerError for a ``%`` with a letter that means nothing, and for a fraction of
    absurd length; an unknown ``%{method}`` and a ``%`` before anything else stay as they are.
    """

    def replace(match: re.Match[str]) -> str:
        method, letter, digits = match.groups()
        if method is not None:
            known = _METHODS.get(method)
            return known(day) if known else match.group(0)
        if digits is not None:
            if len(digits) > _LONGEST_FRACTION:
                raise TaskServerError(
                    f"the pattern »{pattern}« asks for {digits} digits of a second",
                    remedy="use %N, or %3N for three digits",
                )
            return "0" * int(digits)
        token = _TOKENS.get(letter)
        if token is None:
            raise TaskServerError(
                f"the pattern »{pattern}« contains %{letter}, which means nothing",
                remedy="use %d %m %Y %B and the like; %% for a percent sign",
            )
        return token(day)

    return _PATTERN.sub(replace, pattern)
