"""What the database fixtures in conftest.py are made of.

Not in conftest.py itself: the folders below have files of that name, too, and which of them
``from conftest import`` finds depends on the order of the tests.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg2

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.demo.postgres import EmbeddedPostgres

NewDatabase = Callable[..., DatabaseAccess]


def create_database(cluster: EmbeddedPostgres, name: str, template: str) -> DatabaseAccess:
    """A new database as a copy of ``template``."""
    # file_copy: the other way writes the whole database to the log, too
    statement(cluster, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return cluster.access(name)


def statement(cluster: EmbeddedPostgres, sql: str) -> None:
    """Run one statement of the superuser's, outside any transaction."""
    access = cluster.access("postgres")
    connection = psycopg2.connect(
        host=access.host, port=access.port, dbname=access.name,
        user=access.user, password=access.password,
    )  # fmt: skip
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql)
    connection.close()
