"""Reloading: only a valid configuration replaces the one in force, each state is logged once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kivitendo_task_server.config.current import CurrentConfiguration, Reloaded, watched_files
from kivitendo_task_server.config.settings import load
from kivitendo_task_server.errors import ConfigurationError

VALID = """\
[task_server]
node_id = first
[authentication/database]
host = localhost
db = auth
user = kivitendo
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/kivitendo.conf.default").touch()
    file = tmp_path / "config/kivitendo.conf"
    file.write_text(VALID)
    return file


def current(file: Path) -> CurrentConfiguration:
    return CurrentConfiguration(lambda: load(file, kivitendo_dir=file.parents[1], environ={}))


def test_a_valid_one_is_in_force_at_once(file: Path) -> None:
    configuration = current(file)
    file.write_text(VALID.replace("first", "second"))
    assert configuration.reload() == Reloaded(changed=True)
    assert configuration.settings.task_server.node_id == "second"


def test_the_first_must_be_valid(file: Path) -> None:
    file.write_text("[task_server]\n")
    with pytest.raises(ConfigurationError):
        current(file)


def test_a_wrong_one_is_logged_once_and_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    configuration = current(file)
    before = configuration.settings
    file.write_text(VALID + "port = x\n")
    for _ in range(3):
        outcome = configuration.reload()
        assert not outcome.changed and f"{file}:7" in (outcome.error or "")
        assert configuration.settings is before
    file.unlink()
    assert "does not exist" in (configuration.reload().error or "")
    file.write_text(VALID)
    assert configuration.reload() == Reloaded(changed=False)
    assert configuration.reload() == Reloaded(changed=False)
    assert [record.message.partition(": ")[0] for record in caplog.records] == [
        "the configuration is wrong, so the old one stays in force",
        "the configuration is wrong, so the old one stays in force",
        "the configuration was read again",
    ]


def test_an_emptied_file_changes_nothing(file: Path) -> None:
    """Whoever writes in place empties the file first; and a full disk leaves it empty."""
    (file.with_name("kivitendo.conf.default")).write_text(VALID)
    configuration = current(file)
    before = configuration.settings
    file.write_text("# nothing yet\n[task_server]\n")
    assert "has become empty" in (configuration.reload().error or "")
    assert configuration.settings is before
    file.write_text(VALID.replace("first", "second"))
    assert configuration.reload() == Reloaded(changed=True)


def test_each_warning_is_logged_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text(VALID.replace("node_id", "debug = no\nnode_id"))
    configuration = current(file)
    configuration.reload()
    file.write_text(VALID)
    configuration.reload()
    file.write_text(VALID.replace("node_id", "debug = off\nnode_id"))
    configuration.reload()
    assert [record.message.split(": ")[1] for record in caplog.records] == [
        "[task_server] debug = no",
        "[task_server] debug = off",
    ]


def test_watched_files(file: Path) -> None:
    file.write_text(
        VALID + "[task_server/notify_on_failure]\nemail_template = templates/a.txt\n"
        "[periodic_invoices]\nemail_template = /srv/b.txt\n"
    )
    assert watched_files(current(file).loaded, file.parents[1]) == (
        file.with_name("kivitendo.conf.default"),
        file,
        file.parents[1] / "templates/a.txt",
        Path("/srv/b.txt"),
    )
