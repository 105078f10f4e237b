"""Options of a job, declared once: a frozen dataclass whose fields know how to read themselves.

::

    @dataclass(frozen=True)
    class Options:
        years: int = whole_number(1, maximum=100)
        dry_run: bool = switch()

    options = read_options(Options, context.options)

Job data holds text only (task-server.md, e.5). Unlike kivitendo we refuse what a job does not
know or cannot use, instead of taking it as 0 or as "on", and say what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.yaml_dialect import Value

T = TypeVar("T")
Reader = Callable[[Value], Any]

_ON = frozenset({"1", "yes", "true", "on", "ja"})
_OFF = frozenset({"", "0", "no", "false", "off", "nein"})


class _UnusableError(ValueError):
    """Why a value is refused; becomes the end of ``KEY must be …``."""


@dataclass(frozen=True)
class NoOptions:
    """For jobs that have none: any option is an error."""


def read_options(kind: type[T], data: Mapping[str, Value]) -> T:
    """Make ``kind`` of a job's data; JobFailed names each unknown, missing or bad option."""
    known = {option_name(option): option for option in fields(kind)}  # type: ignore[arg-type]
    problems = []
    if unknown := sorted(set(data) - set(known)):
        names = ", ".join(sorted(known)) or "none"
        problems.append(f"unknown: {', '.join(unknown)} (known: {names})")
    values: dict[str, Any] = {}
    for name, option in known.items():
        if name in data:
            try:
                values[option.name] = option.metadata["read"](data[name])
            except _UnusableError as reason:
                problems.append(f"{name} must be {reason}, not {_shown(data[name])}")
        elif option.default is MISSING and option.default_factory is MISSING:
            problems.append(f"{name} is missing")
    if problems:
        raise JobFailed(
            "the job's options are wrong: " + "; ".join(problems),
            remedy="correct the job's data",
        )
    return kind(**values)


def option_name(option: Field[Any]) -> str:
    """The key in the job's data; the field's own name unless that is a word of Python's."""
    return str(option.metadata.get("name") or option.name)


def switch(default: bool = False) -> Any:
    """On or off. Unlike in Perl ``no`` and ``false`` are off; present without a value is off."""

    def read(value: Value) -> bool:
        word = "" if value is None else value.lower() if isinstance(value, str) else None
        if word in _ON:
            return True
        if word in _OFF:
            return False
        raise _UnusableError("1 or 0 (yes or no)")

    return field(default=default, metadata={"read": read})


def whole_number(
    default: int, *, minimum: int = 0, maximum: int, zero_means_default: bool = False
) -> Any:
    """A number without fraction; undefined and empty mean the default, so may 0."""

    def read(value: Value) -> int:
        if value in (None, "") or (zero_means_default and value == "0"):
            return default
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
            number = int(value)
            if minimum <= number <= maximum:
                return number
        raise _UnusableError(f"a whole number from {minimum} to {maximum}")

    return field(default=default, metadata={"read": read})


def text(default: str | None = None, *, name: str | None = None, required: bool = False) -> Any:
    """Text; undefined and empty mean the default. A required one must be there and not blank."""

    def read(value: Value) -> str | None:
        if value is not None and not isinstance(value, str):
            raise _UnusableError("text")
        if "\0" in (value or ""):  # "\0" in double quotes; PostgreSQL has no such text
            raise _UnusableError("text without NUL characters")
        if required and not (value or "").strip():
            raise _UnusableError("text that is not blank")
        return value or default

    metadata = {"read": read, "name": name}
    return field(metadata=metadata) if required else field(default=default, metadata=metadata)


def address() -> Any:
    """A mail address, or several; undefined and empty mean none."""

    def read(value: Value) -> str | None:
        if value in (None, ""):
            return None
        if isinstance(value, str) and re.search(r"\S@\S+\Z", value.strip()):
            return value.strip()
        raise _UnusableError("a mail address")

    return field(default=None, metadata={"read": read})


def choice(default: str, *allowed: str, zero_means_default: bool = False) -> Any:
    """One of some words; undefined and empty mean the default, so may 0."""

    def read(value: Value) -> str:
        if value in (None, "") or (zero_means_default and value == "0"):
            return default
        if isinstance(value, str) and value in allowed:
            return value
        raise _UnusableError(f"one of {', '.join(allowed)}")

    return field(default=default, metadata={"read": read})


def texts(*, required: bool = False) -> Any:
    """A list of texts, none of them empty."""

    def read(value: Value) -> tuple[str, ...]:
        if value is None and not required:
            return ()
        if isinstance(value, list):
            words = tuple(item for item in value if isinstance(item, str) and item.strip())
            if len(words) == len(value) and (words or not required):
                return words
        raise _UnusableError("a list, each entry on a line beginning with '- '")

    metadata = {"read": read}
    return field(metadata=metadata) if required else field(default=(), metadata=metadata)


def mapping() -> Any:
    """``key: value`` lines of their own, further indented; whoever gets them reads them."""

    def read(value: Value) -> Mapping[str, Value]:
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        raise _UnusableError("a mapping: 'key: value' lines, further indented")

    return field(default_factory=dict, metadata={"read": read})


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 else f"'{value[:60]}…'"
    if value is None:
        return "undefined"
    return "a list" if isinstance(value, list) else "a mapping"
