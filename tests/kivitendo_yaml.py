"""A job's data as kivitendo itself writes it; the service only reads it."""

from __future__ import annotations

import re

from kivitendo_task_server.jobs.yaml_dialect import Value

# what every YAML reader, and Perl's, takes as the same text without quotes
_PLAIN = re.compile(r"[\w./+][\w./+@-]*(?: [\w./+@(-][\w./+@()-]*)*")


def write_data(value: Value) -> str:
    """The text kivitendo writes for ``value``: sorted keys, block style (task-server.md, e.5).

    What kivitendo's pages have stored is what jobs are given to read.
    """
    if isinstance(value, (dict, list)) and value:
        return "---\n" + "\n".join(_block(value, "")) + "\n"
    return f"--- {_scalar(value)}\n"


def _block(value: dict[str, Value] | list[Value], indent: str) -> list[str]:
    lines: list[str] = []
    items = (
        [(f"{_scalar(key)}:", value[key]) for key in sorted(value)]
        if isinstance(value, dict)
        else [("-", item) for item in value]
    )
    for label, item in items:
        if isinstance(item, (dict, list)) and item:
            lines.append(indent + label)
            lines += _block(item, indent + "  ")
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
