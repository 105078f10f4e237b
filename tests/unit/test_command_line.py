"""The command line's frame: common options on both sides, and nothing heavy loaded for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kivitendo_task_server.cli.main import COMMAND_MODULES, CommandParser, build_parser, main

HEAVY = {
    "psycopg2",
    "asyncio",
    "yaml",
    "jinja2",
    "croniter",
    "tzlocal",
    "daemon",
    "multiprocessing",
}


@pytest.mark.parametrize(
    "words",
    [["-c", "x.conf", "demo"], ["demo", "-c", "x.conf"], ["--config=x.conf", "demo"],
     ["demo", "--configfile", "x.conf"], ["-c", "y.conf", "demo", "-c", "x.conf"]],
)  # fmt: skip
def test_common_options_stand_on_either_side_of_the_command(words: list[str]) -> None:
    parser = build_parser()
    command = next(
        action for action in parser._subparsers._group_actions  # type: ignore[union-attr]
        if action.dest == "command"
    )  # fmt: skip
    if "demo" not in command.choices:  # the command itself is another module's
        command.choices["demo"] = CommandParser(prog="demo")  # type: ignore[index]
    arguments = parser.parse_args(words)
    assert arguments.configfile == "x.conf"
    assert arguments.kivitendo_dir is None


def test_the_parser_loads_nothing_heavy() -> None:
    assert all(isinstance(name, str) for name in COMMAND_MODULES)
    loaded = subprocess.run(
        [sys.executable, "-c",
         "import sys; from kivitendo_task_server.cli.main import build_parser; build_parser();"
         "print(*sys.modules)"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert HEAVY.isdisjoint(loaded)


def test_status_loads_nothing_heavy(tmp_path: Path) -> None:
    """Weakness 17: the original loads 200 MB and works for seconds, even for status."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/kivitendo.conf.default").touch()
    loaded = subprocess.run(
        [sys.executable, "-c",
         "import sys; from kivitendo_task_server.cli.main import main;"
         f"code = main(['status', '--kivitendo-dir', {str(tmp_path)!r}]);"
         "print(*sys.modules); sys.exit(code)"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert loaded.returncode == 3
    assert HEAVY.isdisjoint(loaded.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("install", "-c", "config/other.conf"), "--configfile"),
        (("adopt", "-c", "config/other.conf"), "--configfile"),
        (("uninstall", "--kivitendo-dir", "/srv"), "--kivitendo-dir"),
        (("--kivitendo-dir", "/srv", "tenant", "list"), "--kivitendo-dir"),
        (("-c", "config/other.conf", "tenant", "add", "x"), "--configfile"),
    ],
)
def test_installer_refuses_options_that_mean_nothing_to_it(
    words: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert f"{option} is not an option of " in capsys.readouterr().err
