"""Delivery to an SMTP server (task-server.md, a.5, ``[mail_delivery]``).

Certificates are verified, except by default those of this machine itself: a relay on localhost
mostly has a certificate that it signed itself, and nobody stands in between. kivitendo never
verifies, so ``verify_certificate`` says otherwise where it must.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable, Sequence
from email.message import EmailMessage

from kivitendo_task_server.config.settings import MailDelivery
from kivitendo_task_server.mail.message import serialised
from kivitendo_task_server.mail.outcome import Outcome, Refusal, all_refused

# Refusals of the login are the configuration's fault, not the mail's: it may be sent later.
_LOGIN_CODES = frozenset({530, 534, 535, 538})


class _NotPossibleError(Exception):
    """The server cannot do what the configuration demands."""


def send_by_smtp(
    settings: MailDelivery,
    message: EmailMessage,
    sender: str,
    recipients: Sequence[str],
    timeout: float,
    before_handover: Callable[[], None] = lambda: None,
) -> Outcome:
    """Deliver to the server of ``settings``; ``timeout`` (seconds) is for each of its answers.

    Never raises for anything that the server or the network does.
    """
    server: smtplib.SMTP | None = None
    try:
        server = _connect(settings, timeout)
        _log_in(server, settings)
        return _transfer(server, message, sender, recipients, before_handover)
    except (OSError, smtplib.SMTPException, UnicodeError, _NotPossibleError) as error:
        return all_refused(recipients, _explain(error, settings), permanent=False)
    finally:
        if server is not None:
            _hang_up(server)


def verifies_certificate(settings: MailDelivery) -> bool:
    """Whether the server's certificate must be good."""
    if settings.verify_certificate is not None:
        return settings.verify_certificate
    host = _host(settings).lower().rstrip(".")
    return not (host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host))


def _connect(settings: MailDelivery, timeout: float) -> smtplib.SMTP:
    host, name = _host(settings), settings.ehlo or "localhost"
    context = ssl.create_default_context()
    if not verifies_certificate(settings):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    server: smtplib.SMTP
    if settings.security == "ssl":
        server = smtplib.SMTP_SSL(
            host, _port(settings), local_hostname=name, timeout=timeout, context=context
        )
    else:
        server = smtplib.SMTP(host, _port(settings), local_hostname=name, timeout=timeout)
    try:
        server.set_debuglevel(1 if settings.debug else 0)
        server.ehlo_or_helo_if_needed()
        if settings.security == "tls":
            if not server.has_extn("starttls"):
                raise _NotPossibleError("the server does not offer STARTTLS")
            server.starttls(context=context)
            server.ehlo()
    except BaseException:
        server.close()
        raise
    return server


def _log_in(server: smtplib.SMTP, settings: MailDelivery) -> None:
    if not settings.login:
        return
    server.set_debuglevel(0)  # the protocol would show the password
    try:
        server.login(settings.login, settings.password)
    except UnicodeError as error:
        raise _NotPossibleError("login and password must be ASCII for SMTP") from error
    server.set_debuglevel(1 if settings.debug else 0)


def _transfer(
    server: smtplib.SMTP,
    message: EmailMessage,
    sender: str,
    recipients: Sequence[str],
    before_handover: Callable[[], None],
) -> Outcome:
    international = not all(address.isascii() for address in (sender, *recipients))
    if international and not server.has_extn("smtputf8"):
        text = "the server does not accept addresses outside ASCII (SMTPUTF8)"
        return all_refused(recipients, text, permanent=True)
    options = ["SMTPUTF8", "BODY=8BITMIME"] if international else []
    code, reply = server.mail(sender, options)
    if code != 250:
        return all_refused(recipients, f"sender {sender}: {_text(code, reply)}",
                           permanent=_is_permanent(code))  # fmt: skip
    accepted, refused = _name_recipients(server, recipients)
    if not accepted:
        answer = "; ".join(f"{refusal.recipient}: {refusal.text}" for refusal in refused)
        return Outcome((), tuple(refused), answer)
    before_handover()
    code, reply = server.docmd("DATA")
    if code != 354:
        return _after_data(accepted, refused, code, reply)
    server.send(_with_dots_doubled(serialised(message, international=international)))
    try:
        code, reply = server.getreply()
    except (OSError, smtplib.SMTPException) as error:
        text = f"no answer after the whole mail was sent: {error}"
        lost = all_refused(accepted, text, permanent=False).refused
        return Outcome((), (*refused, *lost), text, uncertain=True)
    return _after_data(accepted, refused, code, reply)


def _name_recipients(
    server: smtplib.SMTP, recipients: Sequence[str]
) -> tuple[list[str], list[Refusal]]:
    accepted: list[str] = []
    refused: list[Refusal] = []
    for recipient in recipients:
        code, reply = server.rcpt(recipient)
        if code in (250, 251):
            accepted.append(recipient)
        else:
            refused.append(Refusal(recipient, _text(code, reply), _is_permanent(code)))
    return accepted, refused


def _after_data(accepted: list[str], refused: list[Refusal], code: int, reply: bytes) -> Outcome:
    answer = _text(code, reply)
    if code == 250:
        complaints = "".join(f"; {r.recipient}: {r.text}" for r in refused)
        return Outcome(tuple(accepted), tuple(refused), answer + complaints)
    lost = all_refused(accepted, answer, permanent=_is_permanent(code)).refused
    return Outcome((), (*refused, *lost), answer)


def _hang_up(server: smtplib.SMTP) -> None:
    try:
        server.quit()
    except (OSError, smtplib.SMTPException):
        server.close()


def _is_permanent(code: int) -> bool:
    return 500 <= code < 600 and code not in _LOGIN_CODES


def _with_dots_doubled(data: bytes) -> bytes:
    body = re.sub(rb"(?m)^\.", b"..", data)
    return body + (b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n")


def _explain(error: Exception, settings: MailDelivery) -> str:
    """The error in words, with the server's place; nothing of the login but its name."""
    place = f"SMTP server {_host(settings)}:{_port(settings)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{place}: its certificate is not trusted: {error.verify_message}"
            " (install the authority's certificate, or set verify_certificate = 0 in"
            " [mail_delivery])"
        )
    if isinstance(error, smtplib.SMTPAuthenticationError):
        answer = _text(error.smtp_code, error.smtp_error)
        return f"{place}: the login {settings.login!r} was refused: {answer}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{place}: {_text(error.smtp_code, error.smtp_error)}"
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return f"{place}: no answer in time"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return f"{place}: the server closed the connection ({error})"
    return f"{place}: {error}"


def _text(code: int, reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return " ".join(f"{code} {text}".split())


def _host(settings: MailDelivery) -> str:
    return settings.host or "localhost"


def _port(settings: MailDelivery) -> int:
    return settings.port or (465 if settings.security == "ssl" else 25)
