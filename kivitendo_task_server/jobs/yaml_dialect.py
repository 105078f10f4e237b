"""Reads the YAML dialect of ``background_jobs.data`` (task-server.md, e.5).

kivitendo's rows are written for the Perl module YAML 1.30, a line-oriented reader of its own
kind: every scalar is text, the first of two equal keys wins, ``a: b: c`` is a value with a colon,
``%`` is plain text, a mapping in braces may not stand at the top. A YAML 1.1 library refuses half
of that and types the rest (dates, octal numbers, ``no``), so this is a reader of our own. Its
oracle is ``tests/vectors/yaml_vectors.json``; error texts begin as the original's do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kivitendo_task_server.jobs.yaml_inline import (
    COMMENT,
    MAX_DEPTH,
    Inline,
    Value,
    YamlError,
    fail,
)

__all__ = ["Value", "YamlError", "read"]


_SEPARATOR = re.compile(r"---(?:\s|$)", re.A)
_DIRECTIVE = re.compile(r"#\w+:\S*\s*", re.A)
_DASH = re.compile(r"-(?: |$)")
_MAPPING_LINE = re.compile(r"\?|.*:(?: |$)")
_COLON = re.compile(r"\s*:(?=\s|$)", re.A)
_BLOCK_SCALAR = re.compile(r"([|>])([-+]?)(\d*)(?:\s+#.*|\s*)$", re.A)
_COMPACT_MAPPING = re.compile(
    r"""\?|(?:[^\s:,!&|>\[\]{}"'#].*?|"[^"]*"\s*|'(?:[^']|'')*'\s*):(?: |$)"""
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")


@dataclass
class _Line:
    number: int
    indent: int
    content: str


def read(text: str) -> Value:
    """The last document of ``text``; None if there is none. Raises YamlError."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if found := _CONTROL.search(text):
        number = text.count("\n", 0, found.start()) + 1
        fail("Invalid characters in stream: a control character", number)
    result: Value = None
    for header, lines in _documents(text):
        result = _Document(lines).read(header)
    return result


def _documents(text: str) -> list[tuple[str, list[tuple[int, str]]]]:
    """What stands behind each ``---``, and the numbered lines that follow it."""
    documents: list[tuple[str, list[tuple[int, str]]]] = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        if _SEPARATOR.match(line):
            documents.append((line[3:].strip(), []))
        elif documents:
            documents[-1][1].append((number, line))
        elif line.strip() and not line.lstrip().startswith("#"):
            documents.append(("", [(number, line)]))
    return documents


class _Document:
    """One document; consumes its lines from the front."""

    def __init__(self, lines: list[tuple[int, str]]) -> None:
        self._lines = lines
        self._at = 0
        self._anchors: dict[str, Value] = {}
        self._depth = 0

    def read(self, header: str) -> Value:
        while found := _DIRECTIVE.match(header):
            header = header[found.end() :]
        number = self._lines[0][0] if self._lines else 1
        value = self._node(header, parent=-1, number=number)
        line = self._current()
        if line is not None:
            fail("Inconsistent indentation level", line.number)
        return value

    # lines

    def _current(self) -> _Line | None:
        """The next line with content, without consuming it; blank lines and comments are."""
        while self._at < len(self._lines):
            number, text = self._lines[self._at]
            content = text.lstrip(" ")
            if content.strip() and not content.lstrip().startswith("#"):
                return _Line(number, len(text) - len(content), content)
            self._at += 1
        return None

    # nodes

    def _node(self, rest: str, *, parent: int, number: int, in_mapping: bool = False) -> Value:
        """The value whose text begins with ``rest`` and whose container is indented ``parent``."""
        inline = Inline(rest, number, self._anchors, self._depth)
        anchor, alias = inline.qualifiers()
        rest = inline.rest
        value: Value
        if alias is None and (not rest or (in_mapping and _is_comment(rest))):
            value = self._nested(parent, in_mapping)
        elif alias is None and rest[:1] in ("|", ">"):
            value = self._block_scalar(rest, parent, number)
        else:
            self._expect_no_more(parent)
            if alias is not None:
                value = inline.aliased(alias)  # what stands behind it is not looked at
            else:
                value = "" if _is_comment(rest) else inline.whole_value()
        if anchor is not None:
            self._anchors[anchor] = value
        return value

    def _expect_no_more(self, parent: int) -> None:
        """A value that begins on its key's line ends there."""
        line = self._current()
        if line is not None and line.indent > parent and line.content[0] != "\t":
            fail("Inconsistent indentation level: a value ends with its line", line.number)

    def _nested(self, parent: int, in_mapping: bool) -> Value:
        """What stands, further indented, on the lines below; None if nothing does."""
        line = self._current()
        if line is None:
            return None
        if line.content[0] == "\t":
            fail("YAML_PARSE_ERR_NONSPACE_INDENTATION: a tab at the beginning", line.number)
        is_sequence = _DASH.match(line.content) is not None
        hanging = in_mapping and is_sequence and line.indent == parent
        if line.indent <= parent and not hanging:
            return None
        self._depth += 1
        if self._depth > MAX_DEPTH:
            fail("Nested too deeply", line.number)
        value: Value
        if is_sequence:
            value = self._sequence(line.indent, hanging)
        elif _MAPPING_LINE.match(line.content):
            value = self._mapping(line.indent)
        else:
            fail("Expected separator '---': 'key: value' lines are needed", line.number)
        self._depth -= 1
        return value

    def _at_indent(self, indent: int, kind: str) -> _Line | None:
        """The next line if it belongs to the collection (``kind``) indented so."""
        line = self._current()
        if line is None or line.indent < indent:
            return None
        if line.content[0] == "\t":
            fail(f"Invalid element in {kind}: a tab at the beginning", line.number)
        if line.indent > indent:
            fail("Inconsistent indentation level", line.number)
        return line

    def _mapping(self, indent: int) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        while (line := self._at_indent(indent, "map")) is not None:
            self._at += 1
            if line.content.startswith("?"):
                line, key, rest = self._explicit_key(line, indent)
            else:
                inline = Inline(line.content, line.number, self._anchors, self._depth)
                key, rest = inline.key(), inline.rest
            colon = _COLON.match(rest)
            if colon is None:
                fail("Invalid element in map: 'key: value' is needed", line.number)
            rest = rest[colon.end() :].strip()
            value = self._node(rest, parent=indent, number=line.number, in_mapping=True)
            mapping.setdefault(key, value)
        return mapping

    def _explicit_key(self, line: _Line, indent: int) -> tuple[_Line, str, str]:
        """``? key`` and the ``: value`` line behind it: that line, the key, what follows it."""
        inline = Inline(line.content[1:].strip(), line.number, self._anchors, self._depth)
        key = inline.key(whole=True)
        following = self._at_indent(indent, "map")
        if following is None:
            fail("Invalid element in map: '? key' without ': value'", line.number)
        self._at += 1
        return following, key, following.content

    def _sequence(self, indent: int, hanging: bool) -> list[Value]:
        sequence: list[Value] = []
        while (line := self._at_indent(indent, "sequence")) is not None:
            if not _DASH.match(line.content):
                if hanging:  # the mapping around it goes on, at the same indentation
                    break
                fail("Invalid element in sequence: '- value' is needed", line.number)
            rest = line.content[2:]
            inner = rest.lstrip(" ")
            if inner and (_DASH.match(inner) or _COMPACT_MAPPING.match(inner)):
                # "- a: 1" and "- - 1": the rest is the first line of a collection of its own
                offset = indent + 2 + len(rest) - len(inner)
                self._lines[self._at] = (line.number, " " * offset + inner)
                sequence.append(self._nested(indent, in_mapping=False))
            elif rest and not inner:
                self._at += 1
                sequence.append("")
            else:
                self._at += 1
                sequence.append(self._node(rest.strip(), parent=indent, number=line.number))
        return sequence

    def _block_scalar(self, header: str, parent: int, number: int) -> str:
        """Literal (``|``) and folded (``>``) text."""
        found = _BLOCK_SCALAR.match(header)
        if found is None:
            fail("No text allowed after indicator | or >", number)
        style, chomping, width = found.groups()
        if width and int(width) == 0:
            fail("Can't use zero as an indentation width", number)
        indent = max(parent, 0) + int(width) if width else self._block_indent(parent)
        text = "".join(f"{line}\n" for line in self._block_lines(indent))
        if style == ">":
            text = _folded(text)
        if chomping != "+":
            text = text.rstrip("\n") + ("" if chomping == "-" else "\n")
        return text

    def _block_indent(self, parent: int) -> int:
        """How far a block scalar is indented: as its first line is, unless that is blank."""
        for _, text in self._lines[self._at :]:
            content = text.lstrip(" ")
            depth = len(text) - len(content)
            if depth <= parent and content.startswith("#"):
                continue
            return depth if depth > parent and content[:1].strip() else parent + 1
        return parent + 1

    def _block_lines(self, indent: int) -> list[str]:
        """The lines of a block scalar without their indentation."""
        lines: list[str] = []
        while self._at < len(self._lines):
            text = self._lines[self._at][1]
            content = text.lstrip(" ")
            if content.strip() and len(text) - len(content) < indent:
                if not content.startswith("#"):
                    break
            else:
                lines.append(text[indent:])
            self._at += 1
        return lines


def _is_comment(text: str) -> bool:
    return not COMMENT.sub("", text).strip()


def _folded(text: str) -> str:
    """Neighbouring lines joined by a blank, and an empty line taken away between others.

    The second step looks at the beginning of a line only once, as the original's does: of several
    paragraphs of one line each, every other gap keeps its empty line.
    """
    text = re.sub(r"^(\S.*)\n(?=\S)", r"\1 ", text, flags=re.M)
    return re.sub(r"^(\S.*)\n(\n+\S)", r"\1\2", text, flags=re.M)
