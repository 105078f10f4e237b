"""What a translated template calls: variables, methods, filters, with Perl's meaning.

Only plain data is reached: dictionaries, lists, texts, numbers, dates and dataclasses' fields.
What does not exist is empty, as in Template Toolkit.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

LONGEST_TEXT = 5_000_000
"""Characters; a template that repeats itself must not fill the memory."""

LONGEST_SPAN = 10_000
"""Numbers in a range."""


class EvaluationError(ValueError):
    """What a template asks for cannot be: a wrong argument, or more than is reasonable."""


@dataclass(frozen=True)
class _Plugin:
    """What ``USE`` gives: of all that plugins can do, only what texts are made with."""

    name: str

    def call(self, method: str, *arguments: str) -> str:
        """What it would print. Raises EvaluationError for all that we do not have."""
        if method in ("t8", "escape", "html") and arguments:
            text = arguments[0]
            if method != "t8":
                return _FILTERS["html"](text)
            for number, value in enumerate(arguments[1:], 1):
                text = text.replace(f"#{number}", value)
            return text  # not translated: kivitendo's dictionaries are Perl
        raise EvaluationError(f"{self.name}.{method} of a plugin is not supported")


class Runtime:
    """The variables of one rendering and the functions that its template calls."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = dict(variables)

    def functions(self) -> dict[str, Callable[..., Any]]:
        """The functions by the names that translations use."""
        names = ("get", "assign", "default", "each", "dot", "filtered", "truth", "either", "both",
                 "negated", "compared", "computed", "joined", "shown", "span", "use")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def get(self, name: str, *arguments: Any) -> Any:
        """A variable; None if there is none."""
        return self._variables.get(name)

    def assign(self, name: str, value: Any) -> str:
        """Set a variable; nothing is printed."""
        self._variables[name] = value
        return ""

    def use(self, name: str, plugin: str) -> str:
        """Have a plugin of Template Toolkit's or kivitendo's by this name."""
        self._variables[name] = _Plugin(plugin)
        return ""

    def default(self, name: str, value: Any) -> str:
        """Set a variable that is not true yet."""
        if not self.truth(self._variables.get(name)):
            self._variables[name] = value
        return ""

    def each(self, name: str, value: Any) -> Iterator[None]:
        """Go through a list with the variable ``name``, and ``loop`` telling where it is."""
        items = _items(value)
        outer = self._variables.get("loop")
        for index, item in enumerate(items):
            if name:
                self._variables[name] = item
            elif isinstance(item, Mapping):
                self._variables.update({str(key): each for key, each in item.items()})
            self._variables["loop"] = {
                "index": index,
                "count": index + 1,
                "size": len(items),
                "max": len(items) - 1,
                "first": 1 if index == 0 else "",
                "last": 1 if index == len(items) - 1 else "",
                "prev": items[index - 1] if index else None,
                "next": items[index + 1] if index + 1 < len(items) else None,
            }
            yield
        self._variables["loop"] = outer

    def dot(self, value: Any, key: Any, *arguments: Any) -> Any:
        """``value.key``: a dictionary's or dataclass's entry, a list's element, or a method."""
        name = self.text(key)
        if isinstance(value, _Plugin):
            return value.call(name, *map(self.text, arguments))
        if isinstance(value, Mapping) and name in value:
            return value[name]
        if is_dataclass(value) and name in {each.name for each in fields(value)}:
            return getattr(value, name)
        if _is_list(value) and (name.isascii() and name.lstrip("-").isdigit()):
            return _element(value, int(name[:9]))
        method = _METHODS.get(name)
        if method is None:
            if name in _UNSUPPORTED and not isinstance(value, Mapping):
                raise EvaluationError(f"the method {name!r} is not supported")
            return None
        return _called(name, method, self, value, *map(self.text, arguments))

    def filtered(self, name: str, value: Any, *arguments: Any) -> str:
        """``value | name(arguments)``."""
        function = _FILTERS.get(name)
        if function is None:
            raise EvaluationError(f"there is no filter {name!r}")
        return _limited(_called(name, function, self.text(value), *map(self.text, arguments)))

    def truth(self, value: Any) -> bool:
        """Perl's truth: false are nothing, "" and 0; an empty list is true."""
        return _is_list(value) or isinstance(value, Mapping) or self.text(value) not in ("", "0")

    def either(self, first: Any, second: Any) -> Any:
        """``first OR second``."""
        return first if self.truth(first) else second

    def both(self, first: Any, second: Any) -> Any:
        """``first AND second``."""
        return second if self.truth(first) else first

    def negated(self, value: Any) -> Any:
        """``NOT value``."""
        return "" if self.truth(value) else 1

    def compared(self, sign: str, first: Any, second: Any) -> Any:
        """``==`` and ``!=`` compare texts, the others numbers."""
        if sign in ("==", "!="):
            equal = self.text(first) == self.text(second)
            return 1 if equal == (sign == "==") else ""
        a, b = _number(first), _number(second)
        return 1 if {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[sign] else ""

    def computed(self, sign: str, first: Any, second: Any) -> Any:
        """Arithmetic, and ``_`` which joins texts."""
        if sign == "_":
            return self.joined(first, second)
        a, b = _number(first), _number(second)
        if sign in ("/", "%", "div", "mod") and b == 0:
            raise EvaluationError("division by zero")
        results: dict[str, Callable[[], Any]] = {
            "+": lambda: a + b,
            "-": lambda: a - b,
            "*": lambda: a * b,
            "/": lambda: a / b,
            "div": lambda: int(a / b),
            "%": lambda: int(a) % int(b),
            "mod": lambda: int(a) % int(b),
        }
        return results[sign]()

    def joined(self, *parts: Any) -> str:
        """Texts behind each other."""
        return _limited("".join(map(self.text, parts)))

    def span(self, first: Any, last: Any) -> list[int]:
        """``[first .. last]``: whole numbers."""
        numbers = range(int(_number(first)), int(_number(last)) + 1)
        if len(numbers) > LONGEST_SPAN:
            raise EvaluationError("the range is too long")
        return list(numbers)

    def shown(self, value: Any) -> str:
        """What an expression prints."""
        return self.text(value)

    def text(self, value: Any) -> str:
        """A value as Perl would print it; lists and dictionaries print nothing."""
        if value is None or _is_list(value) or isinstance(value, Mapping) or is_dataclass(value):
            return ""
        if isinstance(value, bool):
            return "1" if value else "0"
        if isinstance(value, float):
            return str(int(value)) if value.is_integer() else repr(value)
        if isinstance(value, str):
            return value
        if isinstance(value, int | Decimal | date | datetime):
            return str(value)
        return ""


def _called(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"wrong arguments for {name!r}") from error


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _items(value: Any) -> list[Any]:
    """What FOREACH goes through: a dictionary's pairs, a single value as a list of one."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [{"key": key, "value": value[key]} for key in sorted(value, key=str)]
    return list(value) if _is_list(value) else [value]


def _element(value: Sequence[Any], index: int) -> Any:
    return value[index] if -len(value) <= index < len(value) else None


def _number(value: Any) -> Any:
    """A number as Perl reads it: a text's leading digits, otherwise 0."""
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value)) if math.isfinite(value) else Decimal(0)
    digits = ""
    for character in str(value or "").strip():
        if not (character in "0123456789" or (character in "+-" and not digits)
                or (character == "." and "." not in digits)):  # fmt: skip
            break
        digits += character
    try:
        return Decimal(digits)
    except ArithmeticError:
        return Decimal(0)


def _limited(text: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise EvaluationError("the text becomes too long")
    return text


_METHODS: dict[str, Callable[..., Any]] = {
    "size": lambda run, value: len(value) if _is_list(value) or isinstance(value, Mapping)
    else int(value is not None),
    "max": lambda run, value: len(_items(value)) - 1,
    "length": lambda run, value: len(run.text(value)),
    "defined": lambda run, value: 1 if value is not None else "",
    "first": lambda run, value: _element(_items(value), 0),
    "last": lambda run, value: _element(_items(value), -1),
    "reverse": lambda run, value: _items(value)[::-1],
    "sort": lambda run, value, key="": sorted(
        _items(value), key=lambda item: run.text(run.dot(item, key) if key else item)
    ),
    "unique": lambda run, value: list({run.text(item): item for item in _items(value)}.values()),
    "join": lambda run, value, glue=" ": glue.join(map(run.text, _items(value))),
    "keys": lambda run, value: sorted(map(str, value)) if isinstance(value, Mapping) else [],
    "values": lambda run, value: list(value.values()) if isinstance(value, Mapping) else [],
    "exists": lambda run, value, key="": 1 if isinstance(value, Mapping) and key in value else "",
    "item": lambda run, value, key="": run.dot(value, key),
    "upper": lambda run, value: run.text(value).upper(),
    "lower": lambda run, value: run.text(value).lower(),
    "trim": lambda run, value: run.text(value).strip(),
    "split": lambda run, value, by=" ": run.text(value).split(by or None),
    "list": lambda run, value: _items(value),
}  # fmt: skip

_UNSUPPORTED = frozenset(
    {"replace", "remove", "match", "search", "substr", "chunk", "repeat", "nsort", "grep", "slice"}
    | {"splice", "push", "pop", "shift", "unshift", "merge", "pairs", "sprintf", "ucfirst"}
)
"""Template Toolkit has these methods: a mail without what they give would be a poor mail."""

_FILTERS: dict[str, Callable[..., str]] = {
    "html": lambda text: html.escape(text).replace("&#x27;", "&#39;"),
    "html_entity": lambda text: html.escape(text).replace("&#x27;", "&#39;"),
    "xml": lambda text: html.escape(text).replace("&#x27;", "&apos;"),
    "html_break": lambda text: text.replace("\n\n", "\n<br />\n<br />\n"),
    "html_line_break": lambda text: text.replace("\n", "<br />\n"),
    "uri": lambda text: quote(text, safe="-_.~/:?#[]@!$&'()*+,;="),
    "url": lambda text: quote(text, safe="-_.~/:?#[]@!$&'()*+,;="),
    "upper": str.upper,
    "lower": str.lower,
    "ucfirst": lambda text: text[:1].upper() + text[1:],
    "trim": str.strip,
    "collapse": lambda text: " ".join(text.split()),
    "indent": lambda text, by="4": "\n".join(
        (" " * min(int(by), 80) if by.isdigit() else by) + line for line in text.split("\n")
    ),
    "truncate": lambda text, length="32", mark="...": text if len(text) <= int(length)
    else text[: max(0, int(length) - len(mark))] + mark,
    "replace": lambda text, old="", new="": text.replace(old, new) if old else text,
    "null": lambda text: "",
    "none": lambda text: text,
    # kivitendo's translations: the texts of its own templates are German already
    "$T8": lambda text: text,
}  # fmt: skip
