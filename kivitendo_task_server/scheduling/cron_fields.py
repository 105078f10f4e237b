"""The fields of a cron specification in kivitendo's dialect (task-server.md, d.3).

The dialect is forgiving: list elements it does not know are dropped as long as another one is
understood, a step of 0 is ignored, a step behind a single number or a condition has no effect. Each
of these is accepted as kivitendo accepts it, and remembered as a remark for the people who read
schedules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kivitendo_task_server.errors import TaskServerError

_ELEMENT = re.compile(r"(?:(\*)|([0-9]+)(?:-([0-9]+))?)(?:/([0-9]+))?\Z")
_CONDITION = re.compile(r"([!<>])([0-9]+)(/[0-9]+)?\Z")


class CronError(TaskServerError):
    """A cron specification that kivitendo refuses too; ``what`` is kivitendo's text."""

    exit_code = 2


@dataclass(frozen=True)
class FieldKind:
    """One of the five places of a specification and its range of values, both included."""

    name: str
    low: int
    high: int


MINUTE = FieldKind("minute", 0, 59)
HOUR = FieldKind("hour", 0, 23)
DAY = FieldKind("day of the month", 1, 31)
MONTH = FieldKind("month", 1, 12)
WEEKDAY = FieldKind("weekday", 1, 7)
"""Sunday is 7; a 0 in the text has become one."""


@dataclass(frozen=True)
class CronField:
    """One understood field: ``values`` in ascending order without duplicates."""

    kind: FieldKind
    text: str
    values: tuple[int, ...]
    restricted: bool
    """Whether the field narrows anything. kivitendo counts the entries of the list, duplicates
    included: ``1-5,5,5`` has seven and so means every weekday."""
    wildcard: bool
    """Whether the field was written as "every" (``*``, ``*/5``, ``!3``, the whole range)."""
    remarks: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every value of the range is matched."""
        return len(self.values) == self.kind.high - self.kind.low + 1


def parse_field(kind: FieldKind, text: str) -> CronField:
    """Understand one field. Raises CronError with kivitendo's text."""
    remarks: list[str] = []
    parts, excluded, below, above, starred = _read_elements(kind, text, remarks)
    if below or above:
        parts.append(range(max([kind.low, *(n + 1 for n in above)]),
                           min([kind.high, *(n - 1 for n in below)]) + 1))  # fmt: skip
    if excluded and not any(parts):
        parts = [range(kind.low, kind.high + 1)]
        starred = True
    entries = _checked_entries(kind, text, parts, excluded)
    size = kind.high - kind.low + 1
    values = tuple(sorted(set(entries)))
    if len(entries) == size and len(values) < size:
        remarks.append(
            f"the {kind.name} list {text!r} names {size} values, duplicates included,"
            f" and so counts as every {kind.name}"
        )
    return CronField(
        kind=kind,
        text=text,
        values=values,
        restricted=len(entries) != size,
        wildcard=starred or len(values) == size,
        remarks=tuple(remarks),
    )


def _read_elements(
    kind: FieldKind, text: str, remarks: list[str]
) -> tuple[list[range], set[int], list[int], list[int], bool]:
    """The list's ranges, exclusions, ``<`` and ``>`` conditions, and whether there is a ``*``."""
    parts: list[range] = []
    excluded: set[int] = set()
    bounds: dict[str, list[int]] = {"<": [], ">": []}
    starred, usable = False, True
    for element in text.split(","):
        if condition := _CONDITION.match(element):
            sign, number = condition[1], _condition_number(element, condition[2], remarks)
            if condition[3]:
                remarks.append(f"the step of {element!r} is ignored")
            if number is None:
                if sign == "!":  # it takes away everything
                    raise _malformed(kind, text)
                usable = False
            elif sign == "!":
                excluded.add(number)
                if kind is WEEKDAY and number == 0:
                    remarks.append("'!0' takes away a 0 in the list, but Sunday is also 7")
            else:
                bounds[sign].append(number)
        elif match := _ELEMENT.match(element):
            star, first, last, step = match.groups()
            if star:
                starred = True
                part = range(kind.low, kind.high + 1)
            else:
                part = range(int(first), int(last or first) + 1)
            if step and not star and last is None:
                remarks.append(f"{element!r} means just {int(first)}: a step needs '*' or a range")
            if step and int(step) == 0:
                if part and step != "0":  # to Perl the text 00 is true, and so a step
                    raise CronError(
                        "Illegal modulus zero",
                        where=f"{kind.name} field",
                        remedy=f"leave out the step of {element!r}",
                    )
                remarks.append(f"the step of {element!r} is ignored")
            parts.append(part[:: int(step) or 1] if step else part)
            if not part:
                remarks.append(f"{element!r} is an empty range and left out")
        elif element:
            remarks.append(f"{element!r} in the {kind.name} field is not understood and left out")
    if not usable:
        remarks.append(
            f"a number in {text!r} is not octal: its conditions with < and > are left out"
        )
        bounds = {"<": [], ">": []}
    return parts, excluded, bounds["<"], bounds[">"], starred


def _condition_number(element: str, digits: str, remarks: list[str]) -> int | None:
    """The number behind a sign: octal if it begins with 0, as in Perl; None if it is not one."""
    if not digits.startswith("0"):
        return int(digits)
    try:
        number = int(digits, 8)
    except ValueError:
        return None
    if number != int(digits):
        remarks.append(f"the number of {element!r} is octal, because of its leading 0: {number}")
    return number


def _malformed(kind: FieldKind, text: str) -> CronError:
    return CronError(
        f"Malformed cron field '{text}'",
        where=f"{kind.name} field",
        remedy=f"numbers {0 if kind is WEEKDAY else kind.low} to {kind.high}, '*', A-B, each"
        " with an optional /STEP, in a list with commas; names are not known",
    )


def _checked_entries(
    kind: FieldKind, text: str, parts: Sequence[range], excluded: set[int]
) -> list[int]:
    """All entries, duplicates included, after the checks of the largest and smallest one.

    The checks look only at the ends, so that a range of billions costs nothing.
    """
    sundays: tuple[int, ...] = ()
    if kind is WEEKDAY:
        parts, sundays = _sunday_is_seven(parts, excluded)
    largest = [end for part in parts for end in _first_kept(reversed(part), excluded)]
    smallest = [end for part in parts for end in _first_kept(part, excluded)]
    largest += sundays
    smallest += sundays
    if not largest:
        raise _malformed(kind, text)
    for value in (max(largest), min(smallest)):
        if not kind.low <= value <= kind.high:
            raise CronError(
                f"Field value ({value}) out of range ({kind.low}-{kind.high})",
                where=f"{kind.name} field",
                remedy="0 (Sunday) may stand in the list once"
                if kind is WEEKDAY and value == 0
                else None,
            )
    return [value for part in parts for value in part if value not in excluded] + [*sundays]


def _first_kept(values: Iterable[int], excluded: set[int]) -> list[int]:
    """The first value that is not excluded, as a list of at most one."""
    return next(([value] for value in values if value not in excluded), [])


def _sunday_is_seven(
    parts: Sequence[range], excluded: set[int]
) -> tuple[Sequence[range], tuple[int, ...]]:
    """The parts without 0, and the 7 that it has become, unless there is one already.

    That is done after the exclusions: ``!0`` takes away a 0, never the 7 of ``*``. Only one 0 is
    turned into a 7: kivitendo refuses a list that names it twice, as out of range.
    """
    zeros = 0 if 0 in excluded else sum(0 in part for part in parts)
    if zeros > 1:
        return parts, ()
    has_seven = 7 not in excluded and any(7 in part for part in parts)
    kept = [part[1:] if part and part[0] == 0 else part for part in parts]
    return kept, (7,) if zeros and not has_seven else ()
