"""Where the service logs: kivitendo's debug file when detached, else the journal or stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from kivitendo_task_server import log
from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.errors import ConfigurationError
from kivitendo_task_server.log import LogTarget

Excepthook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


def foreground_target(debug: bool) -> LogTarget:
    """stderr: with sd-daemon's priorities if the journal reads it, as lines for people if not."""
    return LogTarget("journal" if _stderr_is_journal() else "stderr", debug=debug)


def daemon_target(settings: Settings, kivitendo_dir: Path) -> tuple[LogTarget, str | None]:
    """kivitendo's debug file, and a warning if that cannot be written and syslog takes its place.

    Call with the rights the service will have. Raises ConfigurationError if there is neither.
    """
    from kivitendo_task_server.log_file import check_writable  # the foreground needs none of it

    debug = settings.task_server.debug
    # relative to the kivitendo directory, not to wherever the process happens to be
    file = kivitendo_dir / settings.debug.file_name
    try:
        check_writable(file)
    except ConfigurationError as problem:
        if not log.SYSLOG_SOCKET.exists():
            raise
        return LogTarget("syslog", debug=debug), f"{problem}; the log goes to syslog"
    return LogTarget("file", file, debug), None


def changed_target(
    old: LogTarget, settings: Settings, kivitendo_dir: Path
) -> tuple[LogTarget, str | None]:
    """Where to log after a reload, of the kind it was: in the foreground only ``debug`` counts.

    Warning and errors as :func:`daemon_target`.
    """
    if old.kind in ("journal", "stderr"):
        return replace(old, debug=settings.task_server.debug), None
    return daemon_target(settings, kivitendo_dir)


def set_up(target: LogTarget) -> None:
    """Log to ``target`` from now on, including what would otherwise end on a lost stderr."""
    log.set_up(target)
    sys.excepthook = _log_uncaught(logging.getLogger(log.ROOT))


def _log_uncaught(logger: logging.Logger) -> Excepthook:
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        logger.critical(
            "internal error", exc_info=(kind, error, trace), extra=log.fields("internal_error")
        )

    return hook


def _stderr_is_journal() -> bool:
    """Whether stderr is the stream that systemd names in JOURNAL_STREAM (device:inode)."""
    try:
        device, inode = os.environ["JOURNAL_STREAM"].split(":")
        found = os.fstat(sys.stderr.fileno())
        return (found.st_dev, found.st_ino) == (int(device), int(inode))
    except (KeyError, ValueError, OSError):
        return False
