"""Every golden vector: our rows are those that the real program wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from database_fixture import create_database
from replay import GOLDEN, Replayer

from kivitendo_task_server.demo.postgres import EmbeddedPostgres

VECTORS = sorted([*(GOLDEN / "open").glob("*.json"), *(GOLDEN / "mail").glob("*.json")])


@pytest.fixture(scope="module")
def replayer(cluster: EmbeddedPostgres, templates: dict[str, str]) -> Replayer:
    """One database for all vectors; each vector empties it."""
    return Replayer(create_database(cluster, "golden", templates["tenant"]))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector(replayer: Replayer, path: Path) -> None:
    replayed = replayer.replay(path)
    assert not replayed.differences, "\n".join(replayed.differences[:40])
