"""The command line's frame: common options on both sides, and nothing heavy loaded for it."""

from __future__ import annotations

import shlex
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


def _commands(words: list[str] | None) -> set[str]:
    """Those that the parser for these words knows."""
    (action,) = build_parser(words)._subparsers._group_actions  # type: ignore[union-attr]
    assert action.choices is not None
    return set(action.choices)


def test_the_table_of_commands_is_what_the_modules_register() -> None:
    for module, commands in COMMAND_MODULES.items():
        assert _commands([commands[0]]) == set(commands), module
    assert _commands(None) == {name for its in COMMAND_MODULES.values() for name in its}


def test_only_the_commands_of_the_line_are_loaded() -> None:
    assert _commands(["-c", "jobs", "status"]) >= {"status", "jobs"}
    assert "demo" not in _commands(["-f", "start"])


@pytest.mark.parametrize("words", [["--help"], ["-fh"], ["--hel"], ["jobs", "--help"]])
def test_help_shows_all_commands(words: list[str]) -> None:
    assert _commands(words) == _commands(None)


def test_a_wrong_command_is_told_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strat", "status"]) == 2
    text = capsys.readouterr().err
    assert "strat" in text
    assert "check-config" in text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], 1),
        (["schedule", "--help"], 1),
        (["schedule", "0 3 * * *"], 1),
        (["schedule", "0 0 29 2 *", "--from", "9995-01-01"], 2),
    ],
)
def test_output_that_cannot_be_written_is_told(words: list[str], code: int) -> None:
    done = _with_output(words, ">/dev/full")
    assert done.returncode == code
    assert done.stderr.endswith(
        "kivitendo-task-server: standard output: the output cannot be written:"
        " No space left on device\n"
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["schedule", "0 3 * * *"], ["check-config", "--keys"]]
)
def test_output_that_nobody_reads_does_not_matter(words: list[str]) -> None:
    done = _with_output(words, "| true")
    assert (done.returncode, done.stderr) == (0, "")


def _with_output(words: list[str], output: str) -> subprocess.CompletedProcess[str]:
    """The command with its standard output as bash has it, and Python's buffer in front of it."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c",
         f"env -u PYTHONUNBUFFERED {shlex.join([sys.executable, '-m', 'kivitendo_task_server'])}"
         f" {shlex.join(words)} {output}"],
        capture_output=True, text=True,
    )  # fmt: skip
