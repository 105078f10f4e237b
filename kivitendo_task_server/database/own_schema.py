"""What we remember in a tenant's database: tables of our own, in a schema of our own.

kivitendo's tables are never changed. The schema is made when first needed and is safe to drop:
then only what it remembers is lost.
"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg2.errors

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.asynchronous import AsyncConnection
from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.errors import DatabaseError

SCHEMA = "kivitendo_task_server"

# Table name -> the rest of its CREATE TABLE. Only ever add; a table once released keeps its shape.
TABLES: dict[str, str] = {
    # A run that has begun and not ended: found again after a crash (supervisor, machine).
    "running_jobs": """(
        job_id       integer PRIMARY KEY,
        package_name text NOT NULL,
        node         text NOT NULL,
        pid          integer NOT NULL,
        started_at   timestamp without time zone NOT NULL
    )""",
    # What kivitendo's tables cannot say of a job: how often it ran and how it has been doing.
    "job_runs": """(
        job_id                   integer PRIMARY KEY,
        runs                     bigint NOT NULL DEFAULT 0,
        failures_in_a_row        integer NOT NULL DEFAULT 0,
        interruptions_in_a_row   integer NOT NULL DEFAULT 0,
        last_started_at          timestamp without time zone,
        last_seconds             double precision,
        last_node                text
    )""",
    # What is to happen to a posted invoice outside the database, once, and what became of it.
    # No foreign key to ar: that would add triggers to kivitendo's table.
    "deliveries": """(
        id          bigserial PRIMARY KEY,
        ar_id       integer NOT NULL,
        config_id   integer NOT NULL,
        kind        text NOT NULL CHECK (kind IN ('print', 'email')),
        recipient   text NOT NULL DEFAULT '',
        state       text NOT NULL DEFAULT 'pending' CHECK (state IN
                        ('pending', 'sending', 'sent', 'failed', 'ambiguous', 'dropped')),
        attempts    integer NOT NULL DEFAULT 0,
        reason      text,
        exact       jsonb NOT NULL DEFAULT '{}',
        enqueued_at timestamp without time zone NOT NULL DEFAULT now(),
        changed_at  timestamp without time zone NOT NULL DEFAULT now(),
        UNIQUE (ar_id, kind, recipient)
    )""",
    # Mails about jobs that fail, so that nodes do not repeat each other and a restart forgets
    # nothing.
    "failure_mails": """(
        job_id        integer PRIMARY KEY,
        failing_since timestamp with time zone,
        reported_at   timestamp with time zone,
        mails         timestamp with time zone[] NOT NULL DEFAULT '{}'
    )""",
}


PRESENT = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'kivitendo_task_server'"
"""Which of TABLES there are."""


def creation(present: Iterable[str]) -> str | None:
    """The statements (one transaction) that create what is missing; None if nothing is."""
    missing = [name for name in TABLES if name not in set(present)]
    if not missing:
        return None
    return "; ".join(
        [
            # two nodes may start at once: IF NOT EXISTS alone can still collide
            f"SELECT pg_advisory_xact_lock(hashtext('{SCHEMA}'))",
            f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
            *(f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{name} {TABLES[name]}" for name in missing),
        ]
    )


def not_allowed(access: DatabaseAccess) -> DatabaseError:
    """The error when the tenant's user may not create the schema."""
    return DatabaseError(
        f"the schema {SCHEMA} cannot be created",
        where=f"database {access}",
        remedy=f"GRANT CREATE ON DATABASE {access.name} TO {access.user}",
    )


def ensure(connection: Connection) -> None:
    """Create what is missing of the schema, and commit; one query if nothing is.

    Must be called outside a transaction. Raises DatabaseError if the role may not create it.
    """
    with connection.cursor() as cursor:
        cursor.execute(PRESENT)
        statements = creation(row[0] for row in cursor.fetchall())
        if statements:
            try:
                cursor.execute(statements)
            except psycopg2.errors.InsufficientPrivilege as error:
                connection.rollback()
                info = connection.info
                access = DatabaseAccess(info.host or "", info.port, info.dbname, info.user)
                raise not_allowed(access) from error
    connection.commit()


async def create_missing(connection: AsyncConnection, present: Iterable[str]) -> None:
    """The same for a connection that is waited for asynchronously and was asked for PRESENT."""
    statements = creation(present)
    if statements:
        try:
            await connection.query(statements)
        except DatabaseError as error:
            if isinstance(error.__cause__, psycopg2.errors.InsufficientPrivilege):
                raise not_allowed(connection.access) from error
            raise
