"""kivitendo's journal of sent mails (task-server.md, g.4; recurring-invoices.md, 8.3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2 import sql

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.schema import Columns, existing_columns

NO_JOURNAL = 0
WITH_CONTENT = 2
"""``defaults.email_journal``: 0 nothing is kept, 1 without the attachments' bytes, 2 with them."""

_TABLES = ("email_journal", "email_journal_attachments", "record_links", "defaults")


@dataclass(frozen=True)
class JournalAttachment:
    """A file that went with the mail."""

    name: str
    mime_type: str
    content: bytes


@dataclass(frozen=True)
class JournalEntry:
    """One attempt to send one mail, failed or not."""

    login: str
    """The task server user's, whose employee row becomes the sender."""
    sender: str
    recipients: str
    """All addresses, blind copies included, joined by ", "; empty if there was no valid one."""
    subject: str
    body: str
    headers: str
    sent_on: datetime
    """Naive local time."""
    sent: bool
    extended_status: str
    """The server's answer, or the error."""
    attachments: tuple[JournalAttachment, ...] = ()


def record(
    connection: Connection, entry: JournalEntry, *, linked_from: tuple[str, int] | None = None
) -> int | None:
    """Write the entry as the tenant's settings say, and give its id; the caller commits.

    ``linked_from`` (table, id) adds a row of record_links, for instance from ``ar``. None if the
    tenant keeps no journal, or its kivitendo has none yet (before 3.4).
    """
    columns = existing_columns(connection, _TABLES)
    if not columns["email_journal"]:
        return None
    level = _level(connection, columns)
    if level == NO_JOURNAL:
        return None
    entry_id = _insert(
        connection,
        "email_journal",
        columns["email_journal"],
        {
            "sender_id": _employee_id(connection, entry.login),
            "from": entry.sender,
            "recipients": entry.recipients,
            "sent_on": entry.sent_on.replace(tzinfo=None, microsecond=0),
            "subject": entry.subject,
            "body": entry.body,
            "headers": entry.headers,
            "status": "sent" if entry.sent else "send_failed",
            "extended_status": entry.extended_status,
        },
    )
    for position, attachment in enumerate(entry.attachments, start=1):
        _insert(
            connection,
            "email_journal_attachments",
            columns["email_journal_attachments"],
            {
                "position": position,
                "email_journal_id": entry_id,
                "name": attachment.name,
                "mime_type": attachment.mime_type,
                "content": attachment.content if level >= WITH_CONTENT else b" ",
                "file_id": 0,
            },
        )
    if linked_from is not None:
        table, row_id = linked_from
        _insert(
            connection,
            "record_links",
            columns["record_links"],
            {
                "from_table": table,
                "from_id": row_id,
                "to_table": "email_journal",
                "to_id": entry_id,
            },
        )
    return entry_id


def _level(connection: Connection, columns: Columns) -> int:
    if "email_journal" not in columns["defaults"]:
        return WITH_CONTENT
    with connection.cursor() as cursor:
        cursor.execute("SELECT email_journal FROM defaults LIMIT 1")
        row = cursor.fetchone()
    return WITH_CONTENT if row is None or row[0] is None else int(row[0])


def _employee_id(connection: Connection, login: str) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM employee WHERE login = %s ORDER BY id LIMIT 1", (login,))
        row = cursor.fetchone()
    return None if row is None else int(row[0])


def _insert(
    connection: Connection, table: str, existing: Collection[str], values: Mapping[str, Any]
) -> int:
    """Insert what the table has columns for, and give the new row's id."""
    used = {name: _storable(value) for name, value in values.items() if name in existing}
    statement = sql.SQL("INSERT INTO {table} ({names}) VALUES ({values}) RETURNING id").format(
        table=sql.Identifier(table),
        names=sql.SQL(", ").join(map(sql.Identifier, used)),
        values=sql.SQL(", ").join(sql.Placeholder() * len(used)),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, list(used.values()))
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def _storable(value: Any) -> Any:
    """PostgreSQL's texts cannot hold the character 0, which a mail's text may."""
    return value.replace("\0", "") if isinstance(value, str) else value
