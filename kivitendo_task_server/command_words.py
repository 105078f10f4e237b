"""Commands from kivitendo's settings, split into words: no shell ever sees them."""

from __future__ import annotations

import shlex


class CommandError(ValueError):
    """The configured command cannot be run as it stands."""


def split_command(text: str) -> list[str]:
    """The words of a command, with quotes as in a shell.

    Raises CommandError for an empty one, and for pipes, redirections and the like.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if not words:
        raise CommandError("the command is empty")
    if any(word and set(word) <= set("();<>|&") for word in words):
        raise CommandError("there is no shell for pipes and redirections; name a script")
    return words
