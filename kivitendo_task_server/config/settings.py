"""The settings the service works with: typed, validated, with the origin of each.

The text of the files is read by :mod:`kivitendo_task_server.config.grammar`; the meaning of every
key follows task-server.md, a.3 to a.5.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


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
    notify_on_failure: FailureNotification = FailureNotification()
    periodic_invoices: PeriodicInvoicesSettings = PeriodicInvoicesSettings()
    debug: DebugSettings = DebugSettings()
    session_timeout: int = 480
    """``[authentication] session_timeout``, minutes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    runners: Mapping[str, Literal["native", "perl"]] = field(default_factory=dict)
    """``[task_server/runners]``: job name -> who runs it."""
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Everything as merged text, for jobs that have a section of their own."""
    document_path: str = ""
    """``[paths] document_path``: where kivitendo's document storage lies."""
