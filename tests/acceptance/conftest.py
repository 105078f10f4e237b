"""Fixtures of the tests through the real command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kivitendo_fixture import KivitendoDir, kivitendo_installation

from kivitendo_task_server.config.settings import DatabaseAccess


@pytest.fixture
def kivitendo_dir(auth_access: DatabaseAccess) -> Iterator[KivitendoDir]:
    """An installation with an empty authentication database; no service outlives the test."""
    with kivitendo_installation(auth_access) as installation:
        yield installation
