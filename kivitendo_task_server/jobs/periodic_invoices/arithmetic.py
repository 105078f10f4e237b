"""The numbers of the original: IEEE doubles, fifteen digits, and its own way of rounding.

Section 6 of recurring-invoices.md. Amounts are ``float`` on purpose: rows must be identical to
kivitendo's, and those come from doubles in one fixed order of operations.
"""

from __future__ import annotations

import math
import struct

DIGITS = 15
"""The digit budget of :func:`rounded` since release 4.1.0; before it was 16 (section 1.10)."""

_SURE = 1e6
"""Below it the text of :func:`rounded` has at least seven decimals more than are kept."""


def number(text: str | None) -> float | None:
    """A numeric or real column, read as text, as the double the original computes with (6.1)."""
    return None if text is None else float(text)


def sent(value: float) -> str:
    """A double as the text the original sends to the database: 15 significant digits (6.1)."""
    return f"{value:.15g}"


def rounded(value: float | None, places: int, digits: int = DIGITS) -> float:
    """``round(x, d)`` of section 6.2: to about 12 decimals first, then half away from zero."""
    if value is None:
        return 0.0
    size = abs(value)
    if places == 2 and size < _SURE:
        # the text below only matters near a half cent: elsewhere this gives the same, sooner
        scaled = size * 100
        cents = int(scaled)
        rest = scaled - cents
        if not 0.4999 < rest < 0.5001:
            result = (cents + (rest > 0.5)) / 100
            return -result if value < 0 and result else result
    extra = max(min(10, digits - len(str(int(size))) - places), places)
    if places + extra == 0:
        return value
    text = f"{size:.{places + extra}f}"
    if text[-extra] < "5":
        result = float(text[:-extra])
    else:
        result = float(f"{int(text[:-extra].replace('.', '')) + 1}e-{places}")
    return -result if value < 0 and result else result


def rounded_to_precision(value: float, precision: float, digits: int = DIGITS) -> float:
    """Round to a multiple of ``defaults.precision`` (6.2), for instance to 0.05 in Switzerland.

    Raises ZeroDivisionError for a precision of 0, as section 6.2 demands an error there.
    """
    return rounded(rounded(value / precision, 0, digits) * precision, 2, digits)


def as_real(value: float) -> float:
    """What a ``real`` column gives back when it is read as text: the shortest text of a float4."""
    stored = _single(value)
    for significant in range(1, 10):
        shortest = float(f"{stored:.{significant}g}")
        # PostgreSQL does not take a text that lies exactly between two float4
        around = (math.nextafter(shortest, -math.inf), math.nextafter(shortest, math.inf))
        if all(_single(one) == stored for one in around):
            return shortest
    return stored


def real_sum(one: float, other: float) -> float:
    """What PostgreSQL makes of the sum of two values of type ``real``, each rounded to it before.

    Nearly, but not always, ``as_real(one + other)``.
    """
    return as_real(_single(one) + _single(other))


def _single(value: float) -> float:
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    return single
