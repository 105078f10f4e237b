"""The demo's background: nothing of it outlives the demo, however the demo ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory import scratch
from processes import eventually, users_of

import kivitendo_task_server
from kivitendo_task_server.demo.stage import open_stage, stop_kept
from kivitendo_task_server.errors import TaskServerError

ROOT = Path(kivitendo_task_server.__file__).parents[1]

HOLDER = """
import sys, time
from pathlib import Path
from kivitendo_task_server.demo.stage import open_stage
with open_stage(Path(sys.argv[1])) as stage:
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes started here import the package like we do."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for a demo that PostgreSQL's account can reach, too."""
    with tempfile.TemporaryDirectory(dir=scratch()) as parent:
        Path(parent).chmod(0o711)
        yield Path(parent) / "demo"


def guardian_of(folder: Path) -> int:
    return int((folder / "guardian.pid").read_text())


def test_ends_with_the_block(folder: Path) -> None:
    with open_stage(folder) as stage:
        assert stage.folder == folder
        assert len(users_of(folder)) > 1
    assert not folder.exists()
    assert users_of(folder) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_demo_is_killed(folder: Path, how: signal.Signals) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert demo.stdout is not None and demo.stdout.readline() == b"ready\n"
    demo.send_signal(how)
    demo.wait()
    assert eventually(lambda: not users_of(folder) and not folder.exists())


def test_demo_is_killed_while_postgresql_starts(folder: Path) -> None:
    demo = subprocess.Popen([sys.executable, "-P", "-c", HOLDER, folder], stderr=subprocess.DEVNULL)
    assert eventually((folder / "guardian.pid").exists)
    demo.kill()
    demo.wait()
    assert eventually(lambda: not users_of(folder) and not folder.exists())


def test_guardian_is_killed(folder: Path) -> None:
    with open_stage(folder) as stage:
        os.kill(guardian_of(folder), signal.SIGKILL)
        stage.process.wait()
        assert eventually(lambda: not users_of(folder))
    assert not folder.exists()


def test_guardian_is_asked_to_end(folder: Path) -> None:
    """SIGTERM, as at the machine's shutdown."""
    with open_stage(folder):
        os.kill(guardian_of(folder), signal.SIGTERM)
        assert eventually(lambda: not folder.exists())


def test_folder_with_other_things_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "diary").write_text("mine")
    with pytest.raises(TaskServerError, match="the folder is not empty"), open_stage(folder):
        pytest.fail("it was used")
    assert (folder / "diary").read_text() == "mine"


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TaskServerError, match="file"), open_stage(tmp_path / "file" / "demo"):
        pytest.fail("it was used")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must let another user run PostgreSQL")
def test_folder_that_postgresql_cannot_enter(folder: Path) -> None:
    folder.parent.chmod(0o700)
    with pytest.raises(TaskServerError, match="nobody cannot enter"), open_stage(folder):
        pytest.fail("it was used")
    assert not folder.exists()


def test_all_are_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder every demo of this user ends; other folders stay."""
    other = folder.parent / "kivitendo-task-server-demo-other"
    other.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder.parent))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with open_stage() as stage:
        assert stop_kept(None) == [stage.folder]
        assert not stage.folder.exists()
    assert stop_kept(None) == []
    assert other.exists()


def test_nothing_to_stop(tmp_path: Path) -> None:
    assert stop_kept(tmp_path) == []
    (tmp_path / "guardian.pid").write_text(str(os.getpid()))  # not locked: its writer has gone
    assert stop_kept(tmp_path) == []
