"""The command line: finds the command's module, runs it, turns errors into messages and codes.

Every command is started through here, so this module and the parsers of the cli modules import
nothing heavy: ``status`` must answer at once. What a command needs it imports when it runs.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from kivitendo_task_server import __version__
from kivitendo_task_server.cli import control
from kivitendo_task_server.errors import TaskServerError, UsageError, not_loadable
from kivitendo_task_server.streams import complete, drop, tell

# Module -> its commands. Each has register(commands): it adds its sub-parsers, whose defaults carry
# run=function, and function(arguments) returns the exit code. The options(parser) of the control
# commands adds what may stand before a command as well.
COMMAND_MODULES: Mapping[str, tuple[str, ...]] = {
    "control": (
        *("start", "stop", "restart", "reload", "status", "check", "debug"),
        *("version", "help"),
    ),
    "config": ("check-config",),
    "schedule": ("schedule",),
    "preview": ("preview",),
    "deliveries": ("deliveries",),
    "demo": ("demo",),
    "install": ("install", "uninstall", "adopt"),
    "tenant": ("tenant",),
    "jobs": ("jobs",),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, remedy=f"see {self.prog} --help")


class CommandParser(Parser):
    """A command's parser: takes the options of all commands once more after the command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        add_common_options(self)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """``-c`` and ``--kivitendo-dir``: understood before and after every command.

    The results are ``arguments.configfile`` and ``arguments.kivitendo_dir``, None where not given.
    """
    common = parser.add_argument_group("options of all commands")
    # SUPPRESS: the parser of the command must not overwrite what stood before the command
    common.add_argument(
        "-c",
        "--configfile",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="configuration file; a relative path starts in the kivitendo directory"
        " (default: config/kivitendo.conf)",
    )
    common.add_argument(
        "--kivitendo-dir",
        metavar="DIRECTORY",
        default=argparse.SUPPRESS,
        help="where kivitendo is installed (default: looked for)",
    )


def build_parser(words: Sequence[str] | None = None) -> Parser:
    """The parser with all commands, or with those that are among the ``words`` of a command line.

    Making the parsers of all others would take ten times as long. Where one of the words may ask
    for help there are all.
    """
    parser = Parser(
        prog="kivitendo-task-server",
        description="Runs the background jobs of kivitendo, above all the recurring invoices.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_common_options(parser)
    parser.set_defaults(configfile=None, kivitendo_dir=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=CommandParser)
    for name in COMMAND_MODULES if words is None else _modules_for(words):
        import_module(f"kivitendo_task_server.cli.{name}").register(commands)
    control.options(parser)
    return parser


def _modules_for(words: Sequence[str]) -> Iterable[str]:
    if any(word.startswith("-") and "h" in word for word in words):
        return COMMAND_MODULES
    return [name for name, its in COMMAND_MODULES.items() if not set(its).isdisjoint(words)]


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """What the words mean. Raises UsageError."""
    try:
        return build_parser(words).parse_args(words)
    except UsageError:
        return build_parser().parse_args(words)  # whose message knows all commands


def _refuse_stray_options(arguments: argparse.Namespace) -> None:
    """Options of the control commands before another command mean nothing there."""
    given = [name for name in vars(arguments) if name.startswith("control_")]
    if given and not getattr(arguments, "control", False):
        option = "--" + given[0].removeprefix("control_").replace("_", "-")
        raise UsageError(f"{option} is not an option of {arguments.command}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see kivitendo_task_server.errors)."""
    complete()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # tenants' names may have characters that this terminal's encoding has not
        sys.stdout.reconfigure(errors="backslashreplace")
    return _written_out(_run(sys.argv[1:] if argv is None else argv))


def _run(words: Sequence[str]) -> int:
    """Run one command, and turn what goes wrong into a message and an exit code."""
    try:
        arguments = _parsed(words)
        if arguments.command is None:
            raise UsageError("no command given", remedy="see kivitendo-task-server --help")
        _refuse_stray_options(arguments)
        result: int = arguments.run(arguments)
        return result
    except SystemExit as answered:  # --help, --version
        return answered.code if isinstance(answered.code, int) else 0
    except TaskServerError as error:
        tell(f"kivitendo-task-server: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        tell("kivitendo-task-server: interrupted")
        return 130
    except BrokenPipeError:
        # the reader of our output went away (a pager, head); not our failure
        drop(sys.stdout)
        return 0
    except Exception as error:
        if os.environ.get("KIVITENDO_TASK_SERVER_TRACEBACK"):
            import traceback

            traceback.print_exc()
        text = (
            str(not_loadable(error))
            if isinstance(error, ImportError)
            else f"internal error: {type(error).__name__}: {error}"
            " (set KIVITENDO_TASK_SERVER_TRACEBACK=1 to see where, and report it)"
        )
        tell(f"kivitendo-task-server: {text}")
        return 1


def _written_out(code: int) -> int:
    """The exit code after writing what is left of the output. Python would just show its error."""
    try:
        sys.stdout.flush()
    except OSError as error:
        drop(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            what = f"the output cannot be written: {error.strerror}"
            tell(f"kivitendo-task-server: standard output: {what}")
            return code or 1
    return code
