"""A tenant database with the tables of all jobs.

Jobs do not commit, so every test works in a transaction that is rolled back in the end: one
database serves them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from database_fixture import create_database
from jobs_bench import BASIC_ROWS, MORE_TABLES, Bench
from mail_peer import Mailbox, smtp_server

from kivitendo_task_server.config.settings import DatabaseAccess, MailDelivery, Settings
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.demo.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def jobs_database(cluster: EmbeddedPostgres, templates: dict[str, str]) -> DatabaseAccess:
    """One tenant database with the tables of all jobs and the rows every tenant has."""
    access = create_database(cluster, "jobs_bench", templates["tenant"])
    connection = connect(access, purpose="test set-up")
    with connection, connection.cursor() as cursor:
        cursor.execute(MORE_TABLES.read_text())
        cursor.execute(BASIC_ROWS)
    connection.close()
    return access


@pytest.fixture
def bench(jobs_database: DatabaseAccess, tmp_path: Path) -> Iterator[Bench]:
    """A bench on the common database; everything is rolled back."""
    connection = connect(jobs_database, purpose="test")
    settings = Settings(auth_database=jobs_database, config_file=tmp_path / "kivitendo.conf")
    yield Bench(jobs_database, connection, settings, kivitendo_dir=tmp_path)
    connection.rollback()
    connection.close()


@pytest.fixture(scope="session")
def auth_database(cluster: EmbeddedPostgres, templates: dict[str, str]) -> DatabaseAccess:
    """One authentication database for all benches."""
    return create_database(cluster, "jobs_auth", templates["auth"])


@pytest.fixture
def auth(bench: Bench, auth_database: DatabaseAccess) -> Iterator[Connection]:
    """A connection to the bench's authentication database, empty at first; commits at once."""
    bench.change_settings(auth_database=auth_database)
    connection = connect(auth_database, purpose="test")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute('TRUNCATE auth."user", auth.clients, auth.session CASCADE')
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def smtp_peer() -> Iterator[tuple[Mailbox, int]]:
    """A real SMTP server for all tests, and its port."""
    mailbox = Mailbox()
    with smtp_server(mailbox) as port:
        yield mailbox, port


@pytest.fixture
def mailbox(bench: Bench, smtp_peer: tuple[Mailbox, int]) -> Mailbox:
    """The mails that arrive in this test; the bench sends them there."""
    mailbox, port = smtp_peer
    mailbox.envelopes.clear()
    mailbox.tls.clear()
    bench.change_settings(mail=MailDelivery(host="127.0.0.1", port=port))
    return mailbox
