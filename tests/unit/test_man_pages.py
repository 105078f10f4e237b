"""The manual pages name every command, option, key and exit code there is."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path

import pytest

from kivitendo_task_server import errors
from kivitendo_task_server.cli.main import build_parser
from kivitendo_task_server.config.keys import KEYS

PAGES = Path(__file__).parents[2] / "docs/man"


@pytest.fixture(params=["kivitendo-task-server.8", "de/kivitendo-task-server.8"])
def page(request: pytest.FixtureRequest) -> str:
    text = (PAGES / request.param).read_text(encoding="utf-8")
    return text.replace("\\-", "-")


def named(page: str) -> set[str]:
    """What stands in bold after .TP."""
    lines = page.splitlines()
    heads = [after for tag, after in itertools.pairwise(lines) if tag == ".TP"]
    return {word.strip('",=') for head in heads for word in head.split()[1:]}


def test_all_commands_and_options(page: str) -> None:
    parser = build_parser()
    (commands,) = parser._subparsers._group_actions  # type: ignore[union-attr]
    assert set(commands.choices) <= named(page)  # type: ignore[arg-type]
    shown = {name for action in parser._actions if action.help != "==SUPPRESS=="
             for name in action.option_strings} - {"-h", "--help", "--version"}  # fmt: skip
    assert shown <= named(page)


def test_all_keys_of_our_section(page: str) -> None:
    assert {key.name for key in KEYS["task_server"]} <= named(page)


def test_all_exit_codes(page: str) -> None:
    codes = {kind.exit_code for _, kind in inspect.getmembers(errors, inspect.isclass)
             if issubclass(kind, errors.TaskServerError)}  # fmt: skip
    assert {str(code) for code in codes | {0, 3, 130}} <= named(page)


def test_both_have_the_same_parts() -> None:
    english, german = (
        [line.split()[0] for line in (PAGES / name).read_text().splitlines() if line[:3] in
         (".SH", ".SS", ".TP")]
        for name in ("kivitendo-task-server.8", "de/kivitendo-task-server.8")
    )  # fmt: skip
    assert english == german
