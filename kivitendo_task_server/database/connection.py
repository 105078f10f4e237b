"""How to reach one database, and a connection to it with the session settings we rely on."""

from __future__ import annotations

from typing import TypeAlias

import psycopg2
import psycopg2.extensions

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.errors import DatabaseError

Connection: TypeAlias = psycopg2.extensions.connection

CONNECT_TIMEOUT = 10  # seconds; a listener that never answers must not hold anybody


def connect(
    access: DatabaseAccess, *, purpose: str, connect_timeout: int = CONNECT_TIMEOUT
) -> Connection:
    """Open a connection: UTF-8, ISO dates, explicit transactions (task-server.md, b.1).

    ``purpose`` names us in pg_stat_activity. Raises DatabaseError without the password.
    """
    try:
        connection = psycopg2.connect(
            host=access.host or "localhost",
            port=access.port or 5432,
            dbname=access.name,
            user=access.user,
            password=access.password,
            connect_timeout=connect_timeout,
            application_name=f"kivitendo-task-server {purpose}"[:63],
            client_encoding="UTF8",
            options="-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=1",
            # a peer that vanished is noticed within a minute, not after two hours
            keepalives_idle=20,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg2.Error as error:
        raise DatabaseError(
            one_line(error),
            where=f"database {access}",
            remedy="check host, port, database, user and password, and that PostgreSQL runs",
        ) from error
    return connection


def one_line(error: BaseException) -> str:
    """The text of a database error on one line."""
    return " ".join(str(error).split()) or type(error).__name__
