"""A template's text, cut into literal text and directives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kivitendo_task_server.template_toolkit.errors import TemplateError

_STYLES = (("[%", "%]"), ("<%", "%>"))
_FLAGS = "-+=~"
# What a flag removes on its side of a directive, and what it leaves (Template Toolkit's manual,
# "Tag Styles": CHOMP_ONE, CHOMP_COLLAPSE, CHOMP_GREEDY).
_BEFORE = {
    "-": (re.compile(r"(?:\n|\A)[^\S\n]*\Z"), ""),
    "=": (re.compile(r"\s+\Z"), " "),
    "~": (re.compile(r"\s+\Z"), ""),
}
_AFTER = {
    "-": (re.compile(r"\A[^\S\n]*(?:\n|\Z)"), ""),
    "=": (re.compile(r"\A\s+"), " "),
    "~": (re.compile(r"\A\s+"), ""),
}


@dataclass(frozen=True)
class Text:
    """Literal text as it is printed; ``removed`` line breaks were chomped before and after."""

    text: str
    removed_before: int = 0
    removed_after: int = 0


@dataclass(frozen=True)
class Directive:
    """What stands between the tags, without flags; ``line`` is that of its first character."""

    text: str
    line: int


def cut(template: str, name: str) -> Iterator[Text | Directive]:
    """The parts of ``template`` in order. Raises TemplateError for a tag that is not closed."""
    opening, closing = _style(template)
    position, line, flag_before = 0, 1, ""
    while True:
        start = template.find(opening, position)
        if start < 0:
            yield _chomped(template[position:], flag_before, "")
            return
        end = template.find(closing, start)
        directive_line = line + template.count("\n", position, start)
        if end < 0:
            raise TemplateError(f"{opening} without {closing}", where=f"{name}:{directive_line}")
        inside = template[start + len(opening) : end]
        flag, inside, next_flag = _flags(inside)
        yield _chomped(template[position:start], flag_before, flag)
        yield Directive(inside, directive_line)
        line = directive_line + template.count("\n", start, end)
        position, flag_before = end + len(closing), next_flag


def _style(template: str) -> tuple[str, str]:
    return next((style for style in _STYLES if style[0] in template), _STYLES[0])


def _flags(inside: str) -> tuple[str, str, str]:
    """The chomp flag at the beginning, the rest, the flag at the end."""
    first = inside[0] if inside and inside[0] in _FLAGS else ""
    inside = inside[len(first) :]
    last = inside[-1] if inside and inside[-1] in _FLAGS else ""
    inside = inside[: len(inside) - len(last)]
    # [%# … %] comments out the whole directive, whatever its lines say
    return first, "" if inside.startswith("#") else inside, last


def _chomped(text: str, after_flag: str, before_flag: str) -> Text:
    """Text between two directives: what the one before and the one behind leave of it."""
    breaks = text.count("\n")
    if after_flag in _AFTER:
        pattern, replacement = _AFTER[after_flag]
        text = pattern.sub(replacement, text, count=1)
    removed_before = breaks - text.count("\n")
    if before_flag in _BEFORE:
        pattern, replacement = _BEFORE[before_flag]
        text = pattern.sub(replacement, text, count=1)
    return Text(text, removed_before, breaks - removed_before - text.count("\n"))
