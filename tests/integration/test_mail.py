"""Mails to a real SMTP server and through real sendmail programs."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from mail_peer import Mailbox, free_port, make_certificate, scripted_server, smtp_server

from kivitendo_task_server.config.settings import DatabaseAccess, MailDelivery, Settings
from kivitendo_task_server.mail import (
    AddressError,
    Attachment,
    Mail,
    Outcome,
    compose,
    delivery_settings,
    header_lines,
    send,
)
from kivitendo_task_server.mail.sendmail import expand_command
from kivitendo_task_server.mail.smtp import verifies_certificate

NOW = datetime(2026, 11, 22, 15, 54, tzinfo=ZoneInfo("Europe/Berlin"))
MAIL = Mail(
    sender="Müller & Söhne <rechnung@firma.example>",
    to="Einkauf <einkauf@kunde.example>",
    subject="Rechnung 1 für März",
    body="Grüße\n.\n..\nEnde ohne Zeilenende",
)

# what our peer is warned of is what these tests need
login_without_tls = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name) for name in ("localhost", "other.example")}


@pytest.fixture
def port(mailbox: Mailbox) -> Iterator[int]:
    with smtp_server(mailbox) as number:
        yield number


def _to(port: int, **values: object) -> MailDelivery:
    return MailDelivery(host="127.0.0.1", port=port, **values)  # type: ignore[arg-type]


def _send(settings: MailDelivery, mail: Mail = MAIL, timeout: float = 20) -> Outcome:
    return send(settings, mail, NOW, timeout=timeout)[1]


def test_plain_smtp_delivers_text_and_headers_unharmed(mailbox: Mailbox, port: int) -> None:
    outcome = _send(_to(port))
    assert outcome.sent and not outcome.retry
    assert outcome.answer == "250 2.0.0 accepted"
    [message], [envelope] = mailbox.messages, mailbox.envelopes
    assert envelope.mail_from == "rechnung@firma.example"
    assert envelope.rcpt_tos == ["einkauf@kunde.example"]
    assert message["Subject"] == MAIL.subject
    assert message["From"].addresses[0].display_name == "Müller & Söhne"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"].endswith("@firma.example>")
    assert message.get_content().replace("\r\n", "\n") == MAIL.body + "\n"
    raw = bytes(envelope.original_content or b"")
    assert raw.isascii() and b"\r\n" in raw and b"\n" not in raw.replace(b"\r\n", b"")


def test_blind_copies_are_delivered_and_not_shown(mailbox: Mailbox, port: int) -> None:
    mail = Mail(
        sender="a@firma.example",
        to="b@kunde.example, B <b@kunde.example>",
        cc="c@kunde.example",
        bcc="ablage@firma.example",
        subject="x",
        body="y",
    )
    assert _send(_to(port), mail).sent
    assert mailbox.envelopes[0].rcpt_tos == [
        "b@kunde.example", "c@kunde.example", "ablage@firma.example",
    ]  # fmt: skip
    assert mailbox.messages[0]["Bcc"] is None
    assert b"ablage" not in bytes(mailbox.envelopes[0].original_content or b"")


def test_attachments_keep_names_and_bytes(mailbox: Mailbox, port: int) -> None:
    content = bytes(range(256)) * 50
    attachments = (
        Attachment("Rechnung RE/26-100 – Größe.pdf", "application/pdf", content),
        Attachment("liste.txt", "text/plain", "Ä".encode("latin-1")),
    )
    mail = Mail("a@b.example", "c@d.example", "Anbei", "<p>ü</p>", "text/html", "", "", attachments)
    assert _send(_to(port), mail).sent
    parts = list(mailbox.messages[0].iter_attachments())
    assert [part.get_filename() for part in parts] == [a.name for a in attachments]
    assert [part.get_payload(decode=True) for part in parts] == [a.content for a in attachments]
    assert parts[0].get_content_type() == "application/pdf"
    body = mailbox.messages[0].get_body(("html",))
    assert body is not None and body.get_content() == "<p>ü</p>"


@pytest.mark.parametrize("text", ["", "x", "\n", "a\n", "a\n\n", ".", ".\n.", "ä" * 200, "a \nb\t"])
def test_the_body_arrives_to_the_last_character(mailbox: Mailbox, port: int, text: str) -> None:
    _, outcome = send(_to(port), Mail("a@b.example", "c@d.example", "x", text), NOW)
    assert outcome.sent
    received = mailbox.messages[0].get_payload(decode=True)
    assert isinstance(received, bytes)
    # the protocol itself ends a mail with a line break
    ending = "" if text.endswith("\n") else "\n"
    assert received.decode().replace("\r\n", "\n") in (text, text + ending)


def test_a_header_cannot_be_smuggled_in(mailbox: Mailbox, port: int) -> None:
    mail = Mail("a@b.example", "c@d.example", "x\r\nBcc: spy@evil.example\n\nbody", "y")
    assert _send(_to(port), mail).sent
    assert mailbox.envelopes[0].rcpt_tos == ["c@d.example"]
    assert mailbox.messages[0]["Bcc"] is None
    assert mailbox.messages[0]["Subject"] == "x Bcc: spy@evil.example body"


def test_the_bodys_header_lines_for_the_journal() -> None:
    lines = header_lines(compose(MAIL, NOW)).split("\r\n")
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == [
        "From", "To", "Subject", "Date", "Message-ID", "X-Mailer", "MIME-Version",
        "Content-Type", "Content-Transfer-Encoding",
    ]  # fmt: skip


def test_refused_recipients_are_told_apart(mailbox: Mailbox, port: int) -> None:
    mail = Mail("a@b.example", "good@c.example, refuse@c.example, later@c.example", "x", "y")
    outcome = _send(_to(port), mail)
    assert outcome.accepted == ("good@c.example",)
    assert not outcome.sent
    assert {r.recipient: r.permanent for r in outcome.refused} == {
        "refuse@c.example": True,
        "later@c.example": False,
    }
    assert outcome.retry == ("later@c.example",)
    assert "no such mailbox" in outcome.answer and "greylisted" in outcome.answer
    assert mailbox.envelopes[0].rcpt_tos == ["good@c.example"]


def test_nobody_accepted(mailbox: Mailbox, port: int) -> None:
    outcome = _send(_to(port), Mail("a@b.example", "refuse@c.example", "x", "y"))
    assert (outcome.accepted, outcome.retry, mailbox.envelopes) == ((), (), [])


@pytest.mark.parametrize(("answer", "again"), [("554 5.7.1 spam", ()), ("452 4.3.1 full", None)])
def test_the_whole_mail_is_refused(
    mailbox: Mailbox, port: int, answer: str, again: tuple[str, ...] | None
) -> None:
    mailbox.answer = answer
    outcome = _send(_to(port))
    assert not outcome.sent and outcome.answer == answer
    assert outcome.retry == (("einkauf@kunde.example",) if again is None else again)


def test_starttls_with_login(mailbox: Mailbox, certificates: dict[str, Path]) -> None:
    with smtp_server(mailbox, certificate=certificates["localhost"], login=True) as port:
        settings = _to(port, security="tls", login="kivi", password="geheim")
        assert _send(settings).sent
        wrong = _send(_to(port, security="tls", login="kivi", password="falsch!"))
    assert mailbox.tls == [True]
    assert "'kivi' was refused" in wrong.answer and "falsch!" not in wrong.answer
    assert wrong.retry, "a wrong password is the configuration's fault: the mail is kept"


def test_tls_from_the_start(mailbox: Mailbox, certificates: dict[str, Path]) -> None:
    certificate = certificates["localhost"]
    with smtp_server(mailbox, certificate=certificate, ssl_from_start=True) as port:
        assert _send(_to(port, security="ssl")).sent


@pytest.mark.parametrize("security", ["tls", "ssl"])
@pytest.mark.parametrize("name", ["localhost", "other.example"])
def test_a_bad_certificate_is_refused_with_advice(
    mailbox: Mailbox, certificates: dict[str, Path], security: str, name: str
) -> None:
    with smtp_server(
        mailbox, certificate=certificates[name], ssl_from_start=security == "ssl"
    ) as port:
        outcome = _send(_to(port, security=security, verify_certificate=True))
        assert not outcome.sent
        assert "certificate is not trusted" in outcome.answer
        assert "verify_certificate = 0" in outcome.answer
        assert _send(_to(port, security=security, verify_certificate=False)).sent


def test_a_good_certificate_is_accepted(
    mailbox: Mailbox, certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["localhost"]))
    with smtp_server(mailbox, certificate=certificates["localhost"]) as port:
        assert _send(_to(port, security="tls", verify_certificate=True)).sent


@pytest.mark.parametrize(
    ("host", "verified"),
    [("localhost", False), ("127.0.0.1", False), ("127.0.1.1", False), ("::1", False),
     ("LOCALHOST.", False), ("mail.firma.example", True), ("127.evil.example", True),
     ("localhost.evil.example", True), ("", False)],
)  # fmt: skip
def test_only_this_machine_is_trusted_unseen(host: str, verified: bool) -> None:
    assert verifies_certificate(MailDelivery(host=host)) is verified


def test_starttls_is_never_given_up_silently(mailbox: Mailbox, port: int) -> None:
    outcome = _send(_to(port, security="tls"))
    assert not outcome.sent and "does not offer STARTTLS" in outcome.answer
    assert mailbox.envelopes == []


def test_login_that_the_server_does_not_know(port: int) -> None:
    outcome = _send(_to(port, login="kivi", password="geheim"))
    assert not outcome.sent and outcome.retry
    assert "geheim" not in outcome.answer


@login_without_tls
def test_password_outside_ascii_is_an_error_in_words(mailbox: Mailbox) -> None:
    with smtp_server(mailbox, login=True) as port:
        outcome = _send(_to(port, login="kivi", password="geheimß"))
    assert "must be ASCII" in outcome.answer and "geheim" not in outcome.answer


@login_without_tls
def test_debug_shows_the_protocol_without_the_password(
    mailbox: Mailbox, capfd: pytest.CaptureFixture[str]
) -> None:
    with smtp_server(mailbox, login=True) as port:
        assert _send(_to(port, login="kivi", password="geheim", debug=True)).sent
    protocol = capfd.readouterr().err
    assert "rcpt TO" in protocol
    assert "AUTH PLAIN" not in protocol and "AGtpdmkA" not in protocol


def test_addresses_outside_ascii(mailbox: Mailbox) -> None:
    mail = Mail("büro@firma.example", "einkauf@künde.example", "x", "y")
    with smtp_server(mailbox, utf8=True) as port:
        assert _send(_to(port), mail).sent
    assert mailbox.envelopes[0].rcpt_tos == ["einkauf@xn--knde-0ra.example"]
    assert mailbox.envelopes[0].mail_from == "büro@firma.example"
    with smtp_server(mailbox, utf8=False) as port:
        outcome = _send(_to(port), mail)
    assert "SMTPUTF8" in outcome.answer and not outcome.retry


def test_server_down() -> None:
    outcome = _send(_to(free_port()))
    assert not outcome.sent and outcome.retry == ("einkauf@kunde.example",)
    assert "Connection refused" in outcome.answer and "127.0.0.1" in outcome.answer


OK = b"250 ok\r\n"


@pytest.mark.parametrize(
    "answers",
    [(None,), (OK, None), (OK, OK, None), (OK, OK, OK, None)],
    ids=["after connecting", "after EHLO", "after MAIL", "after RCPT"],
)
def test_server_closes_before_it_has_the_mail(answers: tuple[bytes | None, ...]) -> None:
    with scripted_server(*answers) as port:
        outcome = _send(_to(port))
    assert not outcome.sent and not outcome.uncertain
    assert outcome.retry == ("einkauf@kunde.example",)
    assert "closed the connection" in outcome.answer


def test_server_closes_after_it_has_the_mail() -> None:
    with scripted_server(OK, OK, OK, b"354 go\r\n", None) as port:
        outcome = _send(_to(port))
    assert not outcome.sent and outcome.uncertain
    assert outcome.retry == (), "sending again could deliver it twice"
    assert "no answer after the whole mail was sent" in outcome.answer


@pytest.mark.parametrize(
    ("answers", "uncertain"),
    [((), False), ((OK, OK, OK, b"354 go\r\n"), True)],
    ids=["after the greeting", "after the mail"],
)
def test_server_falls_silent(answers: tuple[bytes, ...], uncertain: bool) -> None:
    with scripted_server(*answers) as port:
        outcome = _send(_to(port), timeout=0.3)
    assert not outcome.sent and outcome.uncertain is uncertain
    assert ("in time" in outcome.answer) or uncertain


@pytest.mark.parametrize("greeting", [b"554 go away\r\n", b"HTTP/1.1 400\r\n\r\n", b"\xff\xfe\r\n"])
def test_greetings_that_are_none(greeting: bytes) -> None:
    with scripted_server(greeting=greeting) as port:
        outcome = _send(_to(port), timeout=2)
    assert not outcome.sent and outcome.retry


def test_sender_refused(mailbox: Mailbox) -> None:
    with scripted_server(OK, b"550 not you\r\n", OK, OK) as port:
        outcome = _send(_to(port))
    assert "sender rechnung@firma.example: 550 not you" in outcome.answer and not outcome.retry


# --- sendmail ---


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "sendmail"


def _script(path: Path, text: str) -> MailDelivery:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return MailDelivery(
        method="sendmail",
        sendmail=f"{path} -t<%if myconfig_email%> -f <%myconfig_email%><%end%>",
    )


def test_sendmail_gets_the_mail_and_the_sender(program: Path) -> None:
    here = program.parent
    settings = _script(program, f'printf "%s\\n" "$@" > {here}/arguments; cat > {here}/mail')
    mail = Mail(MAIL.sender, MAIL.to, MAIL.subject, MAIL.body, bcc="ablage@firma.example")
    outcome = _send(settings, mail)
    assert outcome.sent
    assert outcome.accepted == ("einkauf@kunde.example", "ablage@firma.example")
    assert (here / "arguments").read_text().split() == ["-t", "-f", "rechnung@firma.example"]
    data = (here / "mail").read_bytes()
    assert b"\r\nBcc: ablage@firma.example\r\n" in data
    assert b"\r\n.\r\n" not in data, "a program without -i would stop there"


def test_sendmail_inserts_no_foreign_words(program: Path) -> None:
    here = program.parent
    settings = _script(program, f'printf "%s\\n" "$@" > {here}/arguments; cat > /dev/null')
    for sender in ("o'brien@b.example", "a$IFS|x@b.example", "`id`@b.example", "-Xlog@b.example"):
        assert _send(settings, Mail(sender, "c@d.example", "x", "y")).sent
        words = (here / "arguments").read_text().split()
        expected = ["-t", "-f", sender] if sender.startswith("-X") else ["-t"]
        assert words == expected


@pytest.mark.parametrize(("code", "again"), [(75, True), (67, False), (1, True), (64, True)])
def test_sendmail_fails(program: Path, code: int, again: bool) -> None:
    settings = _script(program, f'cat > /dev/null; echo "unzustellbar heute" >&2; exit {code}')
    outcome = _send(settings)
    assert not outcome.sent and bool(outcome.retry) is again
    assert f"exit code {code}: unzustellbar heute" in outcome.answer


@pytest.mark.parametrize("code", [0, 75])
def test_sendmail_dies_before_reading(program: Path, code: int) -> None:
    """The original was killed by SIGPIPE here (g.4)."""
    before = signal.getsignal(signal.SIGPIPE)
    large = Mail(MAIL.sender, MAIL.to, "x", "y" * 1_000_000)
    outcome = _send(_script(program, f"exec <&-; exit {code}"), large)
    assert not outcome.sent and outcome.retry
    expected = "without reading the whole mail" if code == 0 else "exit code 75"
    assert expected in outcome.answer
    assert signal.getsignal(signal.SIGPIPE) == before


def test_sendmail_is_killed(program: Path) -> None:
    outcome = _send(_script(program, "kill -9 $$"))
    assert "SIGKILL" in outcome.answer and outcome.retry


def test_sendmail_that_never_ends_is_stopped(program: Path) -> None:
    pid_file = program.parent / "pid"
    outcome = _send(_script(program, f"echo $$ > {pid_file}; exec sleep 1000"), timeout=1)
    assert not outcome.sent and outcome.uncertain
    assert "did not end within 1 s" in outcome.answer
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_sendmail_missing_or_not_executable(program: Path) -> None:
    settings = _script(program, "exit 0")
    program.chmod(0o644)
    assert "Permission denied" in _send(settings).answer
    program.unlink()
    outcome = _send(settings)
    assert "No such file" in outcome.answer and outcome.retry


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("/bin/cat | /bin/true", "there is no shell"),
        ("/bin/cat > /tmp/x", "there is no shell"),
        ("/bin/cat 'open", "No closing quotation"),
        ("", "empty"),
        ("/bin/cat <%login%>", "only myconfig_email"),
    ],
)
def test_sendmail_commands_that_cannot_be(command: str, part: str) -> None:
    outcome = _send(MailDelivery(method="sendmail", sendmail=command))
    assert part in outcome.answer and "[mail_delivery] sendmail" in outcome.answer


def test_sendmail_words_may_be_quoted() -> None:
    command = "'/opt/my mail/send' -f \"<%myconfig_email%>\" -o 'a|b' # no comment"
    assert expand_command(command, "a@b.example") == [
        "/opt/my mail/send", "-f", "a@b.example", "-o", "a|b", "#", "no", "comment",
    ]  # fmt: skip


def test_no_method_is_no_success() -> None:
    """The original reports success here (i, 36)."""
    outcome = _send(MailDelivery(method=""))
    assert not outcome.sent and "method is empty" in outcome.answer


def test_the_users_own_section_replaces_the_general_one() -> None:
    own = MailDelivery(host="own.example")
    settings = Settings(
        DatabaseAccess("h", 1, "d", "u"),
        Path("kivitendo.conf"),
        mail=MailDelivery(login="general"),
        mail_by_address={"chef@firma.example": own},
    )
    assert delivery_settings(settings, "chef@firma.example") is own
    assert delivery_settings(settings, "other@firma.example").login == "general"


# --- addresses ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@b.de", ["a@b.de"]),
        (" a@b.de ,, c@d.de ", ["a@b.de", "c@d.de"]),
        ("a@b.de c@d.de", ["a@b.de", "c@d.de"]),
        ("a@b.de; c@d.de", ["a@b.de", "c@d.de"]),
        ("kivitendo Daemon <root@localhost>", ["root@localhost"]),
        ('"Müller, Hans" <h@m.de>, X <x@y.de>', ["h@m.de", "x@y.de"]),
        ("<a@b.de>", ["a@b.de"]),
    ],
)
def test_address_lists(text: str, expected: list[str]) -> None:
    mail = Mail("a@b.de", text, "x", "y")
    assert mail.recipients() == expected
    assert [a.addr_spec for a in compose(mail, NOW)["To"].addresses] == expected


@pytest.mark.parametrize(
    "text",
    ["kaputt", "", "  ", "a@", "@b.de", "a@b.de siehe Liste", "Müller, Hans <h@m.de>", "a b@"],
)
def test_faulty_address_lists(text: str) -> None:
    with pytest.raises(AddressError):
        compose(Mail("a@b.de", text, "x", "y"), NOW)
    with pytest.raises(AddressError):
        compose(Mail(text, "a@b.de", "x", "y"), NOW)


def test_display_names_are_quoted_where_needed() -> None:
    message = compose(Mail('"Müller, Hans" <h@m.de>', '"A, B \\"C\\"" <x@y.de>', "x", "y"), NOW)
    assert message["From"].addresses[0].display_name == "Müller, Hans"
    assert '"A, B \\"C\\"" <x@y.de>' in header_lines(message)
