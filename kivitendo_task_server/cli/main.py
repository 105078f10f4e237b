"""The command line: finds the command's module, runs it, turns errors into messages and codes."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from kivitendo_task_server import __version__
from kivitendo_task_server.errors import TaskServerError, UsageError

# Each module has register(commands): it adds its sub-parsers, whose defaults carry run=function,
# and function(arguments) returns the exit code.
COMMAND_MODULES: tuple[str, ...] = ()


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, remedy=f"see {self.prog} --help")


def build_parser() -> Parser:
    """The parser with all commands of COMMAND_MODULES."""
    parser = Parser(
        prog="kivitendo-task-server",
        description="Runs the background jobs of kivitendo, above all the recurring invoices.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name in COMMAND_MODULES:
        import_module(f"kivitendo_task_server.cli.{name}").register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see kivitendo_task_server.errors)."""
    try:
        arguments = build_parser().parse_args(argv)
        if arguments.command is None:
            raise UsageError("no command given", remedy="see kivitendo-task-server --help")
        result: int = arguments.run(arguments)
        return result
    except TaskServerError as error:
        print(f"kivitendo-task-server: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("kivitendo-task-server: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output went away (a pager, head); not our failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("KIVITENDO_TASK_SERVER_TRACEBACK"):
            traceback.print_exc()
        print(
            f"kivitendo-task-server: internal error: {type(error).__name__}: {error}"
            " (set KIVITENDO_TASK_SERVER_TRACEBACK=1 to see where, and report it)",
            file=sys.stderr,
        )
        return 1
