"""Every golden vector: our rows are those that the real program wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from database_fixture import create_database
from replay import GOLDEN, Replayer, main, replay_all, vector_files

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


# -- tools/replay-vectors --------------------------------------------------------------------------


def changed(
    folder: Path, name: str, change: dict[str, Any], order: dict[str, Any] | None = None
) -> Path:
    """A copy of vector a01 with another order, and whose invoice's head is expected to be so."""
    vector = json.loads((GOLDEN / "open/a01-monthly-start-today.json").read_text("utf-8"))
    vector["expected"]["inserted"]["ar"][0] |= change
    vector["input"]["oe"][0] |= order or {}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(vector), "utf-8")
    return path


def test_a_difference_is_shown_with_its_cells(
    replayer: Replayer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = changed(tmp_path, "good", {})
    bad = changed(tmp_path, "bad", {"amount": "120.00000", "shipvia": "Bote"})
    refused = changed(tmp_path, "refused", {}, {"transdate": "gestern"})
    broken, other = tmp_path / "broken.json", tmp_path / "other.json"
    broken.write_text("{")
    other.write_text('{"name": "x"}')
    assert replay_all(replayer, [good, bad, refused, broken, other, good], quiet=False) == 4
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "ok   good",
        "FAIL a01-monthly-start-today (monthly, first period starts today)",
        f"FAIL {refused}",
        f"FAIL {broken}",
        f"FAIL {other}",
        "ok   good",
        "2 passed, 4 failed",
    ]
    told = "\n".join(line for line in lines if line.startswith(" "))
    for words in (
        "ar @ar.1: amount expected 'n120', got 'n119'",
        "ar @ar.1: shipvia expected 'Bote', got None",
        'invalid input syntax for type date: "gestern"',
        "is no vector (JSONDecodeError",
        "is no vector (KeyError: 'input')",
    ):
        assert words in told


def test_the_failing_configurations_are_compared(replayer: Replayer, tmp_path: Path) -> None:
    vector = json.loads((GOLDEN / "open/j01-no-tax-key.json").read_text("utf-8"))
    vector["failing_configs"][0]["config_id"] = 300003
    path = tmp_path / "other.json"
    path.write_text(json.dumps(vector), "utf-8")
    [difference] = replayer.replay(path).differences
    assert difference.startswith("history: expected failure [300003], got failure [300002]: order ")


def test_folders_are_searched_in_depth() -> None:
    """Given the whole folder: all vectors, and not what else lies there."""
    assert set(vector_files([GOLDEN])) == set(VECTORS)
    assert list(vector_files([VECTORS[0], VECTORS[0]])) == [VECTORS[0]] * 2


@pytest.mark.parametrize("what", ["missing.json", "empty", ""])
def test_without_vectors_nothing_is_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    (tmp_path / "empty").mkdir()
    good = str(changed(tmp_path, "good", {}))
    named = [good, str(tmp_path / what)] if what else []
    monkeypatch.setattr(sys, "argv", ["replay-vectors", *named])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert (str(tmp_path / what) if what else "PATH") in capsys.readouterr().err
