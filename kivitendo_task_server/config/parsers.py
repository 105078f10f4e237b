"""Parsers of single values: text of the configuration file -> typed value.

A parser returns the value, or UNSET where an empty text means the default; it calls ``warn``
with a sentence about what is accepted but doubtful, and raises NotAllowed with what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from kivitendo_task_server.config.masking import printable


class Unset:
    """The type of UNSET."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()

Warn: TypeAlias = Callable[[str], None]
Parser: TypeAlias = Callable[[str, Warn], Any]


class NotAllowed(ValueError):  # noqa: N818 - reads as what it says
    """The value is not allowed; the text says what is."""


OFF_WORDS = frozenset({"no", "false", "off", "n", "nein", "aus"})
ON_WORDS = frozenset({"1", "yes", "true", "on", "y", "ja", "ein"})
LEVELS = frozenset(
    {"NONE", "INFO", "DEBUG1", "DEBUG2", "QUERY", "TRACE", "BACKTRACE_ON_ERROR", "REQUEST_TIMER"}
    | {"REQUEST", "WARN", "SHOW_CALLER", "ALL", "DEVEL"}
)
SMALLEST_SENSIBLE_LIMIT = 32 * 1024 * 1024
"""Bytes. The service itself needs about as much."""

_UNITS = {"": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
_MISREAD_UNITS = {"k": "kb", "m": "mb", "g": "gb", "kib": "kb", "mib": "mb", "gib": "gb"}
_MEMORY = re.compile(r"([0-9]+)[ \t]*([a-z]*)", re.IGNORECASE)
_MEMORY_ALLOWED = "a number of bytes, or a number with kb, mb or gb, such as 500mb"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhd])+", re.IGNORECASE)


def text(value: str, warn: Warn) -> str:
    """Any text of one line; empty is a value too."""
    if any(character in value for character in "\n\r\0"):
        raise NotAllowed("one line of text")
    return value


def nonempty_text(value: str, warn: Warn) -> str:
    """A text of one line that must not be empty."""
    if not value:
        raise NotAllowed("a text that is not empty")
    return text(value, warn)


def text_or_default(value: str, warn: Warn) -> str | Unset:
    """Any text of one line; empty means the default."""
    return text(value, warn) if value else UNSET


def name_or_none(value: str, warn: Warn) -> str:
    """A name; "0" means none, like an empty text (task-server.md, a.5)."""
    return "" if value == "0" else text(value, warn)


def node_name(value: str, warn: Warn) -> str | Unset:
    """A name; empty and "0" mean the host's name (task-server.md, a.5)."""
    return UNSET if value in ("", "0") else text(value, warn)


def switch(value: str, warn: Warn) -> bool:
    """On or off: Perl's truth, except that the usual words for off are off (a.4, i.33)."""
    if value in ("", "0"):
        return False
    if value.lower() in OFF_WORDS:
        warn("taken as off, but kivitendo itself takes every text as on; write 0")
        return False
    if value.lower() not in ON_WORDS:
        warn("taken as on, like every text; write 1 or 0")
    return True


def switch_or_default(value: str, warn: Warn) -> bool | Unset:
    """On or off, and empty means the default, which depends on other keys."""
    return switch(value, warn) if value else UNSET


def choice(*allowed: str, empty: str | None = None) -> Parser:
    """One of some words, in any case; ``empty`` is what an empty value means (None: UNSET)."""

    def parse(value: str, warn: Warn) -> str | Unset:
        if not value:
            return UNSET if empty is None else empty
        if value.lower() not in allowed:
            raise NotAllowed(" or ".join(allowed))
        return value.lower()

    return parse


def whole_number(smallest: int, largest: int) -> Parser:
    """A whole number within limits; empty means the default."""

    def parse(value: str, warn: Warn) -> int | Unset:
        if not value:
            return UNSET
        if not re.fullmatch("[0-9]{1,18}", value) or not smallest <= int(value) <= largest:
            raise NotAllowed(f"a whole number from {smallest} to {largest}")
        return int(value)

    return parse


def session_minutes(value: str, warn: Warn) -> int | Unset:
    """Minutes; like kivitendo, what is no number, and 0, mean the default (a.5)."""
    if value and not re.fullmatch("[0-9]{1,9}", value):
        warn("not a whole number of minutes, so the default is taken")
        return UNSET
    return int(value) if value and int(value) else UNSET


def duration(value: str, warn: Warn) -> int | Unset:
    """Seconds, as a plain number or with units: ``600``, ``10m``, ``1h30m``."""
    if not value:
        return UNSET
    if re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    if not _DURATION.fullmatch(value):
        raise NotAllowed("seconds, or numbers with the units s, m, h, d, such as 600, 10m, 1h30m")
    parts = re.findall("([0-9]+)([smhd])", value.lower())
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def memory(value: str, warn: Warn) -> int | None:
    """Bytes, or with kb, mb, gb (powers of 1024); empty and 0 mean no limit (a.5, [system])."""
    if not value:
        return None
    match = _MEMORY.fullmatch(value)
    if match is None or len(match[1]) > 15:
        raise NotAllowed(_MEMORY_ALLOWED)
    unit = match[2].lower()
    if unit in _MISREAD_UNITS:
        unit = _MISREAD_UNITS[unit]
        warn(f"taken as {match[1]} {unit}, but kivitendo itself takes it as bytes; write {unit}")
    if unit not in _UNITS:
        raise NotAllowed(_MEMORY_ALLOWED)
    limit = int(match[1]) * _UNITS[unit]
    if 0 < limit < SMALLEST_SENSIBLE_LIMIT:
        warn(f"only {limit} bytes, less than the service itself needs")
    return limit or None


def levels(value: str, warn: Warn) -> frozenset[str]:
    """kivitendo's names of log levels, separated by blanks (task-server.md, f)."""
    names = {name.upper() for name in value.split()}
    if unknown := sorted(names - LEVELS):
        listed = printable(" ".join(unknown))
        warn(f"unknown levels {listed} are ignored; known are {' '.join(sorted(LEVELS))}")
    return frozenset(names & LEVELS - {"NONE"})
