"""All that can be typed, read off the parser, for the completion of the shells."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from kivitendo_task_server.cli.main import build_parser
from kivitendo_task_server.installer.boot import CommandLine, Valued, Word

_KINDS = {"FILE": "file", "DIR": "directory", "DIRECTORY": "directory", "USER": "user"}
"""What the placeholder of a value means for the shells."""


def command_line() -> CommandLine:
    """All commands and options, with what the options take."""
    parser = build_parser()
    commands = {" ".join(path): command for path, command in _commands(parser, ())}
    valued = {
        each.options: each for every in (parser, *commands.values()) for each in _valued(every)
    }
    after = {name: tuple(_words(command)) for name, command in commands.items()}
    return CommandLine(tuple(_words(parser)), after, tuple(valued.values()))


def _commands(
    parser: argparse.ArgumentParser, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command and sub-command with its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield (*path, name), command
                yield from _commands(command, (*path, name))


def _words(parser: argparse.ArgumentParser) -> Iterator[Word]:
    """What may follow: commands and long options, with their help."""
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield Word(choice.dest, choice.help or "")
        elif action.option_strings:
            text = (action.help or "").replace("%(default)s", str(action.default))
            yield Word(action.option_strings[-1], text.replace("%%", "%"))


def _valued(parser: argparse.ArgumentParser) -> Iterator[Valued]:
    """The options that must have a value."""
    for action in parser._actions:
        if not action.option_strings or action.nargs is not None:
            continue
        options = tuple(action.option_strings)
        if action.choices is not None:
            yield Valued(options, "choices", tuple(map(str, action.choices)))
        else:
            yield Valued(options, _KINDS.get(str(action.metavar), "other"))  # type: ignore[arg-type]
