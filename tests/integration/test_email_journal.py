"""Rows of kivitendo's mail journal in a real database."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.email_journal import record
from kivitendo_task_server.mail import AddressError, Attachment, Mail, compose
from kivitendo_task_server.mail.journal import journal_entry, unsendable_entry
from kivitendo_task_server.mail.outcome import Outcome, all_refused

NOW = datetime(2026, 11, 22, 15, 54, 7, 123456, tzinfo=ZoneInfo("Europe/Berlin"))
PDF = b"%PDF-1.7\0\xff"
MAIL = Mail(
    sender="Müller <a@firma.example>",
    to="B <b@kunde.example>",
    cc="c@kunde.example",
    bcc="d@firma.example",
    subject="Rechnung 1 für März",
    body="<p>Grüße\0</p>",
    content_type="text/html",
    attachments=(Attachment("Rechnung 1.pdf", "application/pdf", PDF),),
)
SENT = Outcome(("b@kunde.example",), (), "250 2.0.0 accepted")


def _rows(connection: Connection, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def _execute(connection: Connection, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _record(connection: Connection, outcome: Outcome = SENT, **options: Any) -> int | None:
    entry = journal_entry(MAIL, compose(MAIL, NOW), outcome, login="demo", now=NOW)
    return record(connection, entry, **options)


@pytest.fixture
def connection(tenant_connection: Connection) -> Connection:
    return tenant_connection


def test_a_sent_mail_with_everything(connection: Connection) -> None:
    _execute(connection, "INSERT INTO employee (id, login) VALUES (7, 'demo'), (8, 'other')")
    entry_id = _record(connection, linked_from=("ar", 4711))
    [row] = _rows(
        connection,
        'SELECT id, sender_id, "from", recipients, sent_on, subject, body, headers, status::text,'
        " extended_status FROM email_journal",
    )
    headers = row[7]
    assert (*row[:7], *row[8:]) == (
        entry_id, 7, MAIL.sender, "b@kunde.example, c@kunde.example, d@firma.example",
        datetime(2026, 11, 22, 15, 54, 7), MAIL.subject, "<p>Grüße</p>", "sent",
        "250 2.0.0 accepted",
    )  # fmt: skip
    assert "\r\nSubject: " in headers and "Bcc" not in headers
    attachment = _rows(
        connection,
        "SELECT position, email_journal_id, name, mime_type, content, file_id"
        " FROM email_journal_attachments",
    )
    assert [(*a[:4], bytes(a[4]), a[5]) for a in attachment] == [
        (1, entry_id, "Rechnung 1.pdf", "application/pdf", PDF, 0)
    ]
    links = _rows(connection, "SELECT from_table, from_id, to_table, to_id FROM record_links")
    assert links == [("ar", 4711, "email_journal", entry_id)]


@pytest.mark.parametrize(("level", "content"), [(0, None), (1, b" "), (2, PDF), (None, PDF)])
def test_the_tenants_setting(
    connection: Connection, level: int | None, content: bytes | None
) -> None:
    _execute(
        connection,
        "DROP TABLE defaults CASCADE",
        "CREATE TABLE defaults (email_journal integer)",
    )
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO defaults VALUES (%s)", (level,))
    entry_id = _record(connection)
    found = [
        bytes(row[0]) for row in _rows(connection, "SELECT content FROM email_journal_attachments")
    ]
    assert (entry_id is None) == (content is None)
    assert found == ([] if content is None else [content])


def test_failures_and_unknown_users_are_kept_too(connection: Connection) -> None:
    _record(connection, all_refused(["b@kunde.example"], "550 no\r\nsuch user", permanent=True))
    rows = _rows(connection, "SELECT sender_id, status::text, extended_status FROM email_journal")
    assert rows == [(None, "send_failed", "550 no such user")]


def test_a_mail_with_a_faulty_address(connection: Connection) -> None:
    mail = Mail("a@firma.example", "kaputt", "x", "y")
    with pytest.raises(AddressError) as caught:
        compose(mail, NOW)
    record(connection, unsendable_entry(mail, caught.value, login="demo", now=NOW))
    [row] = _rows(connection, "SELECT recipients, status::text, extended_status FROM email_journal")
    assert row[:2] == ("", "send_failed") and '"kaputt" seems to be a faulty list' in row[2]


def test_older_releases_have_fewer_columns(connection: Connection) -> None:
    _execute(
        connection,
        "ALTER TABLE email_journal_attachments DROP COLUMN file_id",
        "ALTER TABLE defaults DROP COLUMN email_journal",
    )
    assert _record(connection) is not None
    _execute(connection, "DROP TABLE email_journal CASCADE")
    assert _record(connection) is None
