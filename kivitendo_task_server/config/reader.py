"""From merged sections to typed values: parses key by key and collects all that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from kivitendo_task_server.config.environment import environment_changes
from kivitendo_task_server.config.files import Sections
from kivitendo_task_server.config.grammar import Entry
from kivitendo_task_server.config.keys import KEYS, OWN_SECTIONS, RUNNER, RUNNERS_SECTION, Key
from kivitendo_task_server.config.masking import printable, shown, shown_key
from kivitendo_task_server.config.parsers import UNSET, NotAllowed, Parser
from kivitendo_task_server.errors import ConfigurationError

DEFAULT_ORIGIN = "default"

_MOST_LINES = 20  # of a repeated key that a warning names
_JOB_NAME = re.compile(r"\w+(::\w+)*", re.ASCII)


@dataclass(frozen=True)
class Effective:
    """A setting in force, as it may be shown, and where it comes from."""

    section: str
    key: str
    value: str
    origin: str
    """``file:line``, or "default"."""


class Reader:
    """Reads sections; errors, warnings and effective settings gather in it."""

    def __init__(self, sections: Sections, config_file: Path) -> None:
        self.sections = sections
        self.config_file = config_file
        self.errors: list[ConfigurationError] = []
        self.warnings: list[str] = []
        self.effective: list[Effective] = []

    def values(self, section: str, keys: Iterable[Key], kind: type) -> dict[str, Any]:
        """Attribute -> value of the keys that are set; the others have the defaults of ``kind``."""
        result: dict[str, Any] = {}
        for key in keys:
            entry = self._entry(section, key)
            value = self._parsed(entry, key.parser) if entry else UNSET
            if key.required and (entry is None or not entry.value):
                self._missing(section, key, entry)
            origin = entry.where if entry and value is not UNSET else DEFAULT_ORIGIN
            if value is UNSET:
                value = key.default
            if value is not UNSET:
                result[key.attribute] = value
            else:
                value = _default(kind, key.attribute)
            self.effective.append(
                Effective(section, key.name, shown(section, key.name, _text(value)), origin)
            )
        return result

    def place(self, section: str, key: str) -> str:
        """``file:line: [section] key`` of a key that was read, for a message about its value."""
        origins = {(each.section, each.key): each.origin for each in self.effective}
        return f"{origins[section, key]}: [{section}] {key}"

    def runners(self) -> dict[str, Any]:
        """Job name -> runner, of [task_server/runners]."""
        result: dict[str, Any] = {}
        for key, entry in self.sections.get(RUNNERS_SECTION, {}).items():
            if entry.value.startswith(":"):
                self._not_allowed(
                    entry, "/ instead of :: in a job's name, as in SelfTest/Transactions"
                )
                continue
            name = key.replace("/", "::")
            if not _JOB_NAME.fullmatch(name):
                self._warn(entry, "this is not the name of a job, so it is ignored")
                continue
            runner = self._parsed(entry, RUNNER)
            if runner is not UNSET:
                result[name] = runner
                self.effective.append(Effective(RUNNERS_SECTION, key, runner, entry.where))
        return result

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What section [environment] changes of ``environ``."""
        entries = self.sections.get("environment", {})
        for entry in entries.values():
            if "\0" in entry.key + entry.value:
                self._not_allowed(entry, "text without the character NUL")
        return environment_changes({key: each.value for key, each in entries.items()}, environ)

    def require_sections(self, *names: str) -> None:
        """Note an error for each section that is missing from both files."""
        for section in (name for name in names if name not in self.sections):
            self.errors.append(
                ConfigurationError(
                    f"section [{section}] is missing",
                    where=str(self.config_file),
                    remedy="add it; kivitendo's config/kivitendo.conf.default shows its keys",
                )
            )

    def check_entries(self) -> None:
        """Warn about what no section may have: repeated keys, broken text, no section."""
        for section, entries in self.sections.items():
            for entry in entries.values():
                if len(entry.values) > 1:
                    self._warn(
                        entry,
                        f"given {len(entry.values)} times ({_lines(entry.lines)}); the last one"
                        " counts here, but kivitendo itself can use none of them",
                    )
                if entry.replaced_lines:
                    self._warn(
                        entry,
                        f"given before ({_lines(entry.replaced_lines)}); the last one counts",
                    )
                if "\ufffd" in entry.value:
                    self._warn(entry, "not valid UTF-8; save the file as UTF-8")
                if not section:
                    self._warn(entry, "stands before the first [section] and has no effect")

    def check_unknown(self) -> None:
        """Warn about unknown keys of our own sections, and sections that look like ours."""
        known_sections = [*KEYS, RUNNERS_SECTION]
        for section, entries in self.sections.items():
            if section in OWN_SECTIONS and section != RUNNERS_SECTION:
                known = [key.name for key in KEYS[section]]
                for name, entry in entries.items():
                    if name not in known:
                        self._warn(entry, f"unknown key, ignored{_suggestion(name, known)}")
            elif section not in known_sections and entries:
                like = _suggested_section(section, known_sections)
                if like or section.startswith("task_server"):
                    first = min(entries.values(), key=lambda entry: entry.lines)
                    self.warnings.append(
                        f"{first.where}: [{printable(section)}]: unknown section, ignored{like}"
                    )

    def _entry(self, section: str, key: Key) -> Entry | None:
        """The entry that counts for the key: its own, or one in an older place."""
        entry = self.sections.get(section, {}).get(key.name)
        if key.overriding:
            older_section, older_key = key.overriding
            older = self.sections.get(older_section, {}).get(older_key)
            if older and older.value:
                return older
        if key.older_name and not (entry and entry.value):
            return self.sections.get(section, {}).get(key.older_name) or entry
        return entry

    def _parsed(self, entry: Entry, parser: Parser) -> Any:
        try:
            return parser(entry.value, lambda text: self._warn(entry, text))
        except NotAllowed as error:
            if entry.value:  # an empty value that is required is reported by its key
                self._not_allowed(entry, str(error))
            return UNSET

    def _not_allowed(self, entry: Entry, allowed: str) -> None:
        self.errors.append(
            ConfigurationError(
                f"{_line(entry)}: not allowed; allowed is {allowed}", where=entry.where
            )
        )

    def _missing(self, section: str, key: Key, entry: Entry | None) -> None:
        if section not in self.sections:
            return  # reported as a whole
        self.errors.append(
            ConfigurationError(
                f"[{section}] {key.name} is {'empty' if entry else 'missing'}",
                where=entry.where if entry else str(self.config_file),
                remedy=f"set it to the {key.help}",
            )
        )

    def _warn(self, entry: Entry, text: str) -> None:
        self.warnings.append(f"{entry.where}: {_line(entry)}: {text}")


def _line(entry: Entry) -> str:
    value = shown(entry.section, entry.key, entry.value)
    return f"{printable(f'[{entry.section}]')} {shown_key(entry.key)} = {value}"


def _lines(lines: tuple[int, ...]) -> str:
    listed = ", ".join(map(str, lines[:_MOST_LINES]))
    more = ", …" if len(lines) > _MOST_LINES else ""
    return f"line{'s' if len(lines) > 1 else ''} {listed}{more}"


def _suggestion(name: str, known: list[str]) -> str:
    close = _close(name, known)
    return f"; did you mean {close}?" if close else ""


def _suggested_section(name: str, known: list[str]) -> str:
    """Part by part: kivitendo's [authentication/ldap] is no slip of [authentication]."""
    parts = name.split("/")
    alike = [
        each
        for each in known
        if each.count("/") == len(parts) - 1
        and all(_close(part, [its]) for part, its in zip(parts, each.split("/"), strict=True))
    ]
    return f"; did you mean {alike[0]}?" if alike else ""


def _close(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # seldom needed

    # known names have no capitals, and [TASK_SERVER] is a slip like any other
    return next(iter(get_close_matches(name.lower(), known, n=1, cutoff=0.8)), "")


def _default(kind: type, attribute: str) -> Any:
    """The default of a dataclass's field."""
    (field,) = (each for each in fields(kind) if each.name == attribute)
    return field.default if field.default_factory is MISSING else field.default_factory()


def _text(value: Any) -> str:
    """A typed value the way it can be written in the file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, frozenset):
        return " ".join(sorted(value))
    return str(value)
