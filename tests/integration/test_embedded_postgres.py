"""The tests' own PostgreSQL: the copies are separate, and the server dies with its owner."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from database_fixture import NewDatabase
from kivitendo_fixture import alive, until
from memory import scratch

from kivitendo_task_server.database.connection import connect


def test_each_copy_is_its_own(new_database: NewDatabase) -> None:
    first, second = (connect(new_database("tenant"), purpose="test") for _ in range(2))
    with first.cursor() as cursor:
        cursor.execute("INSERT INTO currencies (name) VALUES ('EUR')")
    first.commit()
    with second.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM currencies")
        assert cursor.fetchone() == (0,)
    first.close()
    second.close()


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder that PostgreSQL's account can enter; its owner is killed and cannot tidy up."""
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_server_does_not_outlive_a_killed_owner(parent: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c",
         "import sys\n"
         "from pathlib import Path\n"
         "from kivitendo_task_server.demo.postgres import EmbeddedPostgres\n"
         "cluster = EmbeddedPostgres(durable=False, parent=Path(sys.argv[1])); cluster.start()\n"
         "print(cluster.pid, cluster.folder, flush=True)\n"
         "import time; time.sleep(600)", parent],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().split()
    assert (Path(folder) / "data/postmaster.pid").exists()
    owner.kill()
    owner.wait()
    until(lambda: not alive(int(pid)))
