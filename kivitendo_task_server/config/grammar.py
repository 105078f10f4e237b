"""The dialect of kivitendo.conf: text -> sections with positions (task-server.md, a.2).

It is the dialect of the Perl module Config::Std: no quoting, no escapes, no booleans; comments are
whole lines; a value goes on in lines that begin with the separator of its key line. Its oracle is
tests/vectors/config_vectors.json, recorded from that module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from kivitendo_task_server.config.masking import is_secret
from kivitendo_task_server.errors import ConfigurationError

# What Perl's \s matches in undecoded text, without the newline; Python's str.strip() removes more
# (U+00A0, U+2028, the separators \x1c-\x1f), which belong to the value here.
BLANKS = " \t\r\f\v"

_BYTE_ORDER_MARK = "\ufeff"
_SEPARATOR = re.compile("[=:]")
_SHOWN = 40
"""How many characters of an offending line a message repeats."""


@dataclass(frozen=True)
class Entry:
    """One key of one section, with all values its section block gives it, and where."""

    file: Path
    section: str
    key: str
    values: tuple[str, ...] = field(repr=False)
    lines: tuple[int, ...]
    replaced_lines: tuple[int, ...] = ()
    """Lines of an earlier block of the same section whose values this one replaces."""

    @property
    def value(self) -> str:
        """The value that counts: the last one."""
        return self.values[-1]

    @property
    def where(self) -> str:
        """``file:line`` of the value that counts."""
        return f"{self.file}:{self.lines[-1]}"


@dataclass(frozen=True)
class ParsedFile:
    """The sections of one file; the section "" holds keys before the first header."""

    file: Path
    sections: dict[str, dict[str, Entry]]
    header_lines: dict[str, int]
    """Section -> line of its first header."""

    def plain(self) -> dict[str, dict[str, str | list[str]]]:
        """Section -> key -> value, or list of values, the way Config::Std has them."""
        return {
            section: {
                key: entry.values[0] if len(entry.values) == 1 else list(entry.values)
                for key, entry in entries.items()
            }
            for section, entries in self.sections.items()
        }


def parse(content: bytes, file: Path) -> ParsedFile:
    """Parse a whole file; ``file`` is only named in positions and errors.

    Invalid UTF-8 becomes U+FFFD. Raises ConfigurationError with every line that is not understood.
    """
    text = content.decode("utf-8", errors="replace")
    parsed = ParsedFile(file, {}, {})
    errors: list[ConfigurationError] = []
    section = ""
    block: dict[str, Entry] = {}
    for item in _items(text.split("\n")):
        match item:
            case _Header(name=section, line=line):
                _close(parsed, block)
                block = {}
                if section:  # "[]" without keys is no section
                    parsed.sections.setdefault(section, {})
                parsed.header_lines.setdefault(section, line)
            case _KeyLine():
                earlier = block.get(item.key)
                block[item.key] = Entry(
                    file,
                    section,
                    item.key,
                    values=(*(earlier.values if earlier else ()), item.value),
                    lines=(*(earlier.lines if earlier else ()), item.line),
                )
            case _Bad():
                errors.append(
                    ConfigurationError(
                        item.what, where=f"{file}:{item.line}", remedy=item.remedy or None
                    )
                )
    _close(parsed, block)
    if errors:
        raise ConfigurationError.all_of(errors)
    return parsed


def _close(parsed: ParsedFile, block: dict[str, Entry]) -> None:
    """Merge a finished section block: its keys replace those of earlier blocks."""
    for key, entry in block.items():
        keys = parsed.sections.setdefault(entry.section, {})
        if key in keys:
            before = keys[key]
            entry = replace(entry, replaced_lines=(*before.replaced_lines, *before.lines))
        keys[key] = entry


@dataclass(frozen=True)
class _Header:
    line: int
    name: str


@dataclass(frozen=True)
class _KeyLine:
    line: int
    key: str
    value: str


@dataclass(frozen=True)
class _Bad:
    line: int
    what: str
    remedy: str = ""


def _items(lines: list[str]) -> Iterator[_Header | _KeyLine | _Bad]:
    """The meaning of each line or, for values with continuations, group of lines."""
    index = 0
    section, after_secret = "", False
    while index < len(lines):
        line, number = lines[index], index + 1
        index += 1
        stripped = line.strip(BLANKS)
        if not stripped or stripped[0] in "#;":
            continue
        header = _header(stripped)
        if header is not None:
            section, after_secret = header, False
            yield _Header(number, header)
            continue
        separator = _SEPARATOR.search(line)
        key = _key(line[: separator.start()]) if separator else ""
        if separator is None or not key:
            # the line may hold a password, or the second half of one
            hidden = after_secret or is_secret(section, stripped)
            yield _not_understood(number, stripped, hidden)
            continue
        after_secret = is_secret(section, key)
        value, index = _value(lines, index, line[separator.start() :])
        yield _KeyLine(number, key, value)


def _header(stripped: str) -> str | None:
    """The section name if this is a header line, which only a comment may follow."""
    if not stripped.startswith("[") or (end := stripped.find("]")) < 0:
        return None
    rest = stripped[end + 1 :].lstrip(BLANKS)
    return stripped[1:end] if not rest or rest[0] in "#;" else None


def _key(before_separator: str) -> str:
    """The key; of nothing but blanks, Config::Std takes the last one as the key."""
    return before_separator.strip(BLANKS) or before_separator[-1:]


def _value(lines: list[str], index: int, first: str) -> tuple[str, int]:
    """The value that begins with its separator in ``first``, and the index of the line after it."""
    separator = first[0]
    text = first[1:].lstrip(BLANKS)
    padded = first[: len(first) - len(text)]
    parts = [text]
    while index < len(lines):
        line = lines[index].lstrip(BLANKS)
        if line.startswith(padded):
            parts.append(line[len(padded) :])
        elif line.startswith(separator):
            parts.append(line[1:])
        else:
            break
        index += 1
    # only a value of one line is trimmed
    return ("\n".join(parts), index) if len(parts) > 1 else (text.rstrip(BLANKS), index)


def _not_understood(number: int, stripped: str, hidden: bool) -> _Bad:
    if stripped.startswith(_BYTE_ORDER_MARK):
        return _Bad(
            number, "the file begins with a byte order mark", "save it as UTF-8 without BOM"
        )
    if stripped[0] in "=:":
        return _Bad(
            number,
            f"a line that begins with {stripped[0]!r} does not continue a value here",
            "put a key in front of it, or remove blank lines and comments before it",
        )
    shown = "" if hidden else f": {stripped[:_SHOWN]!r}"
    if stripped.startswith("["):
        return _Bad(
            number,
            f"a section header that is not closed by ']', or is followed by text{shown}",
            "write [section], with nothing but a comment after it",
        )
    return _Bad(
        number,
        f"neither a section, a key nor a comment{shown}",
        "write [section], key = value, or # in front of a comment",
    )
