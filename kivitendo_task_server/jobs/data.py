"""The data column of a job: reading it, writing it back, and Perl's idea of truth.

The dialect itself is :mod:`kivitendo_task_server.jobs.yaml_dialect` (task-server.md, e.5).
"""

from __future__ import annotations

import re

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.yaml_dialect import MAX_DEPTH, Value, read

# what every YAML reader, and Perl's, takes as the same text without quotes
_PLAIN = re.compile(r"[\w./+][\w./+@-]*(?: [\w./+@(-][\w./+@()-]*)*")


def parse_data(text: str | None) -> dict[str, Value]:
    """The options in ``background_jobs.data``; NULL, empty and ``0`` mean none.

    Raises JobFailed if the text is not in the dialect, or is not a mapping at its top.
    """
    if text in (None, "", "0"):
        return {}
    assert text is not None
    options = read(text)
    if options is None:
        return {}
    if not isinstance(options, dict):
        kind = "a list" if isinstance(options, list) else "plain text"
        raise JobFailed(
            f"Not a HASH reference: the job's data is {kind}",
            remedy="write it as 'key: value' lines",
        )
    return options


def write_data(value: Value) -> str:
    """The text kivitendo writes for ``value``: sorted keys, block style (task-server.md, e.5).

    Read back by :func:`parse_data` it gives the same again. Raises JobFailed for nesting beyond
    what the reader takes.
    """
    if isinstance(value, (dict, list)) and value:
        return "---\n" + "\n".join(_block(value, "", 0)) + "\n"
    return f"--- {_scalar(value)}\n"


def is_true(value: object) -> bool:
    """Perl's truth: undefined, empty text and ``0`` are false, all else (``no``!) is true."""
    return value is not None and value not in ("", "0")


def _block(value: dict[str, Value] | list[Value], indent: str, depth: int) -> list[str]:
    if depth > MAX_DEPTH:
        raise JobFailed("the job's data is nested too deeply to be written")
    lines: list[str] = []
    items = (
        [(f"{_scalar(key)}:", value[key]) for key in sorted(value)]
        if isinstance(value, dict)
        else [("-", item) for item in value]
    )
    for label, item in items:
        if isinstance(item, (dict, list)) and item:
            lines.append(indent + label)
            lines += _block(item, indent + "  ", depth + 1)
        else:
            lines.append(f"{indent}{label} {_scalar(item)}")
    return lines


def _scalar(value: Value) -> str:
    """One value on one line; quotes only where they are needed."""
    if value is None:
        return "~"
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "[]"
    if re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", value):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    if _PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("'", "''") + "'"


def _escaped(character: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    if character in named:
        return named[character]
    return f"\\x{ord(character):02x}" if character < " " else character
