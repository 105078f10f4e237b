"""The dialect of kivitendo.conf: text -> sections with positions (task-server.md, a.2).

It is the dialect of the Perl module Config::Std: no quoting, no escapes, no booleans; comments are
whole lines; a value goes on in lines that begin with the separator of its key line. Its oracle is
tests/vectors/config_vectors.json, recorded from that module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
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
_MOST_ERRORS = 100
"""How many lines that are not understood are named: more there are only in other kinds of files."""


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

    Invalid UTF-8 becomes U+FFFD. Raises ConfigurationError with every line that is not understood,
    or the first of them.
    """
    text = content.decode("utf-8", errors="replace")
    found: dict[str, dict[str, list[tuple[int, _KeyLine]]]] = {}
    header_lines: dict[str, int] = {}
    bad: list[_Bad] = []
    section, block = "", 0
    for item in _items(text.split("\n")):
        match item:
            case _Header(name=section, line=line):
                block += 1
                if section:  # "[]" without keys is no section
                    found.setdefault(section, {})
                header_lines.setdefault(section, line)
            case _KeyLine():
                keys = found.setdefault(section, {})
                keys.setdefault(item.key, []).append((block, item))
            case _Bad():
                bad.append(item)
    if bad:
        raise _refusal(file, bad)
    sections = {
        section: {key: _entry(file, section, key, given) for key, given in keys.items()}
        for section, keys in found.items()
    }
    return ParsedFile(file, sections, header_lines)


def _entry(file: Path, section: str, key: str, given: list[tuple[int, _KeyLine]]) -> Entry:
    """A key that is ``given`` in numbered section blocks: the last block's values count."""
    last = given[-1][0]
    return Entry(
        file,
        section,
        key,
        values=tuple(item.value for block, item in given if block == last),
        lines=tuple(item.line for block, item in given if block == last),
        replaced_lines=tuple(item.line for block, item in given if block != last),
    )


def _refusal(file: Path, bad: list[_Bad]) -> ConfigurationError:
    errors = [
        ConfigurationError(item.what, where=f"{file}:{item.line}", remedy=item.remedy or None)
        for item in bad[:_MOST_ERRORS]
    ]
    if more := len(bad) - len(errors):
        errors.append(
            ConfigurationError(
                f"{more} more lines are not understood",
                where=str(file),
                remedy="is it a configuration file?",
            )
        )
    return ConfigurationError.all_of(errors)


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
    if "\0" in stripped:
        return _Bad(number, "this is not text in UTF-8", "save the file as UTF-8 without BOM")
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
