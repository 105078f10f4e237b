"""What we remember in a tenant's database: tables of our own, in a schema of our own.

kivitendo's tables are never changed. The schema is made when first needed and is safe to drop:
then only what it remembers is lost.
"""

from __future__ import annotations

import psycopg2.errors

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
}


def ensure(connection: Connection) -> None:
    """Create what is missing of the schema, and commit; one query if nothing is.

    Must be called outside a transaction. Raises DatabaseError if the role may not create it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT array_agg(tablename::text) FROM pg_tables WHERE schemaname = %s", (SCHEMA,)
        )
        row = cursor.fetchone()
        present = set((row and row[0]) or ())
        missing = [name for name in TABLES if name not in present]
        if missing:
            try:
                # two nodes may start at once: IF NOT EXISTS alone can still collide
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (SCHEMA,))
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
                for name in missing:
                    cursor.execute(f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{name} {TABLES[name]}")
            except psycopg2.errors.InsufficientPrivilege as error:
                connection.rollback()
                raise DatabaseError(
                    f"the schema {SCHEMA} cannot be created",
                    where=f"database {connection.info.dbname}",
                    remedy=f"GRANT CREATE ON DATABASE {connection.info.dbname} TO"
                    f" {connection.info.user}",
                ) from error
    connection.commit()
