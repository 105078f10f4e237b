"""From a template's parts to the text of a Jinja2 template.

The Jinja2 text has the same number of line breaks before each directive as the original, so that
a line of the one is a line of the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kivitendo_task_server.template_toolkit.errors import TemplateError
from kivitendo_task_server.template_toolkit.expressions import (
    ExpressionError,
    Parser,
    quoted,
    tokens,
)
from kivitendo_task_server.template_toolkit.source import Text, cut

# Jinja2's tags, made of characters that no text contains (they are removed from the template).
BLOCK = ("\x01%", "%\x01")
VARIABLE = ("\x02{", "}\x02")
COMMENT = ("\x03#", "#\x03")
_RESERVED = re.compile("[\x00-\x03]")

_UNSUPPORTED = frozenset(
    {"INCLUDE", "PROCESS", "INSERT", "WRAPPER", "BLOCK", "MACRO", "PERL", "RAWPERL", "TRY"}
    | {"THROW", "CATCH", "FINAL", "WHILE", "SWITCH", "CASE", "STOP", "RETURN", "CLEAR", "META"}
    | {"TAGS", "DEBUG", "VIEW", "CALL"}
)


@dataclass
class _Open:
    """A block that waits for its END."""

    directive: str
    line: int
    closing: str


@dataclass
class _Translator:
    name: str
    output: list[str] = field(default_factory=list)
    open_blocks: list[_Open] = field(default_factory=list)

    def directive(self, text: str, line: int) -> None:
        parser = Parser(tokens(text))
        while not parser.at_end():
            if not parser.accept(";"):
                self._statement(parser, line)
                if not parser.at_end():
                    parser.expect(";")

    def finish(self) -> None:
        if self.open_blocks:
            block = self.open_blocks[-1]
            raise TemplateError(f"{block.directive} without END", where=f"{self.name}:{block.line}")

    def _statement(self, parser: Parser, line: int) -> None:
        word = parser.peek()
        if word in _UNSUPPORTED:
            raise ExpressionError(f"the directive {word} is not supported")
        if parser.accept("USE"):
            self._use(parser)
        elif parser.accept("IF", "UNLESS"):
            self._block("if " + _condition(parser, word), word, line, "endif")
        elif parser.accept("ELSIF"):
            self._inside("IF", "UNLESS")
            self._block_tag("elif " + _condition(parser, "IF"))
        elif parser.accept("ELSE"):
            self._inside("IF", "UNLESS")
            self._block_tag("else")
        elif parser.accept("FOREACH", "FOR"):
            self._block(_loop(parser), word, line, "endfor")
        elif parser.accept("FILTER"):
            self._block("set _filtered", word, line, "endset", parser.filter("_filtered"))
        elif parser.accept("END"):
            self._end()
        else:
            self._simple(parser)

    def _use(self, parser: Parser) -> None:
        """``USE Plugin``, ``USE name = Plugin(arguments)``; the arguments do not matter."""
        name = plugin = parser.name()
        if parser.accept("="):
            plugin = parser.name()
        self.output.append(f"{VARIABLE[0]} use({quoted(name)}, {quoted(plugin)}) {VARIABLE[1]}")
        while not parser.at_end() and parser.peek() != ";":
            parser.skip()

    def _simple(self, parser: Parser) -> None:
        """A statement that may have a condition behind it."""
        word = parser.accept("NEXT", "LAST")
        if word:
            self._inside("FOREACH", "FOR")
            action = f"{BLOCK[0]} {'continue' if word == 'NEXT' else 'break'} {BLOCK[1]}"
        else:
            action = f"{VARIABLE[0]} {_value(parser)} {VARIABLE[1]}"
        condition = parser.accept("IF", "UNLESS")
        if condition:
            self._block_tag("if " + _condition(parser, condition))
        self.output.append(action)
        if condition:
            self._block_tag("endif")

    def _block(self, tag: str, directive: str, line: int, closing: str, then: str = "") -> None:
        end = f"{BLOCK[0]} {closing} {BLOCK[1]}"
        if then:
            end += f"{VARIABLE[0]} {then} {VARIABLE[1]}"
        self._block_tag(tag)
        self.open_blocks.append(_Open(directive, line, end))

    def _end(self) -> None:
        if not self.open_blocks:
            raise ExpressionError("END without a block")
        self.output.append(self.open_blocks.pop().closing)

    def _inside(self, *directives: str) -> None:
        """Check that the statement is in such a block (for IF: directly)."""
        around = self.open_blocks[-1:] if "IF" in directives else self.open_blocks
        if not any(block.directive in directives for block in around):
            raise ExpressionError(f"only allowed inside {directives[0]}")

    def _block_tag(self, text: str) -> None:
        self.output.append(f"{BLOCK[0]} {text} {BLOCK[1]}")


def translate(template: str, name: str) -> str:
    """The Jinja2 text. Raises TemplateError with ``name`` and the line."""
    template = _RESERVED.sub("", template.replace("\r\n", "\n"))
    translator = _Translator(name)
    for part in cut(template, name):
        if isinstance(part, Text):
            translator.output += [_breaks(part.removed_before), part.text]
            translator.output.append(_breaks(part.removed_after))
            continue
        try:
            translator.directive(part.text, part.line)
        except ExpressionError as error:
            raise TemplateError(str(error), where=f"{name}:{part.line}") from error
        translator.output.append(_breaks(part.text.count("\n")))
    translator.finish()
    return "".join(translator.output)


def _breaks(count: int) -> str:
    """Line breaks that count but are not printed."""
    return f"{COMMENT[0]}{chr(10) * count}{COMMENT[1]}" if count else ""


def _condition(parser: Parser, directive: str) -> str:
    condition = f"truth({parser.expression()})"
    return f"not {condition}" if directive == "UNLESS" else condition


def _loop(parser: Parser) -> str:
    """``x IN list``, ``x = list`` or just ``list``."""
    if parser.peek(1) in ("IN", "in", "="):
        variable = parser.name()
        parser.accept("IN", "in", "=")
        return f"for _ in each({quoted(variable)}, {parser.expression()})"
    return f'for _ in each("", {parser.expression()})'


def _value(parser: Parser) -> str:
    """An assignment, or an expression to print."""
    word = parser.accept("SET", "DEFAULT", "GET")
    if word in ("SET", "DEFAULT") or (not word and parser.peek(1) == "="):
        assignments: list[str] = []
        while not assignments or parser.peek(1) == "=":
            variable = parser.name()
            parser.expect("=")
            function = "default" if word == "DEFAULT" else "assign"
            assignments.append(f"{function}({quoted(variable)}, {parser.expression()})")
            parser.accept(",")
        return " ~ ".join(assignments)
    return f"shown({parser.expression()})"
