"""The tests' own PostgreSQL: the copies are separate, and the server dies with its owner."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from database_fixture import NewDatabase

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


def test_server_does_not_outlive_a_killed_owner(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    owner = subprocess.Popen(
        [sys.executable, "-c",
         "from kivitendo_task_server.demo.postgres import EmbeddedPostgres\n"
         "cluster = EmbeddedPostgres(durable=False); cluster.start()\n"
         "print(cluster.pid, cluster.folder, flush=True)\n"
         "import time; time.sleep(600)"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().split()
    assert (Path(folder) / "data/postmaster.pid").exists()
    owner.kill()
    owner.wait()
    for _ in range(400):
        if not _alive(int(pid)):
            break
        time.sleep(0.05)
    assert not _alive(int(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
