"""Fixtures of the tests through the real command."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
from kivitendo_fixture import KivitendoDir, kivitendo_installation

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.demo.postgres import EmbeddedPostgres


@pytest.fixture
def kivitendo_dir(auth_access: DatabaseAccess) -> Iterator[KivitendoDir]:
    """An installation with an empty authentication database; no service outlives the test."""
    with kivitendo_installation(auth_access) as installation:
        yield installation


@pytest.fixture(scope="session")
def untouched_auth(cluster: EmbeddedPostgres, templates: dict[str, str]) -> DatabaseAccess:
    """An authentication database without tenants, shared by tests that never change it."""
    access = cluster.access("postgres")
    connection = psycopg2.connect(
        host=access.host, port=access.port, dbname=access.name,
        user=access.user, password=access.password,
    )  # fmt: skip
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE untouched_auth TEMPLATE {templates['auth']}")
    connection.close()
    return cluster.access("untouched_auth")


@pytest.fixture
def installation(untouched_auth: DatabaseAccess) -> Iterator[KivitendoDir]:
    """Like :func:`kivitendo_dir`, for tests of the process that need no tenants."""
    with kivitendo_installation(untouched_auth) as made:
        yield made
