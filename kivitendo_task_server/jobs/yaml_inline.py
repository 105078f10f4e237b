"""The part of the YAML dialect that stands on one line: scalars, quotes, brackets, anchors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from kivitendo_task_server.errors import JobFailed

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"

MAX_DEPTH = 100

COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.A)
_SIMPLE = re.compile(r"(|[^!@#%^&*].*?)(?=[\[\]{},]|: |- |:\s*$|$)", re.A)
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SINGLE_QUOTED = re.compile(r"'((?:[^']|'')*+)'")
_NAME = re.compile(r"[\w./-]+", re.A)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_ESCAPES = {
    **{"0": "\0", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r"},
    **{"t": "\t", "v": "\v", "z": "\0", '"': '"', "\\": "\\"},
}


_QUALIFIERS = {"!": "explicit transfer", "&": "anchor", "*": "alias"}


class YamlError(JobFailed):
    """The text is not what the dialect allows; the message names the line."""


def fail(reason: str, line: int) -> NoReturn:
    """Raise YamlError as the original words it, with the line counted from 1."""
    raise YamlError(f"YAML Error: {reason} (line {line} of the job's data)")


@dataclass
class Inline:
    """The part of a value that stands on one line; consumes ``rest`` from the front."""

    rest: str
    number: int
    anchors: dict[str, Value] = field(default_factory=dict)
    depth: int = 0

    def qualifiers(self) -> tuple[str | None, str | None]:
        """Drop a tag, and return the names of an anchor and of an alias, if there are any."""
        found: dict[str, str] = {}
        self.rest = self.rest.lstrip()
        while (sign := self.rest[:1]) in _QUALIFIERS:
            kind = _QUALIFIERS[sign]
            if sign in found:
                fail(f"More than one {kind}", self.number)
            rest = self.rest[1:]
            name = re.match(r"\S*" if sign == "!" else r"[^ ,:]*", rest, re.A)
            word = name.group() if name else ""
            if sign != "!" and not _NAME.fullmatch(word):
                fail(f"Invalid {kind}", self.number)
            found[sign] = word
            if "&" in found and "*" in found:
                fail("Can't define both an anchor and an alias", self.number)
            self.rest = rest[len(word) :].lstrip()
        return found.get("&"), found.get("*")

    def aliased(self, name: str) -> Value:
        """The value of an anchor that stands further up."""
        if name not in self.anchors:
            fail(f"No anchor for alias '*{name}'", self.number)
        return self.anchors[name]

    def expect_end(self) -> None:
        """Nothing but a comment may follow."""
        attached = self.rest[:1].strip()  # "'x'#y" is no comment
        if attached or COMMENT.sub("", self.rest).strip():
            fail("Couldn't parse single line value: text behind its end", self.number)

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
        else:
            key = self.whole_value() if whole and self.rest else self._flow()
        if key is None:
            key = ""  # of "~"
        if not isinstance(key, str):
            fail("Invalid element in map: a key must be text", self.number)
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
                    fail("Nested too deeply", self.number)
                value = self._flow_sequence() if opening == "[" else self._flow_mapping()
                self.depth -= 1
            elif opening == '"':
                value = _ESCAPE.sub(_unescaped, self._quoted(_DOUBLE_QUOTED, "double"))
            elif opening == "'":
                value = self._quoted(_SINGLE_QUOTED, "single").replace("''", "'")
            else:
                found = _SIMPLE.match(self.rest)
                if found is None:
                    fail("Can't parse inline implicit value ''", self.number)
                self.rest = self.rest[found.end() :]
                value = self._implicit(found.group(1))
        if anchor is not None:
            self.anchors[anchor] = value
        return value

    def _quoted(self, pattern: re.Pattern[str], kind: str) -> str:
        found = pattern.match(self.rest)
        if found is None:
            fail(f"Can't parse {kind} quoted string: the closing quote is missing", self.number)
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
                fail("Can't parse inline map: 'key: value' is needed", self.number)
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
            fail(f"{complaint}: '{closing}' is missing", self.number)

    def _implicit(self, text: str) -> str | None:
        """A plain scalar: its comment removed, ``~`` undefined, everything else text."""
        text = COMMENT.sub("", text).rstrip()
        if text == "~":
            return None
        if re.match(r"[@`]|[-?]\s", text):
            fail(f"Unrecognized implicit value '{text}': put it in quotes", self.number)
        return text


def _unescaped(found: re.Match[str]) -> str:
    code = found.group(1)
    if len(code) == 3:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, "\\" + code)
