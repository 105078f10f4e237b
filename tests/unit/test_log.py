"""Log lines: kivitendo's format, the journal's, one line a message, and a file that rotates."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kivitendo_task_server import log
from kivitendo_task_server.daemon import logs
from kivitendo_task_server.errors import ConfigurationError, DatabaseError
from kivitendo_task_server.log_file import check_writable


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """What pytest itself has set up is there again afterwards."""
    root, ours = logging.getLogger(), logging.getLogger(log.ROOT)
    before = (list(root.handlers), root.level, ours.level, logging.raiseExceptions)
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level, _, logging.raiseExceptions = before
    ours.setLevel(before[2])
    logging.captureWarnings(False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kivitendo-debug.log"


def test_the_line_is_kivitendos(file: Path) -> None:
    log.set_up(log.LogTarget("file", file))
    log.logger(f"{log.ROOT}.x").warning(
        "job failed", extra=log.fields("failed", tenant="A B", job=7)
    )
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} {os.getpid()} \[{os.getpid()}\]"
        r' WARNING: job failed action=failed tenant="A B" job=7\n',
        file.read_text(),
    )


def test_info_is_always_written_and_details_only_with_debug(file: Path) -> None:
    """Weakness 35: by default the original writes nothing at all, failures included."""
    ours = log.logger(f"{log.ROOT}.x")
    log.set_up(log.LogTarget("file", file))
    ours.debug("detail")
    ours.info("state")
    log.set_up(log.LogTarget("file", file, debug=True))
    ours.debug("other detail")
    assert [line.split(": ", 1)[1] for line in file.read_text().splitlines()] == [
        "state",
        "other detail",
    ]
    assert "debug1: other detail" in file.read_text()


def test_an_exception_is_one_line_without_debug_and_has_its_traceback_with_it(file: Path) -> None:
    ours = log.logger(f"{log.ROOT}.x")
    for debug in (False, True):
        log.set_up(log.LogTarget("file", file, debug))
        try:
            raise DatabaseError("gone", where="database x")
        except DatabaseError:
            ours.exception("pass failed")
    first, second, *trace = file.read_text().splitlines()
    assert first.endswith('ERROR: pass failed error="database x: gone"')
    assert second.endswith("ERROR: pass failed")
    assert trace[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in trace)


def test_a_message_cannot_forge_a_second_line(file: Path) -> None:
    log.set_up(log.LogTarget("file", file))
    forged = "x\n2026-11-22 00:00:00.000 1 [1] info: all is well\x1b[2J"
    log.logger(f"{log.ROOT}.x").error(forged, extra=log.fields("a", job=forged))
    assert len(file.read_text().splitlines()) == 1
    assert "\x1b" not in file.read_text()


def test_rotation_is_noticed_and_a_lost_folder_does_not_raise(tmp_path: Path) -> None:
    folder = tmp_path / "users"
    folder.mkdir()
    file = folder / "debug.log"
    ours = log.logger(f"{log.ROOT}.x")
    log.set_up(log.LogTarget("file", file))
    ours.info("one")
    file.rename(folder / "debug.log.1")
    ours.info("two")
    assert "two" in file.read_text()
    assert "one" in (folder / "debug.log.1").read_text()
    folder.rename(tmp_path / "away")
    ours.info("lost")
    folder.mkdir()
    ours.info("three")
    assert "three" in file.read_text()


def test_the_journal_gets_priorities_and_every_line_of_a_traceback_its_own() -> None:
    formatter = log.JournalFormatter(debug=True)
    for level, priority in ((50, 2), (40, 3), (30, 4), (20, 6), (10, 7)):
        record = logging.LogRecord("x", level, "f", 1, "text", (), None)
        assert formatter.format(record) == f"<{priority}>text"
    try:
        raise ValueError("no")
    except ValueError as error:
        record = logging.LogRecord(
            "x", 40, "f", 1, "text", (), (ValueError, error, error.__traceback__)
        )
    lines = formatter.format(record).splitlines()
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)


def test_the_journal_is_recognised_by_its_stream_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = os.fstat(2)
    monkeypatch.setattr("sys.stderr", os.fdopen(os.dup(2), "w"))
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert logs.foreground_target(debug=False).kind == "journal"
    # inherited by a child whose stderr was redirected since
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
    assert logs.foreground_target(debug=False).kind == "stderr"
    monkeypatch.delenv("JOURNAL_STREAM")
    assert logs.foreground_target(debug=False).kind == "stderr"


def test_a_log_that_cannot_be_written_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing/debug\.log: the log file cannot"):
        log.set_up(log.LogTarget("file", tmp_path / "missing/debug.log"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes in other users' folders")
def test_root_follows_no_link_in_another_users_folder(tmp_path: Path) -> None:
    target = tmp_path / "passwd"
    target.write_text("root\n")
    folder = tmp_path / "users"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    for name, make in (("soft", os.symlink), ("hard", os.link)):
        make(target, folder / name)
        with pytest.raises(ConfigurationError):
            check_writable(folder / name)
    check_writable(folder / "new.log")
    assert (folder / "new.log").stat().st_uid == 65534, "kivitendo must be able to go on writing it"
    assert target.read_text() == "root\n"
