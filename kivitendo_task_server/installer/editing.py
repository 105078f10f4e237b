"""Changing single keys in the text of a configuration file; all else stays as it is.

The grammar is that of :mod:`kivitendo_task_server.config.grammar`, whose positions are used, and
which has the last word: the result is parsed again and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kivitendo_task_server.config.grammar import BLANKS, ParsedFile, parse
from kivitendo_task_server.errors import ConfigurationError

Changes = Mapping[str, Mapping[str, str]]
"""Section -> key -> new value."""


def changed(content: bytes, changes: Changes, file: Path) -> bytes:
    """The content with those keys changed, comments and all other lines kept.

    ``file`` is named in errors. Raises ConfigurationError if the content is wrong, or if a value
    cannot be written in this dialect.
    """
    before = parse(content, file)
    lines: list[str | None] = list(content.decode("utf-8", "surrogateescape").split("\n"))
    added: dict[int, list[str]] = {}
    for section, values in changes.items():
        missing = [
            f"{key} = {value}".rstrip(BLANKS)
            for key, value in values.items()
            if not _replace(lines, before, section, key, value)
        ]
        if missing and section in before.header_lines:
            number = before.header_lines[section]
            if number < len(lines) and _continues(lines[number], "="):
                missing.append("")  # a key of nothing but blanks must not continue our value
            added.setdefault(number, []).extend(missing)
        elif missing:
            gap = [""] if lines[-1] else []
            added.setdefault(len(lines), []).extend([*gap, f"[{section}]", *missing, ""])
    text = "\n".join(_joined(lines, added))
    result = text.encode("utf-8", "surrogateescape")
    try:
        verified = parse(result, file).plain() == _wanted(before, changes)
    except ConfigurationError:
        verified = False
    if not verified:
        raise _not_writable(changes, file)
    return result


def _replace(
    lines: list[str | None], before: ParsedFile, section: str, key: str, value: str
) -> bool:
    """Put the value where the key's last one stands, and remove its others; False if none."""
    entry = before.sections.get(section, {}).get(key)
    if entry is None:
        return False
    for number in (*entry.replaced_lines, *entry.lines):
        line = lines[number - 1] or ""
        separator = next(character for character in line if character in "=:")
        following = number
        while following < len(lines) and _continues(lines[following], separator):
            lines[following] = None
            following += 1
        # a key of nothing but blanks, which came after it, must not continue what stood before it
        orphan = following < len(lines) and any(_continues(lines[following], c) for c in "=:")
        lines[number - 1] = "" if orphan else None
        if number == entry.lines[-1]:
            indent = line[: len(line) - len(line.lstrip(BLANKS))]
            lines[number - 1] = f"{indent}{key} {separator} {value}".rstrip(BLANKS)
    return True


def _continues(line: str | None, separator: str) -> bool:
    return line is not None and line.lstrip(BLANKS).startswith(separator)


def _joined(lines: list[str | None], added: Mapping[int, list[str]]) -> list[str]:
    """The lines that are left, each followed by those added after it."""
    result: list[str] = []
    for number, line in enumerate(lines, 1):
        if line is not None:
            result.append(line)
        result += added.get(number, [])
    return result


def _wanted(before: ParsedFile, changes: Changes) -> dict[str, dict[str, str | list[str]]]:
    wanted = before.plain()
    for section, values in changes.items():
        wanted.setdefault(section, {}).update(values)
    return wanted


def _not_writable(changes: Changes, file: Path) -> ConfigurationError:
    names = ", ".join(f"[{section}] {key}" for section in changes for key in changes[section])
    return ConfigurationError(
        f"a value of {names} cannot be written into a configuration file",
        where=str(file),
        remedy="use text of one line, without blanks at its ends",
    )
