"""Handing a PDF to the printer's command (8.1)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

from kivitendo_task_server.command_words import CommandError, split_command
from kivitendo_task_server.errors import TaskServerError

TIMEOUT = 60  # seconds for one copy
_VARIABLE = re.compile(r"<%\s*(\w+)\s*%>")
_WORDS = 500  # characters of what the command says that are kept


class PrintFailed(TaskServerError):  # noqa: N818 - read as what happened
    """The printer's command did not take the file; ``printed`` copies before it were taken."""

    def __init__(self, what: str, printed: int) -> None:
        super().__init__(what)
        self.printed = printed


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
        raise PrintFailed(f"the printer's command {command!r}: {error}", 0) from error
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
            done = subprocess.run(
                words,
                input=content,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
                start_new_session=True,
                check=False,
            )
        except OSError as error:
            raise PrintFailed(f"{words[0]}: {error.strerror}", copy) from error
        except subprocess.TimeoutExpired as error:
            raise PrintFailed(
                f"{words[0]} did not end within {TIMEOUT} s and was stopped", copy
            ) from error
        if done.returncode != 0:
            said = " ".join(done.stdout.decode("utf-8", "replace").split())[:_WORDS]
            raise PrintFailed(
                f"{words[0]} ended with exit code {done.returncode}"
                + (f": {said}" if said else ""),
                copy,
            )
