"""The standard streams, whatever the caller has made of them: closed, full, read by nobody.

Boot scripts, cron and the web interface call the commands in many ways; what was begun is done all
the same, and the exit code tells what came of it.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO


def complete() -> None:
    """Put /dev/null in the place of closed ones.

    Otherwise our own files, even the PID file, would get their numbers, and whatever is printed
    would end up in them.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def say(line: str) -> None:
    """Print a line to stdout."""
    _print(line, sys.stdout)


def tell(line: str) -> None:
    """Print a line to stderr."""
    _print(line, sys.stderr)


def drop(stream: TextIO) -> None:
    """Send what is left in its buffer nowhere: it would raise again when the process ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _print(line: str, stream: TextIO) -> None:
    try:
        print(line, file=stream, flush=True)
    except OSError:
        drop(stream)
