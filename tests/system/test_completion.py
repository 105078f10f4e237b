"""Completion in a real bash and a real zsh: everything the parser knows, and nothing else.

The shells are asked on a terminal of their own to insert all completions into the command line,
which then calls a function that shows its arguments.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kivitendo_task_server.cli.completion import command_line
from kivitendo_task_server.cli.main import build_parser
from kivitendo_task_server.installer.boot import render

NAME = "kivitendo-task-server"
PATIENCE = 60.0  # seconds until a shell that says nothing is given up
SHOW = f"{NAME}() {{ printf '<<%s>>' \"$*\"; echo; }}"
SHELLS = {
    # the argv; what makes it ready; the keys that insert all completions
    "bash": (["bash", "--norc", "--noprofile", "-i"],
             "bind 'set completion-query-items 0'; source {file}", b"\x1b*"),
    "zsh": (["zsh", "-f", "-i"],
            "fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D;"
            " zstyle ':completion:all-matches::::' completer _all_matches _complete;"
            " zstyle ':completion:all-matches:*' insert true; zle -C all-matches complete-word"
            " _generic; bindkey '^Xa' all-matches; unsetopt prompt_cr prompt_sp", b"\x18a"),
}  # fmt: skip


class Shell:
    """An interactive shell on a terminal of its own, with our completion."""

    def __init__(self, name: str, folder: Path) -> None:
        file = folder / f"_{NAME}"
        commands = command_line()
        file.write_text(render(f"completion/{name}", vars(commands)))
        argv, prepare, self._insert_all = SHELLS[name]
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=folder,
            env={"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder), "LC_ALL": "C",
                 "PS1": "", "COLUMNS": "5000"},
        )  # fmt: skip
        os.close(theirs)
        self._told = ""
        prepare = prepare.format(file=shlex.quote(str(file)), folder=shlex.quote(str(folder)))
        self._say(f"stty cols 5000; {SHOW}; {prepare}; {NAME} ready\n".encode())
        self._until("<<ready>>")

    def all(self, typed: str) -> set[str]:
        """All completions of the last word of what was typed, inserted by the shell."""
        *before, _ = typed.split(" ")
        self._say(f"{NAME} {typed}".encode() + self._insert_all + b"\n")
        shown = self._until("<<", ">>")
        return set(shown.removeprefix(" ".join(before)).split())

    def line(self, typed: str) -> str:
        """The arguments after a tabulator has completed the last word."""
        self._say(f"{NAME} {typed}\t\n".encode())
        return self._until("<<", ">>").rstrip()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def _say(self, keys: bytes) -> None:
        self._told = ""
        os.write(self._terminal, keys)

    def _until(self, *marks: str) -> str:
        """Read until the marks; what stands between the last two."""
        deadline = time.monotonic() + PATIENCE
        while True:
            rest = self._told
            for mark in marks:
                before, found, rest = rest.partition(mark)
            if found:
                return before
            ready, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            assert ready, f"the shell did not answer: {self._told!r}"
            self._told += os.read(self._terminal, 65536).decode()


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / "a file.conf").touch()
    (tmp_path / "a folder").mkdir()
    started = Shell(request.param, tmp_path)
    yield started
    started.end()


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The words of every command, none for the program itself, with their parser."""
    found = {"": build_parser()}
    for words in found.copy():
        _collect(words, found)
    return found


def _collect(words: str, found: dict[str, argparse.ArgumentParser]) -> None:
    for name, parser in sub_commands(found[words]).items():
        found[f"{words}{name} "] = parser
        _collect(f"{words}{name} ", found)


def sub_commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """A parser's commands that its help shows."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            shown = {choice.dest for choice in action._choices_actions}
            return {name: each for name, each in action.choices.items() if name in shown}
    return {}


def long_options(parser: argparse.ArgumentParser) -> set[str]:
    """The long options that its help shows."""
    return {
        option
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
        if option.startswith("--")
    }


def test_every_command_and_option_is_completed(shell: Shell) -> None:
    assert len(parsers()) > 25
    for words, parser in parsers().items():
        assert shell.all(f"{words}--") == long_options(parser), words
        commands = set(sub_commands(parser))
        if commands:
            assert shell.all(words) == commands, words


def test_what_an_administrator_types(shell: Shell) -> None:
    assert shell.line("ten") == "tenant"
    assert shell.line("tenant sca") == "tenant scaffold"
    assert shell.line("-c x tenant add --database-p") == (
        "-c x tenant add --database-password-file"
    )
    assert shell.line("install --init syst") == "install --init systemd"
    assert shell.all("install --init ") == {"auto", "systemd", "sysv", "upstart", "openrc"}
    assert shell.line("install --run-as roo") == "install --run-as root"
    # file names with blanks arrive as one word; only folders where a folder is wanted
    assert shell.line("-c 'a fi") == "-c a file.conf"
    assert shell.line("install --root a").rstrip("/") == "install --root a folder"
    # nothing is offered that would be wrong
    assert shell.line("tenant add --login ") == "tenant add --login"
    assert shell.line("status extra a") == "status extra a"
