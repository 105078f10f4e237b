"""Structured log lines: ``time level action=... key=value ... message``."""

from __future__ import annotations

import logging
from typing import Any

ROOT = "kivitendo_task_server"


def logger(name: str) -> logging.Logger:
    """The logger of one module; ``name`` is its ``__name__``."""
    return logging.getLogger(name)


def fields(action: str, **values: Any) -> dict[str, Any]:
    """What a log call passes as ``extra``: the action and its key=value fields.

    ``log.info("job started", extra=fields("job_started", tenant=tenant.name, job=7))``
    """
    return {"fields": {"action": action, **values}}


class KeyValueFormatter(logging.Formatter):
    """Renders a record and its :func:`fields` as one line of text."""

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, Any] = getattr(record, "fields", {})
        pairs = " ".join(f"{key}={_quoted(value)}" for key, value in values.items())
        line = (
            f"{record.levelname} {pairs} {record.getMessage()}"
            if pairs
            else (f"{record.levelname} {record.getMessage()}")
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _quoted(value: Any) -> str:
    text = str(value)
    if text and not any(c.isspace() or c in '"=' for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
