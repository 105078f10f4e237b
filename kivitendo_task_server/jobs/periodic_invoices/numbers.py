"""Invoice numbers: the next free ones of a number range (section 5.8)."""

from __future__ import annotations

import re
from collections.abc import Iterator

_RANGE = re.compile(r"(.*?)([0-9]*)\Z", re.DOTALL)


def successors(last: str | None) -> Iterator[str]:
    """The numbers that follow the last used one, endlessly: R26-009, R26-010, R26-011 …

    Trailing digits count up and keep their width; without any, counting starts at 1.
    """
    match = _RANGE.match(last if last is not None else "0")
    assert match is not None
    prefix, digits = match.groups()
    number = int(digits or 0)
    width = len(digits) or 1
    while True:
        number += 1
        yield f"{prefix}{number:0{width}d}"
