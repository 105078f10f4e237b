"""Fixtures for all tests: one PostgreSQL a session, a fresh database a test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

import kivitendo_task_server.demo
from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.demo.postgres import EmbeddedPostgres

SCHEMAS = Path(kivitendo_task_server.demo.__file__).parent
NewDatabase = Callable[..., DatabaseAccess]


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL of this test session (one for each xdist worker)."""
    with EmbeddedPostgres(durable=False) as running:
        yield running


@pytest.fixture(scope="session")
def templates(cluster: EmbeddedPostgres) -> dict[str, str]:
    """Template databases: ``tenant`` (kivitendo's tables) and ``auth``, both without rows."""
    names = {"tenant": "template_tenant", "auth": "template_auth"}
    for kind, name in names.items():
        _statement(cluster, f"CREATE DATABASE {name}")
        connection = connect(cluster.access(name), purpose="test set-up")
        with connection, connection.cursor() as cursor:
            cursor.execute((SCHEMAS / f"{kind}_schema.sql").read_text())
        connection.close()
    return names


@pytest.fixture
def new_database(cluster: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[NewDatabase]:
    """Makes databases as copies of a template ("tenant" or "auth"); dropped after the test."""
    made: list[str] = []
    serial = itertools.count(1)

    def make(kind: str = "tenant", name: str | None = None) -> DatabaseAccess:
        name = name or f"{kind}_{os.getpid()}_{next(serial)}"
        _statement(cluster, f"CREATE DATABASE {name} TEMPLATE {templates[kind]}")
        made.append(name)
        return cluster.access(name)

    yield make
    for name in made:
        _statement(cluster, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def tenant_access(new_database: NewDatabase) -> DatabaseAccess:
    """A fresh tenant database without rows."""
    return new_database("tenant")


@pytest.fixture
def tenant_connection(tenant_access: DatabaseAccess) -> Iterator[Connection]:
    """A connection to :func:`tenant_access`."""
    connection = connect(tenant_access, purpose="test")
    yield connection
    connection.close()


@pytest.fixture
def auth_access(new_database: NewDatabase) -> DatabaseAccess:
    """A fresh authentication database without rows."""
    return new_database("auth")


def _statement(cluster: EmbeddedPostgres, sql: str) -> None:
    access = cluster.access("postgres")
    connection = psycopg2.connect(
        host=access.host, port=access.port, dbname=access.name,
        user=access.user, password=access.password,
    )  # fmt: skip
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql)
    connection.close()
