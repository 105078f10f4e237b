"""An IMAP server that knows just what appending a mail takes."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Mailboxes:
    """What the server has: folder -> the messages appended to it."""

    folders: dict[str, list[bytes]] = field(default_factory=dict)
    delimiter: str = "/"
    password: str = "geheim"

    def answer(self, command: str, rest: str, literal: bytes) -> str:
        """One answer, without its tag; lines before it begin with ``*``."""
        names = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
        if command == "CAPABILITY":
            return "* CAPABILITY IMAP4rev1\r\nOK"
        if command == "LOGIN":
            return "OK" if self.password in rest else "NO wrong password"
        if command == "LIST":
            return f'* LIST (\\Noselect) "{self.delimiter}" ""\r\nOK'
        if command == "CREATE":
            self.folders[names[0]] = []
            return "OK"
        if command == "APPEND":
            if names[0] not in self.folders:
                return "NO [TRYCREATE] no such folder"
            self.folders[names[0]].append(literal)
            return "OK"
        return "OK" if command == "LOGOUT" else "BAD"


@contextlib.contextmanager
def imap_server(mailboxes: Mailboxes) -> Iterator[int]:
    """A running server on 127.0.0.1, for one connection after the other; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                connection, _ = listener.accept()
                with (
                    connection,
                    connection.makefile("rb") as lines,
                    contextlib.suppress(OSError, ValueError),
                ):
                    connection.sendall(b"* OK hi\r\n")
                    for line in lines:
                        tag, command, *rest = line.decode("latin-1").split(" ", 2)
                        text, literal = "".join(rest), b""
                        if found := re.search(r"\{(\d+)\}\s*$", text):
                            connection.sendall(b"+ go on\r\n")
                            literal = lines.read(int(found[1]))
                            lines.readline()
                        answer = mailboxes.answer(command.strip().upper(), text, literal)
                        *before, last = answer.split("\r\n")
                        block = "".join(f"{one}\r\n" for one in before) + f"{tag} {last} done\r\n"
                        connection.sendall(block.encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)
