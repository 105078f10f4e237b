"""Log lines, ``TEXT action=... key=value ...``, in kivitendo's file, the journal, or on stderr.

The format of the file is kivitendo's own (task-server.md, f), so that existing evaluations go on
working: ``YYYY-MM-DD HH:MM:SS.mmm PID [PID] LEVEL: TEXT``. Beyond the original, a message is always
one line, and warnings, failures and changes of state are written at any ``global_level``
(weakness 35); ``[task_server] debug`` adds details and tracebacks.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kivitendo_task_server.errors import TaskServerError

ROOT = "kivitendo_task_server"
SYSLOG_SOCKET = Path("/dev/log")

# kivitendo's names for the levels it has; the others keep Python's
_KIVITENDO_LEVELS = {logging.DEBUG: "debug1", logging.INFO: "info"}

# Python's level -> syslog's priority
_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)


def logger(name: str) -> logging.Logger:
    """The logger of one module; ``name`` is its ``__name__``."""
    return logging.getLogger(name)


def fields(action: str, **values: Any) -> dict[str, Any]:
    """What a log call passes as ``extra``: the action and its key=value fields.

    ``log.info("job started", extra=fields("job_started", tenant=tenant.name, job=7))``
    """
    return {"fields": {"action": action, **values}}


@dataclass(frozen=True)
class LogTarget:
    """Where this service logs to; plain data, so that a worker process can be told."""

    kind: Literal["file", "syslog", "journal", "stderr"] = "stderr"
    file: Path | None = None
    debug: bool = False


def set_up(target: LogTarget) -> None:
    """Send the whole process's log to ``target``; replaces what was set up before.

    Raises ConfigurationError if the file cannot be written.
    """
    handler = _handler(target)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(logging.DEBUG if target.debug else logging.INFO)
    logging.captureWarnings(True)
    # nobody reads a daemon's stderr; a handler that fails must not raise into the caller either
    logging.raiseExceptions = False


def _handler(target: LogTarget) -> logging.Handler:
    handler: logging.Handler
    if target.kind == "file":
        from kivitendo_task_server.log_file import DebugFileHandler, check_writable

        assert target.file is not None
        check_writable(target.file)
        handler = DebugFileHandler(target.file)
        handler.setFormatter(KivitendoFormatter(target.debug))
    elif target.kind == "syslog":
        from logging.handlers import SysLogHandler  # brings pickle and more along: only if used

        handler = SysLogHandler(str(SYSLOG_SOCKET))
        handler.ident = f"kivitendo-background-jobs[{os.getpid()}]: "
        handler.setFormatter(KeyValueFormatter(target.debug))
    elif target.kind == "journal":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JournalFormatter(target.debug))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(KivitendoFormatter(target.debug))
    return handler


class KeyValueFormatter(logging.Formatter):
    """Renders a record and its :func:`fields` as one line; tracebacks only with ``debug``."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__()
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        values = dict(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None and not self._debug:
            values.setdefault("error", _in_short(record.exc_info[1]))
        text = _on_one_line(record.getMessage())
        line = " ".join([text, *(f"{key}={_quoted(value)}" for key, value in values.items())])
        if record.exc_info and self._debug:
            trace = self.formatException(record.exc_info)
            # indented, so that no part of it can be taken for a line of its own
            line += "".join(f"\n    {part}" for part in trace.splitlines())
        return line


class KivitendoFormatter(KeyValueFormatter):
    """A line of kivitendo's debug file (task-server.md, f); the PID stands there twice."""

    default_time_format = "%Y-%m-%d %H:%M:%S"
    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        level = _KIVITENDO_LEVELS.get(record.levelno, record.levelname)
        when = self.formatTime(record)
        return f"{when} {record.process} [{record.process}] {level}: {super().format(record)}"


class JournalFormatter(KeyValueFormatter):
    """A line with sd-daemon's ``<N>`` priority; the journal itself adds time and PID."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for least, number in _PRIORITIES if record.levelno >= least)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def _in_short(error: BaseException) -> str:
    return str(error) if isinstance(error, TaskServerError) else f"{type(error).__name__}: {error}"


def _on_one_line(text: str) -> str:
    """The text without control characters: whoever names a job cannot forge a line."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.rstrip("\n")
    )


def _quoted(value: Any) -> str:
    text = _on_one_line(str(value).replace("\\", "\\\\"))
    if text and not any(c.isspace() or c in '"=' for c in text):
        return text
    return '"' + text.replace('"', '\\"') + '"'
