"""The notification protocol of systemd (sd_notify(3)), understood by other supervisors as well.

Own code, because there is so little of it: one datagram with ``NAME=value`` lines. The package
systemd is a C extension that needs libsystemd, also where no systemd runs; sdnotify is no more than
the sending below, which would still leave the environment and the messages to us.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time


class Notifier:
    """Tells who started us, if it asked to be told; without NOTIFY_SOCKET nothing happens."""

    def __init__(self, address: str | None, watchdog_interval: float | None = None) -> None:
        self._address = address
        self.watchdog_interval = watchdog_interval
        """Seconds within which a sign of life is expected; None: nobody watches."""

    @classmethod
    def from_environment(cls) -> Notifier:
        """Take NOTIFY_SOCKET and the watchdog's variables out of the environment.

        Out of it, so that no child process, not even a job's, can speak in our name.
        """
        address = os.environ.pop("NOTIFY_SOCKET", "")
        interval = os.environ.pop("WATCHDOG_USEC", "")
        pid = os.environ.pop("WATCHDOG_PID", "")
        meant = not pid or pid == str(os.getpid())
        seconds = int(interval) / 1e6 if interval.isdigit() and int(interval) and meant else None
        # only these two kinds of address exist, the second is Linux's abstract namespace
        return cls(address if address.startswith(("/", "@")) else None, seconds)

    def ready(self, status: str) -> None:
        """Start-up is over; MAINPID tells a detached service's process."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """The line that ``systemctl status`` shows."""
        self._send(f"STATUS={_line(text)}")

    def watchdog(self) -> None:
        """A sign of life."""
        if self.watchdog_interval is not None:
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """A reload has begun; with the time that Type=notify-reload needs to match it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def reloaded(self, status: str) -> None:
        """The reload is over, whatever came of it; ``status`` says what."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._send(f"STOPPING=1\nSTATUS={_line(status)}")

    def extend(self, seconds: int) -> None:
        """Ask for that much more time to stop than the unit allows."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        # a supervisor that went away or has its hands full must not stop or hold us
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.setblocking(False)
            sender.sendto(message.encode(errors="backslashreplace"), address)


def _line(text: str) -> str:
    return " ".join(text.split())
