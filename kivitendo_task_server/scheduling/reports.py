"""A worker's end of the line to the supervisor."""

from __future__ import annotations

import logging
import select
import socket
from typing import Any

from kivitendo_task_server.scheduling.messages import LONGEST_TEXT, encode


class Reports:
    """Messages to the supervisor, and its one word: stop."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._waiting = bytearray()

    def send(self, event: str, **values: Any) -> None:
        """Tell something. Raises ConnectionError if the supervisor is gone."""
        self.send_later(event, **values)
        self.flush()

    def send_later(self, event: str, **values: Any) -> None:
        """Tell something together with what follows at once."""
        self._waiting += encode(event, **values)

    def flush(self) -> None:
        """Send what waits, if anything does. Raises ConnectionError if the supervisor is gone."""
        if self._waiting:
            waiting, self._waiting = bytes(self._waiting), bytearray()
            self._channel.sendall(waiting)

    def stop_requested(self) -> bool:
        """Whether the supervisor sent "stop", or is gone."""
        return bool(self._poll.poll(0))


class ReportHandler(logging.Handler):
    """Log records travel to the supervisor, who knows where the log is."""

    def __init__(self, reports: Reports) -> None:
        super().__init__()
        self._reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        try:
            self._reports.send(
                "log",
                name=record.name,
                level=record.levelno,
                text=text[:LONGEST_TEXT],
                fields=getattr(record, "fields", {}),
            )
        except ConnectionError:
            return  # found out by the next report of the worker itself
