"""How to reach one database, and a connection to it with the session settings we rely on."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import psycopg2
import psycopg2.extensions

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.errors import AccessRefused, DatabaseError

Connection: TypeAlias = psycopg2.extensions.connection

CONNECT_TIMEOUT = 10  # seconds; a listener that never answers must not hold anybody


def connect(
    access: DatabaseAccess, *, purpose: str, connect_timeout: int = CONNECT_TIMEOUT
) -> Connection:
    """Open a connection: UTF-8, ISO dates, explicit transactions (task-server.md, b.1).

    ``purpose`` names us in pg_stat_activity. Raises DatabaseError without the password.
    """
    try:
        connection: Connection = psycopg2.connect(**parameters(access, purpose, connect_timeout))
        return connection
    except psycopg2.Error as error:
        raise unreachable(access, error) from error


def parameters(
    access: DatabaseAccess, purpose: str, connect_timeout: int = CONNECT_TIMEOUT
) -> dict[str, Any]:
    """What libpq is told, for connections of both kinds (blocking, asynchronous).

    Raises AccessRefused if no database is named: libpq would take the one called like the user.
    """
    if not access.name:
        raise AccessRefused(
            "no database is named",
            where=f"database {access}",
            remedy="enter its name where the client or the authentication database is configured",
        )
    return {
        "host": access.host or "localhost",
        "port": access.port or 5432,
        "dbname": access.name,
        "user": access.user,
        "password": access.password,
        "connect_timeout": connect_timeout,
        "application_name": application_name(purpose),
        "client_encoding": "UTF8",
        # a claim re-reads the job's row after taking its lock: only right in "read committed"
        "options": "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=1"
        " -c default_transaction_isolation=read\\ committed"
        # PostgreSQL notices within a minute that our machine is gone, so that its claims end
        " -c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
        # and so do we with PostgreSQL's; both would take two hours
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }


def application_name(purpose: str) -> str:
    """Our name in pg_stat_activity, as PostgreSQL cuts it and spells what is not ASCII."""
    name = f"kivitendo-task-server {purpose}".encode("ascii", "replace").decode()
    return re.sub(r"[^ -~]", "?", name)[:63]


# What PostgreSQL says (libpq gives no code for it) when only another configuration helps; its
# messages come in the server's language.
_REFUSALS = re.compile(
    r"password authentication failed|Passwort-Authentifizierung"
    r"|no password supplied|authentication failed for user"
    r"|(database|role) \".*\" does not exist|(Datenbank|Rolle) ».*« existiert nicht"
    r"|no pg_hba\.conf entry|kein pg_hba\.conf-Eintrag"
    r"|permission denied for database|keine Berechtigung für Datenbank"
)


def unreachable(access: DatabaseAccess, error: BaseException) -> DatabaseError:
    """The error for a connection that could not be opened: AccessRefused or DatabaseError."""
    text = one_line(error)
    if _REFUSALS.search(text):
        return AccessRefused(
            text, where=f"database {access}", remedy="check database, user and password"
        )
    return DatabaseError(
        text,
        where=f"database {access}",
        remedy="check host and port, and that PostgreSQL runs",
    )


def one_line(error: BaseException) -> str:
    """The text of a database error on one line."""
    return " ".join(str(error).split()) or type(error).__name__
