"""A TCP port in front of PostgreSQL that can be closed, silent, or open."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Literal

Mode = Literal["closed", "silent", "open"]


class Gate:
    """Forwards to ``target`` when open; when silent, accepts and never says a word."""

    def __init__(self, target: tuple[str, int], mode: Mode) -> None:
        self._target = target
        self._mode: Mode = "closed"
        self._listener: socket.socket | None = None
        self._held: list[socket.socket] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.set(mode)

    def set(self, mode: Mode) -> None:
        """Change the mode for connections to come."""
        self._mode = mode
        if mode == "closed":
            self.close()
        elif self._listener is None:
            listener = self._listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(50)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many connections have been accepted whose other end has not given up."""
        poll = select.poll()
        for held in self._held:
            poll.register(held, select.POLLRDHUP)
        return len(self._held) - len(poll.poll(0))

    def close(self) -> None:
        """Listen no longer, and cut what is connected."""
        if self._listener is not None:
            # shutdown, not close: a thread waits in accept
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for held in self._held:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()
        self._held.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._held.append(client)
            if self._mode == "open":
                server = socket.create_connection(self._target)
                self._held.append(server)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
