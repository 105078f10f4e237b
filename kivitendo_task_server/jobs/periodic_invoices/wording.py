"""Text variables ``<%name%>`` and ``<%name format=…%>`` in orders and mails (section 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from kivitendo_task_server.database.tenants import TenantUser
from kivitendo_task_server.jobs.periodic_invoices.date_format import (
    MONTHS_DE,
    MONTHS_EN,
    formatted,
    in_user_format,
    quarter,
)
from kivitendo_task_server.jobs.periodic_invoices.periods import add_months

# What is escaped depends on the user's language: umlauts only for English ones (3.2).
_MARKS = {"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;"}
_UMLAUTS = {
    "ä": "&auml;", "ö": "&ouml;", "ü": "&uuml;", "Ä": "&Auml;", "Ö": "&Ouml;", "Ü": "&Uuml;",
    "ß": "&szlig;",
}  # fmt: skip
# German has these entities, too, but for something that is no umlaut: so umlauts stay as they are,
# and so do the entities, on their way there and back.
_STAND_INS = {chr(0xE000 + n): entity for n, entity in enumerate(_UMLAUTS.values())}
_TABLES = {"de": _MARKS | _STAND_INS, "en": _MARKS | _UMLAUTS}
_ESCAPES = {language: str.maketrans(table) for language, table in _TABLES.items()}
_ENTITIES = {
    language: {entity: raw for raw, entity in table.items()} for language, table in _TABLES.items()
}
_ENTITY = re.compile(r"&[A-Za-z]+;")

REMEMBERED = 500  # texts of one period that are kept with their variables replaced


@dataclass(frozen=True)
class Variable:
    """The value of one variable, and the date that ``format=`` is applied to, if it has one."""

    text: str
    base: date | None = None


@dataclass(frozen=True)
class Wording:
    """Replaces variables in the texts of one invoice.

    ``drop_unknown``: up to release 3.5.x every ``<%word%>`` was replaced, unknown ones by nothing.
    """

    variables: Mapping[str, Variable]
    english: bool = False
    drop_unknown: bool = False
    names: tuple[str, ...] = field(init=False)
    _done: dict[tuple[str, bool], str] = field(init=False, default_factory=dict)
    """Texts with their variables replaced: many orders of a run have the same."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.variables))

    def text(self, template: str | None) -> str:
        """Replace ``<%…%>`` in a plain text; None becomes an empty text (3.1).

        Raises TaskServerError for a pattern that means nothing.
        """
        if not template or "<%" not in template:
            return template or ""
        return self._remembered(template, False)

    def html(self, template: str | None) -> str:
        """Replace ``&lt;%…%&gt;`` in an HTML text; the values are escaped (3.2)."""
        if not template or "%" not in template:
            return template or ""

        return self._remembered(template, True)

    def _remembered(self, template: str, in_html: bool) -> str:
        done = self._done.get((template, in_html))
        if done is None:
            if len(self._done) >= REMEMBERED:
                self._done.clear()
            done = self._done[template, in_html] = self._replaced(template, in_html)
        return done

    def _replaced(self, template: str, in_html: bool) -> str:
        def replace(match: re.Match[str]) -> str:
            name, pattern = match.groups()
            if not in_html:
                return self._value(name, pattern)
            return self._escape(self._value(name, pattern and self._unescape(pattern)))

        return _expression(self.names, in_html, self.drop_unknown).sub(replace, template)

    def _value(self, name: str, pattern: str | None) -> str:
        # names are recognised in any case, but only the right one has a value (3.2)
        variable = self.variables.get(name)
        if variable is None:
            return ""
        if pattern and variable.base is not None:
            return formatted(variable.base, pattern)
        return variable.text

    def _escape(self, text: str) -> str:
        return text.translate(_ESCAPES["en" if self.english else "de"])

    def _unescape(self, text: str) -> str:
        known = _ENTITIES["en" if self.english else "de"]
        return _ENTITY.sub(lambda match: known.get(match.group(0), match.group(0)), text)


@lru_cache(maxsize=16)
def _expression(names: tuple[str, ...], in_html: bool, any_word: bool) -> re.Pattern[str]:
    begin, end = ("&lt;%", "%&gt;") if in_html else ("<%", "%>")
    word = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    if any_word:
        word += "|(?-i:[a-z0-9_]+)"
    return re.compile(rf"{begin}({word})(?:\s+format\s*=\s*(.*?)\s*)?{end}", re.IGNORECASE)


def period_variables(period: date, end: date, user: TenantUser) -> dict[str, Variable]:
    """The fourteen variables of a period from ``period`` to ``end`` (3.3)."""
    months = MONTHS_EN if user.countrycode == "en" else MONTHS_DE
    month = period.replace(day=1)
    year = period.replace(month=1, day=1)
    variables: dict[str, Variable] = {}
    for word, step in (("current", 0), ("previous", -1), ("next", 1)):
        in_quarter = add_months(month, 3 * step)
        in_month = add_months(month, step)
        in_year = add_months(year, 12 * step)
        variables[f"{word}_quarter"] = Variable(str(quarter(in_quarter)), in_quarter)
        variables[f"{word}_month"] = Variable(str(in_month.month), in_month)
        variables[f"{word}_month_long"] = Variable(months[in_month.month - 1], in_month)
        variables[f"{word}_year"] = Variable(str(in_year.year), in_year)
    for name, day in (("period_start_date", period), ("period_end_date", end)):
        variables[name] = Variable(in_user_format(day, user.dateformat), day)
    return variables
