"""The settings the service works with: typed, validated, with the origin of each.

The text of the files is read by :mod:`kivitendo_task_server.config.grammar`, the keys are described
in :mod:`kivitendo_task_server.config.keys`; their meaning follows task-server.md, a.3 to a.5.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from kivitendo_task_server.config.files import default_file, merged, read_file
from kivitendo_task_server.config.grammar import ParsedFile
from kivitendo_task_server.config.keys import KEYS
from kivitendo_task_server.config.masking import shown
from kivitendo_task_server.config.reader import Effective, Reader
from kivitendo_task_server.errors import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True)
class DatabaseAccess:
    """Host, port, database, user and password of one database; the password is never shown."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.name}"

    @property
    def place(self) -> tuple[str, int, str]:
        """Which database it is, whoever connects."""
        return self.host, self.port, self.name


@dataclass(frozen=True)
class TaskServerSettings:
    """Section ``[task_server]``; time-outs in seconds, 0 means none."""

    login: str = ""
    client: str = ""
    run_as: str = ""
    debug: bool = False
    node_id: str = field(default_factory=socket.gethostname)
    only_run_tasks_for_this_node: bool = False
    max_parallel_tenants: int = 4
    job_timeout: int = 0
    stop_timeout: int = 60


@dataclass(frozen=True)
class SystemSettings:
    """Section ``[system]``; limits in bytes, None means none."""

    language: str = "de"
    memory_limit_rss: int | None = None
    memory_limit_vsz: int | None = None


@dataclass(frozen=True)
class MailDelivery:
    """Section ``[mail_delivery]`` or ``[mail_delivery/email/ADDRESS]``."""

    method: Literal["smtp", "sendmail", ""] = "smtp"
    sendmail: str = "/usr/sbin/sendmail -t<%if myconfig_email%> -f <%myconfig_email%><%end%>"
    host: str = "localhost"
    port: int | None = None
    security: Literal["none", "tls", "ssl"] = "none"
    login: str = ""
    password: str = field(default="", repr=False)
    ehlo: str = "localhost"
    debug: bool = False
    verify_certificate: bool | None = None
    """Our own key. Whether the server's certificate must be good; None: unless the server is this
    machine."""


@dataclass(frozen=True)
class SentFolder:
    """Section ``[sent_emails_in_imap]`` or ``[sent_emails_in_imap/email/ADDRESS]``."""

    enabled: bool = False
    hostname: str = "localhost"
    port: int | None = None
    ssl: bool = True
    username: str = ""
    password: str = field(default="", repr=False)
    folder: str = "Sent/Kivitendo"


@dataclass(frozen=True)
class FailureNotification:
    """Section ``[task_server/notify_on_failure]`` (task-server.md, g.1)."""

    send_email_to: str = ""
    email_from: str = "kivitendo Daemon <root@localhost>"
    email_subject: str = "kivitendo Task-Server: Hintergrundjob fehlgeschlagen"
    email_template: str = ""


@dataclass(frozen=True)
class PeriodicInvoicesSettings:
    """Section ``[periodic_invoices]`` (recurring-invoices.md, 8.6, and our own two keys)."""

    send_email_to: str = ""
    email_from: str = ""
    email_subject: str = ""
    email_template: str = ""
    send_for_errors_only: bool = False
    currency_conversion: Literal["kivitendo", "once"] = "kivitendo"
    trust_unknown_release: bool = False


@dataclass(frozen=True)
class DebugSettings:
    """Section ``[debug]``: the log file, and kivitendo's level names."""

    file_name: str = "users/kivitendo-debug.log"
    global_level: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Settings:
    """All settings of one configuration file, merged with kivitendo.conf.default."""

    auth_database: DatabaseAccess
    config_file: Path
    task_server: TaskServerSettings = TaskServerSettings()
    system: SystemSettings = SystemSettings()
    mail: MailDelivery = MailDelivery()
    mail_by_address: Mapping[str, MailDelivery] = field(default_factory=dict)
    sent_folder: SentFolder = SentFolder()
    sent_folder_by_address: Mapping[str, SentFolder] = field(default_factory=dict)
    notify_on_failure: FailureNotification = FailureNotification()
    periodic_invoices: PeriodicInvoicesSettings = PeriodicInvoicesSettings()
    debug: DebugSettings = DebugSettings()
    session_timeout: int = 480
    """``[authentication] session_timeout``, minutes."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What ``[environment]`` changes, variable -> new value; set by the process that starts."""
    runners: Mapping[str, Literal["native", "perl"]] = field(default_factory=dict)
    """``[task_server/runners]``: job name -> who runs it."""
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Everything as merged text, for jobs that have a section of their own."""
    document_path: str = ""
    """``[paths] document_path``: where kivitendo's document storage lies."""


@dataclass(frozen=True)
class Loaded:
    """What reading the configuration came to."""

    settings: Settings
    warnings: tuple[str, ...]
    """A line each, with ``file:line``, section, key and value (secrets masked)."""
    effective: tuple[Effective, ...] = field(repr=False)
    """Every setting in force, as it may be shown, with its origin."""
    files: tuple[Path, ...]
    """The files that were read, the delivered defaults first."""
    local_is_empty: bool = False
    """Whether only the delivered defaults apply."""

    @property
    def origins(self) -> dict[tuple[str, str], str]:
        """(section, key) -> ``file:line`` or "default"."""
        return {(each.section, each.key): each.origin for each in self.effective}


def load(
    config_file: Path,
    *,
    kivitendo_dir: Path,
    environ: Mapping[str, str] | None = None,
    look_up: Callable[[str, str], object] = lambda user, place: None,
) -> Loaded:
    """Read the delivered defaults and the local file, and validate all settings (a.1 to a.5).

    ``environ`` (default: the process's) is only read, to compute ``settings.environment``.
    ``look_up`` is given ``run_as`` and its place; what it raises is reported with the rest.
    Raises ConfigurationError with all that is wrong at once.
    """
    defaults, local = _read_both(default_file(kivitendo_dir), config_file)
    sections = merged(defaults, local)
    reader = Reader(sections, config_file)
    reader.require_sections("task_server", "authentication/database")
    reader.check_entries()
    reader.check_unknown()
    settings = _settings(reader, config_file, os.environ if environ is None else environ)
    local_is_empty = local.file == defaults.file or not any(local.sections.values())
    if local_is_empty:
        reader.warnings.append(f"{local.file}: no local settings, only delivered defaults apply")
    try:
        look_up(settings.task_server.run_as, reader.place("task_server", "run_as"))
    except ConfigurationError as error:
        reader.errors.append(error)
    if reader.errors:
        refusal = ConfigurationError.all_of(reader.errors)
        refusal.warnings = tuple(reader.warnings)
        raise refusal
    described = {(each.section, each.key) for each in reader.effective}
    others = (
        Effective(section, key, shown(section, key, entry.value), entry.where)
        for section, entries in sections.items()
        for key, entry in entries.items()
        if (section, key) not in described
    )
    return Loaded(
        settings=settings,
        warnings=tuple(reader.warnings),
        effective=(*reader.effective, *others),
        files=tuple(dict.fromkeys((defaults.file, local.file))),
        local_is_empty=local_is_empty,
    )


def settings_without_files() -> tuple[Effective, ...]:
    """Every key we read with the value it has if no file sets it."""
    reader = Reader({}, Path())
    _settings(reader, Path(), {})
    return tuple(reader.effective)


def _read_both(defaults: Path, local: Path) -> tuple[ParsedFile, ParsedFile]:
    """Read both files, so that the errors of both are reported."""
    parsed: list[ParsedFile] = []
    errors: list[ConfigurationError] = []
    for file in (defaults, local):
        try:
            parsed.append(read_file(file))
        except ConfigurationError as error:
            errors.append(error)
    if errors:
        raise ConfigurationError.all_of(errors)
    return parsed[0], parsed[1]


def _settings(reader: Reader, config_file: Path, environ: Mapping[str, str]) -> Settings:
    """Build the settings; what is wrong gathers in the reader and has its default here."""

    def section(kind: type[T], name: str, described_as: str = "") -> T:
        return kind(**reader.values(name, KEYS[described_as or name], kind))

    def by_address(kind: type[T], name: str) -> dict[str, T]:
        prefix = f"{name}/email/"
        found = [section for section in texts if section.startswith(prefix)]
        return {each.removeprefix(prefix): section(kind, each, name) for each in found}

    texts = {
        name: {key: entry.value for key, entry in entries.items()}
        for name, entries in reader.sections.items()
    }
    return Settings(
        auth_database=section(DatabaseAccess, "authentication/database"),
        config_file=config_file,
        task_server=section(TaskServerSettings, "task_server"),
        system=section(SystemSettings, "system"),
        mail=section(MailDelivery, "mail_delivery"),
        mail_by_address=by_address(MailDelivery, "mail_delivery"),
        sent_folder=section(SentFolder, "sent_emails_in_imap"),
        sent_folder_by_address=by_address(SentFolder, "sent_emails_in_imap"),
        notify_on_failure=section(FailureNotification, "task_server/notify_on_failure"),
        periodic_invoices=section(PeriodicInvoicesSettings, "periodic_invoices"),
        debug=section(DebugSettings, "debug"),
        runners=reader.runners(),
        environment=reader.environment(environ),
        sections=texts,
        **reader.values("authentication", KEYS["authentication"], Settings),
        **reader.values("paths", KEYS["paths"], Settings),
    )
