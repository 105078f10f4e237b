"""Reads the YAML dialect of ``background_jobs.data`` (task-server.md, e.5).

kivitendo's rows are written for the Perl module YAML 1.30, a line-oriented reader of its own
kind: every scalar is text, the first of two equal keys wins, ``a: b: c`` is a value with a colon,
``%`` is plain text, a mapping in braces may not stand at the top. A YAML 1.1 library refuses half
of that and types the rest (dates, octal numbers, ``no``), so this is a reader of our own. Its
oracle is ``tests/vectors/yaml_vectors.json``; error texts begin as the original's do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from kivitendo_task_server.errors import JobFailed

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"

MAX_DEPTH = 100

_SEPARATOR = re.compile(r"---(?:\s|$)", re.A)
_DIRECTIVE = re.compile(r"#\w+:\S*\s*", re.A)
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.A)
_DASH = re.compile(r"-(?: |$)")
_MAPPING_LINE = re.compile(r"\?|.*:(?: |$)")
_COLON = re.compile(r"\s*:(?=\s|$)", re.A)
_BLOCK_SCALAR = re.compile(r"([|>])([-+]?)(\d*)\s*(?:#.*)?$", re.A)
_SIMPLE = re.compile(r"(|[^!@#%^&*].*?)(?=[\[\]{},]|: |- |:\s*$|$)", re.A)
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SINGLE_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")
_ESCAPES = {
    **{"0": "\0", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r"},
    **{"t": "\t", "v": "\v", "z": "\0", '"': '"', "\\": "\\"},
}


class YamlError(JobFailed):
    """The text is not what the dialect allows; the message names the line."""


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
        _fail("Invalid characters in stream: a control character", number)
    result: Value = None
    for header, lines in _documents(text):
        result = _Document(lines).read(header)
    return result


def _documents(text: str) -> list[tuple[str, list[tuple[int, str]]]]:
    """What stands behind each ``---``, and the numbered lines that follow it."""
    documents: list[tuple[str, list[tuple[int, str]]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if _SEPARATOR.match(line):
            documents.append((line[3:].strip(), []))
        elif documents:
            documents[-1][1].append((number, line))
        elif line.strip() and not line.lstrip().startswith("#"):
            documents.append(("", [(number, line)]))
    return documents


def _fail(reason: str, line: int) -> NoReturn:
    raise YamlError(f"YAML Error: {reason} (line {line} of the job's data)")


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
            if line.indent > 0:
                _fail("Inconsistent indentation level", line.number)
            _fail("Expected separator '---': 'key: value' lines are needed", line.number)
        return value

    # lines

    def _current(self) -> _Line | None:
        """The next line with content, without consuming it; blank lines and comments are."""
        while self._at < len(self._lines):
            number, text = self._lines[self._at]
            content = text.lstrip(" ")
            if content.strip() and not content.lstrip().startswith("#"):
                if content[0] == "\t":
                    _fail("YAML_PARSE_ERR_NONSPACE_INDENTATION: a tab at the beginning", number)
                return _Line(number, len(text) - len(content), content)
            self._at += 1
        return None

    # nodes

    def _node(self, rest: str, *, parent: int, number: int, in_mapping: bool = False) -> Value:
        """The value whose text begins with ``rest`` and whose container is indented ``parent``."""
        inline = _Inline(rest, number, self._anchors, self._depth)
        anchor, alias = inline.qualifiers()
        rest = inline.rest
        value: Value
        if alias is not None:
            inline.expect_end()
            value = inline.aliased(alias)
        elif not _COMMENT.sub("", rest).strip():
            value = self._nested(parent, in_mapping)
        elif rest[0] in "|>":
            value = self._block_scalar(rest, parent, number)
        else:
            value = inline.whole_value()
        if anchor is not None:
            self._anchors[anchor] = value
        return value

    def _nested(self, parent: int, in_mapping: bool) -> Value:
        """What stands, further indented, on the lines below; None if nothing does."""
        line = self._current()
        if line is None:
            return None
        is_sequence = _DASH.match(line.content) is not None
        hanging = in_mapping and is_sequence and line.indent == parent
        if line.indent <= parent and not hanging:
            return None
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _fail("Nested too deeply", line.number)
        value: Value = None
        if is_sequence:
            value = self._sequence(line.indent, hanging)
        elif _MAPPING_LINE.match(line.content):
            value = self._mapping(line.indent)
        self._depth -= 1
        return value

    def _at_indent(self, indent: int) -> _Line | None:
        """The next line if it belongs to the collection indented so."""
        line = self._current()
        if line is None or line.indent < indent:
            return None
        if line.indent > indent:
            _fail("Inconsistent indentation level", line.number)
        return line

    def _mapping(self, indent: int) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        while (line := self._at_indent(indent)) is not None:
            self._at += 1
            if line.content.startswith("?"):
                line, key, rest = self._explicit_key(line, indent)
            else:
                inline = _Inline(line.content, line.number, self._anchors, self._depth)
                key, rest = inline.key(), inline.rest
            colon = _COLON.match(rest)
            if colon is None:
                _fail("Invalid element in map: 'key: value' is needed", line.number)
            rest = rest[colon.end() :].strip()
            value = self._node(rest, parent=indent, number=line.number, in_mapping=True)
            mapping.setdefault(key, value)
        return mapping

    def _explicit_key(self, line: _Line, indent: int) -> tuple[_Line, str, str]:
        """``? key`` and the ``: value`` line behind it: that line, the key, what follows it."""
        inline = _Inline(line.content[1:].strip(), line.number, self._anchors, self._depth)
        key = inline.key(whole=True)
        following = self._at_indent(indent)
        if following is None:
            _fail("Invalid element in map: '? key' without ': value'", line.number)
        self._at += 1
        return following, key, following.content

    def _sequence(self, indent: int, hanging: bool) -> list[Value]:
        sequence: list[Value] = []
        while (line := self._at_indent(indent)) is not None:
            if not _DASH.match(line.content):
                if hanging:  # the mapping around it goes on, at the same indentation
                    break
                _fail("Invalid element in sequence: '- value' is needed", line.number)
            rest = line.content[2:]
            inner = rest.lstrip(" ")
            if inner and (_DASH.match(inner) or _is_compact_mapping(inner)):
                # "- a: 1" and "- - 1": the rest is the first line of a collection of its own
                offset = indent + 2 + len(rest) - len(inner)
                self._lines[self._at] = (line.number, " " * offset + inner)
                sequence.append(self._nested(indent, in_mapping=False))
            else:
                self._at += 1
                sequence.append(self._node(rest.strip(), parent=indent, number=line.number))
        return sequence

    def _block_scalar(self, header: str, parent: int, number: int) -> str:
        """Literal (``|``) and folded (``>``) text."""
        found = _BLOCK_SCALAR.match(header)
        if found is None:
            _fail("No text allowed after indicator | or >", number)
        style, chomping, width = found.groups()
        if width and int(width) == 0:
            _fail("Can't use zero as an indentation width", number)
        text = "\n".join(self._block_lines(parent, int(width or 0))) + "\n"
        if style == ">":
            text = _folded(text)
        if chomping != "+":
            text = text.rstrip("\n") + ("" if chomping == "-" else "\n")
        return text

    def _block_lines(self, parent: int, width: int) -> list[str]:
        """The lines of a block scalar without their indentation."""
        indent = max(parent, 0) + width if width else None
        lines: list[str] = []
        while self._at < len(self._lines):
            text = self._lines[self._at][1]
            content = text.lstrip(" ")
            depth = len(text) - len(content)
            if content.strip():
                if indent is None and depth > parent:
                    indent = depth
                if indent is None or depth < indent:
                    if not content.startswith("#"):
                        break
                    self._at += 1
                    continue
            lines.append(text[indent or depth :])
            self._at += 1
        return lines


def _is_compact_mapping(text: str) -> bool:
    """Whether what follows a dash is the first ``key: value`` of a mapping."""
    return re.match(r"(\w.*?|\"[^\"]*\"\s*|'[^']*'\s*):(?:\s|$)", text, re.A) is not None


def _folded(text: str) -> str:
    """Neighbouring lines joined by a blank; an empty line is a line break; indented ones stay."""
    out: list[str] = []
    for line in text.split("\n"):
        plain = bool(line) and not line[0].isspace()
        if plain and len(out) > 1 and out[-1] == "" and out[-2][:1].strip():
            out.pop()
            while len(out) > 1 and out[-1] == "" and out[-2] == "":
                out.pop()
            out.append(line)
        elif plain and out and out[-1][:1].strip():
            out[-1] += " " + line
        else:
            out.append(line)
    return "\n".join(out)


@dataclass
class _Inline:
    """The part of a value that stands on one line; consumes ``rest`` from the front."""

    rest: str
    number: int
    anchors: dict[str, Value] = field(default_factory=dict)
    depth: int = 0

    def qualifiers(self) -> tuple[str | None, str | None]:
        """Drop tags, and return the names of an anchor and of an alias, if there are any."""
        anchor = alias = None
        self.rest = self.rest.lstrip()
        while self.rest[:1] in ("!", "&", "*") and self.rest:
            sign, rest = self.rest[0], self.rest[1:]
            name = re.match(r"\S*" if sign == "!" else r"[^\s,:\]}]*", rest, re.A)
            word = name.group() if name else ""
            if sign == "&":
                if not word:
                    _fail("Invalid anchor", self.number)
                anchor = word
            elif sign == "*":
                if not word:
                    _fail("Invalid alias", self.number)
                alias = word
            self.rest = rest[len(word) :].lstrip()
        return anchor, alias

    def aliased(self, name: str) -> Value:
        """The value of an anchor that stands further up."""
        if name not in self.anchors:
            _fail(f"No anchor for alias '*{name}'", self.number)
        return self.anchors[name]

    def expect_end(self) -> None:
        """Nothing but a comment may follow."""
        attached = self.rest[:1].strip()  # "'x'#y" is no comment
        if attached or _COMMENT.sub("", self.rest).strip():
            _fail("Couldn't parse single line value: text behind its end", self.number)

    def whole_value(self) -> Value:
        """A value that takes the rest of the line."""
        if self.rest[0] in "[{\"'":
            value = self._flow()
            self.expect_end()
            return value
        text, self.rest = self.rest, ""
        return self._implicit(text)

    def key(self, *, whole: bool = False) -> str:
        """A mapping's key: plain or quoted; what follows it stays in ``rest``."""
        anchor, alias = self.qualifiers()
        if alias is not None:
            key = self.aliased(alias)
        elif self.rest[:1] in ("[", "{"):
            _fail("Invalid element in map: a key must be text", self.number)
        else:
            key = self.whole_value() if whole and self.rest else self._flow()
        if not isinstance(key, str):
            _fail("Invalid element in map: a key must be text", self.number)
        if anchor is not None:
            self.anchors[anchor] = key
        return key

    def _flow(self) -> Value:
        """A value that ends where a flow indicator or a colon stands."""
        anchor, alias = self.qualifiers()
        value: Value
        if alias is not None:
            value = self.aliased(alias)
        else:
            opening = self.rest[:1]
            if opening in ("[", "{"):
                self.depth += 1
                if self.depth > MAX_DEPTH:
                    _fail("Nested too deeply", self.number)
                value = self._flow_sequence() if opening == "[" else self._flow_mapping()
                self.depth -= 1
            elif opening == '"':
                value = _ESCAPE.sub(_unescaped, self._quoted(_DOUBLE_QUOTED, "double"))
            elif opening == "'":
                value = self._quoted(_SINGLE_QUOTED, "single").replace("''", "'")
            else:
                found = _SIMPLE.match(self.rest)
                if found is None:
                    _fail("Can't parse inline implicit value", self.number)
                self.rest = self.rest[found.end() :]
                value = self._implicit(found.group(1))
        if anchor is not None:
            self.anchors[anchor] = value
        return value

    def _quoted(self, pattern: re.Pattern[str], kind: str) -> str:
        found = pattern.match(self.rest)
        if found is None:
            _fail(f"Can't parse {kind} quoted string: the closing quote is missing", self.number)
        self.rest = self.rest[found.end() :]
        return found.group(1)

    def _flow_sequence(self) -> list[Value]:
        sequence: list[Value] = []
        self.rest = self.rest[1:].lstrip()
        while not self.rest.startswith("]"):
            sequence.append(self._flow())
            self._flow_separator("]", "Can't parse inline sequence")
        self.rest = self.rest[1:]
        return sequence

    def _flow_mapping(self) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        self.rest = self.rest[1:].lstrip()
        while not self.rest.startswith("}"):
            key = self.key()
            colon = re.match(r"\s*: ", self.rest)
            if colon is None:
                _fail("Can't parse inline map: 'key: value' is needed", self.number)
            self.rest = self.rest[colon.end() :]
            mapping.setdefault(key, self._flow())
            self._flow_separator("}", "Can't parse inline map")
        self.rest = self.rest[1:]
        return mapping

    def _flow_separator(self, closing: str, complaint: str) -> None:
        """Consume the comma behind an element; the closing bracket stays."""
        self.rest = self.rest.lstrip()
        if self.rest.startswith(","):
            self.rest = self.rest[1:].lstrip()
        elif not self.rest.startswith(closing):
            _fail(f"{complaint}: '{closing}' is missing", self.number)

    def _implicit(self, text: str) -> str | None:
        """A plain scalar: its comment removed, ``~`` undefined, everything else text."""
        text = _COMMENT.sub("", text).rstrip()
        if text == "~":
            return None
        if re.match(r"[@`]|[-?]\s", text):
            _fail(f"Unrecognized implicit value '{text}': put it in quotes", self.number)
        return text


def _unescaped(found: re.Match[str]) -> str:
    code = found.group(1)
    if len(code) == 3:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, "\\" + code)
