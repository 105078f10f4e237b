"""Fixtures of the tests through the real command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from database_fixture import create_database
from kivitendo_fixture import KivitendoDir, kivitendo_installation

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.demo.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def untouched_auth(cluster: EmbeddedPostgres, templates: dict[str, str]) -> DatabaseAccess:
    """An authentication database without tenants, shared by tests that never change it."""
    return create_database(cluster, "untouched_auth", templates["auth"])


@pytest.fixture
def installation(untouched_auth: DatabaseAccess) -> Iterator[KivitendoDir]:
    """Like ``kivitendo_dir``, for tests of the process that need no tenants."""
    with kivitendo_installation(untouched_auth) as made:
        yield made
