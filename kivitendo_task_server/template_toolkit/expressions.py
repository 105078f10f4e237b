"""Template Toolkit's expressions, translated to Jinja2's.

Values are looked up and joined by the functions of the runtime, so that they mean what they mean
in Perl: "0" is false, an empty list is true, ``==`` compares texts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[0-9]{1,15}(?:\.[0-9]{1,15})?)
  | (?P<single>'(?:[^'\\]|\\.)*')
  | (?P<double>"(?:[^"\\]|\\.)*")
  | (?P<name>\$?[A-Za-z_]\w*)
  | (?P<sign>\.\.|==|!=|<=|>=|&&|\|\||=>|[-+*/%!<>=?:.,()\[\]{}|_;])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ALIASES = {"&&": "AND", "||": "OR", "!": "NOT", "and": "AND", "or": "OR", "not": "NOT"}
_INTERPOLATED = re.compile(r"\$(?:\{([^}]*)\}|([A-Za-z_]\w*(?:\.\w+)*))")
_DOUBLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_DEEPEST = 60  # nested parentheses and the like; deeper is no template that a person wrote


class ExpressionError(ValueError):
    """An expression that is not understood; the text says where."""


@dataclass(frozen=True)
class Token:
    """A word, a number, a text or a sign."""

    kind: str
    text: str


def tokens(text: str) -> list[Token]:
    """The tokens of a directive; comments (``#`` to the end of the line) are left out."""
    found: list[Token] = []
    position = 0
    while True:
        comment = re.compile(r"\s*#[^\n]*").match(text, position)
        if comment:
            position = comment.end()
            continue
        if not text[position:].strip():
            return found
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"not understood: {text[position:].strip()[:40]!r}")
        kind = str(match.lastgroup)
        word = match[kind]
        found.append(Token("sign", "_") if word == "_" else Token(kind, word))
        position = match.end()


def quoted(text: str) -> str:
    """A text as a literal of Jinja2."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return '"' + escaped.replace('"', '\\"') + '"'


class Parser:
    """Reads expressions from tokens, one after the other."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._position = 0
        self._depth = 0

    def peek(self, ahead: int = 0) -> str:
        """The next token's text; empty at the end, and for texts, which are never keywords."""
        index = self._position + ahead
        if index >= len(self._tokens) or self._tokens[index].kind in ("single", "double"):
            return ""
        return _ALIASES.get(self._tokens[index].text, self._tokens[index].text)

    def accept(self, *texts: str) -> str:
        """The next token's text, consumed if it is one of these, otherwise empty."""
        word = self.peek()
        if word not in texts:
            return ""
        self._position += 1
        return word

    def expect(self, text: str) -> None:
        """Consume this token. Raises ExpressionError if another one is next."""
        if not self.accept(text):
            raise ExpressionError(f"{text!r} expected {self._here()}")

    def name(self) -> str:
        """Consume a plain name."""
        if self.at_end() or self._tokens[self._position].kind != "name":
            raise ExpressionError(f"a name expected {self._here()}")
        self._position += 1
        return self._tokens[self._position - 1].text

    def skip(self) -> None:
        """Consume the next token, whatever it is."""
        self._position += 1

    def at_end(self) -> bool:
        """Whether all tokens are consumed."""
        return self._position >= len(self._tokens)

    def end(self) -> None:
        """Raises ExpressionError unless all tokens are consumed."""
        if not self.at_end():
            raise ExpressionError(f"not understood {self._here()}")

    def expression(self) -> str:
        """An expression with all its operators and filters."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ExpressionError("nested too deeply")
        value = self._alternative()
        while self.accept("|", "FILTER"):
            value = self.filter(value)
        self._depth -= 1
        return value

    def filter(self, value: str) -> str:
        """The filter that is named next, applied to ``value``."""
        name = self.name()
        arguments = self._arguments() if self.peek() == "(" else []
        return f"filtered({', '.join([quoted(name), value, *arguments])})"

    def _alternative(self) -> str:
        condition = self._or()
        if not self.accept("?"):
            return condition
        first = self.expression()
        self.expect(":")
        return f"({first} if truth({condition}) else {self.expression()})"

    def _or(self) -> str:
        value = self._and()
        while self.accept("OR"):
            value = f"either({value}, {self._and()})"
        return value

    def _and(self) -> str:
        value = self._not()
        while self.accept("AND"):
            value = f"both({value}, {self._not()})"
        return value

    def _not(self) -> str:
        if self.accept("NOT"):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise ExpressionError("nested too deeply")
            return f"negated({self._not()})"
        return self._comparison()

    def _comparison(self) -> str:
        value = self._sum()
        if sign := self.accept("==", "!=", "<", ">", "<=", ">="):
            return f"compared({quoted(sign)}, {value}, {self._sum()})"
        return value

    def _sum(self) -> str:
        value = self._product()
        while sign := self.accept("+", "-", "_"):
            value = f"computed({quoted(sign)}, {value}, {self._product()})"
        return value

    def _product(self) -> str:
        value = self._term()
        while sign := self.accept("*", "/", "%", "div", "mod"):
            value = f"computed({quoted(sign)}, {value}, {self._term()})"
        return value

    def _term(self) -> str:
        if self.accept("-"):
            return f'computed("-", 0, {self._term()})'
        if self.accept("("):
            inner = self.expression()
            self.expect(")")
            return self._dotted(inner)
        if self.accept("["):
            return self._list()
        if self.at_end():
            raise ExpressionError("an expression is missing")
        token = self._tokens[self._position]
        self._position += 1
        if token.kind == "number":
            return token.text if "." in token.text else str(int(token.text))
        if token.kind == "single":
            return quoted(re.sub(r"\\([\\'])", r"\1", token.text[1:-1]))
        if token.kind == "double":
            return _interpolated(token.text[1:-1])
        if token.kind == "name" and not token.text.startswith("$"):
            return self._dotted(f"get({quoted(token.text)}{self._optional_arguments()})")
        self._position -= 1
        raise ExpressionError(f"not understood {self._here()}")

    def _list(self) -> str:
        """What follows ``[``: elements, or a range."""
        items = self._items("]", "..")
        if self.accept(".."):
            last = self.expression()
            self.expect("]")
            if len(items) != 1:
                raise ExpressionError("a range is [FIRST .. LAST]")
            return self._dotted(f"span({items[0]}, {last})")
        return self._dotted(f"[{', '.join(items)}]")

    def _dotted(self, value: str) -> str:
        while self.accept("."):
            if self.at_end():
                raise ExpressionError("a name expected behind '.'")
            token = self._tokens[self._position]
            self._position += 1
            if token.kind == "name" and token.text.startswith("$"):
                key = f"get({quoted(token.text[1:])})"
            elif token.kind in ("name", "number"):
                key = quoted(token.text.split(".")[0])
            else:
                raise ExpressionError(f"a name expected behind '.', not {token.text!r}")
            value = f"dot({value}, {key}{self._optional_arguments()})"
            for part in token.text.split(".")[1:] if token.kind == "number" else ():
                value = f"dot({value}, {quoted(part)})"  # a.0.1 reads as the number 0.1
        return value

    def _optional_arguments(self) -> str:
        arguments = self._arguments() if self.peek() == "(" else []
        return "".join(f", {argument}" for argument in arguments)

    def _arguments(self) -> list[str]:
        self.expect("(")
        return self._items(")")

    def _items(self, closing: str, before: str = "") -> list[str]:
        """Expressions up to ``closing``, which is consumed, or ``before``, which is not."""
        items: list[str] = []
        while not self.accept(closing):
            if before and self.peek() == before:
                break
            items.append(self.expression())
            self.accept(",")
        return items

    def _here(self) -> str:
        if self.at_end():
            return "at the end"
        return "at " + repr(" ".join(token.text for token in self._tokens[self._position :])[:40])


def _interpolated(text: str) -> str:
    """A text in double quotes: its variables and escapes."""
    parts: list[str] = []
    position = 0
    for match in _INTERPOLATED.finditer(text):
        if text[: match.start()].endswith("\\"):
            continue
        parts.append(quoted(_unescaped(text[position : match.start()])))
        inner = Parser(tokens(match[1] or match[2]))
        parts.append(inner.expression())
        inner.end()
        position = match.end()
    parts.append(quoted(_unescaped(text[position:])))
    return f"joined({', '.join(parts)})" if len(parts) > 1 else parts[0]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: _DOUBLE_ESCAPES.get(m[1], m[1]), text, flags=re.DOTALL)
