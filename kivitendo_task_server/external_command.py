"""Commands from kivitendo's settings (mail program, printers): split into words, fed, limited.

No shell ever sees them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import threading

_WORDS = 2000  # characters of a program's own words that are kept


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


def feed(command: list[str], data: bytes, timeout: float) -> tuple[int, str, bool]:
    """Run a program on ``data``: its exit code, what it said, and whether it took all.

    After ``timeout`` seconds it is killed with all it has started, and subprocess.TimeoutExpired
    raised. Raises OSError if it cannot be started.
    """
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=words, stderr=words, start_new_session=True
        )
        taken = threading.Event()
        # a thread, because a program that neither reads nor ends must not hold up the time limit
        feeder = threading.Thread(target=_write, args=(process, data, taken), daemon=True)
        feeder.start()
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            feeder.join(timeout=5)
        words.seek(0)
        text = words.read(4 * _WORDS).decode("utf-8", "replace")
    return code, " ".join(text.split())[:_WORDS], taken.is_set()


def _write(process: subprocess.Popen[bytes], data: bytes, taken: threading.Event) -> None:
    assert process.stdin is not None
    # the program may be gone before it has read everything; then the pipe breaks
    with contextlib.suppress(OSError):
        try:
            process.stdin.write(data)
            process.stdin.flush()
            taken.set()
        finally:
            process.stdin.close()
