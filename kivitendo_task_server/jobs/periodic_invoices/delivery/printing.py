"""Handing a PDF to the printer's command (8.1)."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Mapping

from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.external_command import CommandError, feed, split_command

TIMEOUT = 60  # seconds for one copy
_VARIABLE = re.compile(r"<%\s*(\w+)\s*%>")


class PrintFailed(TaskServerError):  # noqa: N818 - read as what happened
    """The printer's command did not take the file."""

    def __init__(self, what: str, *, printed: int = 0, uncertain: bool = False) -> None:
        """``printed`` copies were taken before; ``uncertain``: perhaps this one was, too."""
        super().__init__(what)
        self.printed = printed
        self.uncertain = uncertain


def expand(command: str, values: Mapping[str, str]) -> list[str]:
    """The words of a printer's command, ``<%name%>`` replaced by the invoice's columns.

    The values are put in after the command is split: they can never become words or options of
    their own. Unknown names stay. Raises PrintFailed.
    """
    # the marks themselves contain < and >, which are not redirections
    protected = _VARIABLE.sub("\x02\\1\x03", command)
    try:
        words = split_command(protected)
    except CommandError as error:
        raise PrintFailed(f"the printer's command {command!r}: {error}") from error
    return [
        re.sub(
            "\x02(\\w+)\x03",
            lambda found: values.get(found[1], f"<%{found[1]}%>").replace("\0", ""),
            word,
        )
        for word in words
    ]


def print_file(words: list[str], content: bytes, copies: int) -> None:
    """Feed the file to the command, once for each copy. Raises PrintFailed."""
    for copy in range(copies):
        try:
            code, said, _ = feed(words, content, TIMEOUT)
        except OSError as error:
            raise PrintFailed(f"{words[0]}: {error.strerror}", printed=copy) from error
        except subprocess.TimeoutExpired as error:
            raise PrintFailed(
                f"{words[0]} did not end within {TIMEOUT} s and was stopped",
                printed=copy,
                uncertain=True,
            ) from error
        if code != 0:
            ended = (
                f"ended with exit code {code}"
                if code > 0
                else f"was ended by {signal.Signals(-code).name}"
            )
            raise PrintFailed(f"{words[0]} {ended}" + (f": {said}" if said else ""), printed=copy)
