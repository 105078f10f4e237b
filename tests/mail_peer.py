"""The far side of mail delivery: a real SMTP server, and one that misbehaves on purpose."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


class Mailbox:
    """Takes mails, except for recipients beginning with ``refuse`` or ``later``."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.tls: list[bool] = []
        self.answer = "250 2.0.0 accepted"
        self.failures = 0
        """So many mails are turned away with 451 before one is accepted."""

    @property
    def messages(self) -> list[EmailMessage]:
        """What was accepted, parsed."""
        return [
            message_from_bytes(bytes(envelope.original_content or b""), policy=policy.default)
            for envelope in self.envelopes
        ]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("refuse"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later"):
            return "450 4.2.1 greylisted, try again"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.failures:
            self.failures -= 1
            return "451 4.3.0 busy"
        if self.answer.startswith("250"):
            self.envelopes.append(envelope)
            self.tls.append(session.ssl is not None)
        return self.answer


def authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
) -> AuthResult:
    """The only account is ``kivi`` with the password ``geheim``."""
    good = (data.login, data.password) == (b"kivi", b"geheim")
    return AuthResult(success=good, handled=good)


@contextlib.contextmanager
def smtp_server(
    mailbox: Mailbox,
    *,
    certificate: Path | None = None,
    ssl_from_start: bool = False,
    login: bool = False,
    utf8: bool = True,
    port: int | None = None,
) -> Iterator[int]:
    """A running server on 127.0.0.1; gives its port."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    options: dict[str, Any] = {"enable_SMTPUTF8": utf8, "decode_data": False}
    if login:
        options |= {"authenticator": authenticate, "auth_required": True}
        options["auth_require_tls"] = context is not None and not ssl_from_start
    if context is not None and ssl_from_start:
        options["ssl_context"] = context
    elif context is not None:
        options |= {"tls_context": context, "require_starttls": True}
    port = port or free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for a host name; its key lies beside it."""
    certificate = folder / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
         f"subjectAltName=DNS:{name},IP:127.0.0.1" if name == "localhost"
         else f"subjectAltName=DNS:{name}",
         "-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate


@contextlib.contextmanager
def scripted_server(*answers: bytes | None, greeting: bytes = b"220 hi\r\n") -> Iterator[int]:
    """A server that gives these answers, one for each line (DATA: one for the whole mail).

    None closes the connection instead of answering; after the last answer nothing comes any more.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                connection.sendall(greeting)
                in_data = False
                for answer in answers:
                    line = lines.readline()
                    while in_data and line not in (b".\r\n", b""):
                        line = lines.readline()
                    if answer is None:
                        return
                    in_data = answer.startswith(b"354")
                    connection.sendall(answer)
                while lines.readline():
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.close()
        thread.join(timeout=5)
