"""The table of all keys we read: section, key, parser, what it is for (task-server.md, a.5).

Defaults are those of the dataclasses in :mod:`kivitendo_task_server.config.settings`, which a
section becomes; only where a dataclass has none, the key has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kivitendo_task_server.config.parsers import (
    UNSET,
    Parser,
    choice,
    duration,
    levels,
    memory,
    name_or_none,
    node_name,
    nonempty_text,
    session_minutes,
    switch,
    switch_or_default,
    text,
    text_or_default,
    whole_number,
)

PORT = whole_number(1, 65535)


@dataclass(frozen=True)
class Key:
    """One key of a section."""

    name: str
    parser: Parser
    help: str
    field: str = ""
    """The dataclass's name for it, if another."""
    default: Any = UNSET
    required: bool = False
    older_name: str = ""
    """Read if the key itself is absent or empty."""
    overriding: tuple[str, str] | None = None
    """Section and key of an older place that counts first if it is not empty."""

    @property
    def attribute(self) -> str:
        """The dataclass's name for the key."""
        return self.field or self.name


KEYS: Mapping[str, tuple[Key, ...]] = {
    "task_server": (
        Key(
            "login",
            name_or_none,
            "serve only the tenant of this kivitendo login; empty: every tenant",
        ),
        Key("client", name_or_none, "serve only this tenant, by name or id; empty: every tenant"),
        Key("run_as", text, "system user to run as; empty: the user who starts the service"),
        Key("debug", switch, "log every step"),
        Key("node_id", node_name, "name of this machine in the jobs' node_id"),
        Key(
            "only_run_tasks_for_this_node",
            switch,
            "run only jobs assigned to this machine; otherwise also jobs assigned to none",
        ),
        Key(
            "max_parallel_tenants", whole_number(1, 1000), "how many tenants may be busy at a time"
        ),
        Key("job_timeout", duration, "time limit of a job, such as 2h; 0: none"),
        Key("stop_timeout", duration, "how long stopping waits for running jobs, such as 60"),
    ),
    "task_server/notify_on_failure": (
        Key("send_email_to", text, "address, or login whose address is used; empty: nobody"),
        Key("email_from", text, "sender"),
        Key("email_subject", text, "subject"),
        Key("email_template", text, "template file, relative to the kivitendo directory"),
    ),
    "authentication": (
        Key("session_timeout", session_minutes, "minutes until a session of the web ends"),
    ),
    "authentication/database": (
        Key(
            "host",
            nonempty_text,
            "host of the authentication database, such as localhost",
            default="",
            required=True,
        ),
        Key("port", PORT, "its port", default=5432),
        Key(
            "db",
            nonempty_text,
            "name of the authentication database",
            field="name",
            default="",
            required=True,
        ),
        Key("user", nonempty_text, "database role of kivitendo", default="", required=True),
        Key("password", text, "the role's password"),
    ),
    "system": (
        Key("language", text, "language of users who have set none"),
        Key(
            "memory_limit_rss",
            memory,
            "limit of the resident memory, such as 500mb; a job beyond it fails, the service ends",
        ),
        Key("memory_limit_vsz", memory, "the same for the virtual memory, such as 2gb"),
    ),
    "mail_delivery": (
        Key("method", choice("smtp", "sendmail", empty=""), "how mails leave; empty: not at all"),
        Key(
            "sendmail",
            text,
            "command of the method sendmail",
            overriding=("applications", "sendmail"),
        ),
        Key("host", text, "SMTP server"),
        Key("port", PORT, "its port; empty: 25, with ssl 465"),
        Key("security", choice("none", "tls", "ssl", empty="none"), "tls is STARTTLS"),
        Key("login", text, "SMTP login; empty: none", older_name="user"),
        Key("password", text, "SMTP password"),
        Key("ehlo", text, "our name in EHLO"),
        Key("debug", switch, "log the SMTP protocol"),
        Key(
            "verify_certificate",
            switch_or_default,
            "the SMTP server's certificate must be good; empty: unless the server is this machine",
        ),
    ),
    "sent_emails_in_imap": (
        Key("enabled", switch, "keep a copy of each sent invoice mail in an IMAP folder"),
        Key("hostname", text_or_default, "IMAP server"),
        Key("port", PORT, "its port; empty: 993, without ssl 143"),
        Key("ssl", switch_or_default, "speak TLS from the beginning"),
        Key("username", text, "IMAP login"),
        Key("password", text, "IMAP password"),
        Key("folder", text_or_default, "folder of the copies, with / between its parts"),
    ),
    "periodic_invoices": (
        Key("send_email_to", text, "who gets the summary: address or login; empty: nobody"),
        Key("email_from", text, "sender of summary and invoices"),
        Key("email_subject", text, "subject of the summary"),
        Key("email_template", text, "template file of the summary"),
        Key("send_for_errors_only", switch, "send the summary only if something failed"),
        Key(
            "currency_conversion",
            choice("kivitendo", "once"),
            "kivitendo: its amounts in foreign currencies; once: the rate is applied once",
        ),
        Key("trust_unknown_release", switch, "bill also for a kivitendo newer than we know"),
    ),
    "debug": (
        Key("file_name", text, "log file, relative to the kivitendo directory"),
        Key("global_level", levels, "kivitendo's log levels"),
    ),
    "paths": (Key("document_path", text, "kivitendo's document storage"),),
}

RUNNERS_SECTION = "task_server/runners"
"""Its keys are the names of jobs, with / for ::, because : would end the key."""

RUNNER = choice("native", "perl")

OWN_SECTIONS = (
    "task_server",
    "task_server/notify_on_failure",
    RUNNERS_SECTION,
    "periodic_invoices",
)
"""Sections that nobody else reads, so that an unknown key is a mistake."""
