"""The command ``deliveries`` on a real tenant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from company import CUSTOMER, Company
from mail_peer import Mailbox, free_port, smtp_server

from kivitendo_task_server.cli.main import main


@pytest.fixture
def waiting(company: Company, monkeypatch: pytest.MonkeyPatch) -> Company:
    """One mail that could not be sent, as the mail server is down; its port is configured."""
    port = free_port()
    company.mail_to_port(port)
    company.add_order(1)
    company.run()
    kivitendo = company.kivitendo
    with kivitendo.settings.config_file.open("a") as file:
        file.write(f"[mail_delivery]\nmethod = smtp\nhost = 127.0.0.1\nport = {port}\n")
    for name, value in kivitendo.settings.environment.items():
        monkeypatch.setenv(name, value)
    return company


def command(company: Company, *arguments: str) -> int:
    kivitendo = company.kivitendo
    return main(
        ["deliveries", "--kivitendo-dir", str(kivitendo.directory),
         "-c", str(kivitendo.settings.config_file), *arguments]
    )  # fmt: skip


def listed(company: Company, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert command(company, "--json") == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_what_waits_is_shown(waiting: Company, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(waiting) == 0
    out = capsys.readouterr().out
    assert "Tenant Musterfirma (id 7): 1 delivery is open" in out
    assert f"mail of invoice 1 to {CUSTOMER} since " in out
    assert "Connection refused" in out


def test_for_other_programs(waiting: Company, capsys: pytest.CaptureFixture[str]) -> None:
    [one] = listed(waiting, capsys)
    assert "Connection refused" in one.pop("reason")
    assert one.pop("since").startswith("20")
    assert one.pop("id") > 0
    assert one == {
        "tenant": "Musterfirma", "tenant_id": 7, "invoice": "1", "kind": "email",
        "recipient": CUSTOMER, "state": "pending", "attempts": 1,
    }  # fmt: skip


def test_retry_delivers_with_kivitendos_template(
    waiting: Company, capsys: pytest.CaptureFixture[str]
) -> None:
    mailbox = Mailbox()
    with smtp_server(mailbox, port=waiting.settings.mail.port):
        assert command(waiting, "--retry") == 0
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [[CUSTOMER]]
    captured = capsys.readouterr()
    assert "everything is delivered" in captured.out
    assert "1 invoices mailed:\n1" in captured.err
    assert listed(waiting, capsys) == []


def test_retry_that_fails_again(waiting: Company, capsys: pytest.CaptureFixture[str]) -> None:
    [one] = listed(waiting, capsys)
    assert command(waiting, "--retry", str(one["id"])) == 1
    captured = capsys.readouterr()
    assert "1 not mailed:\n1: " in captured.err
    assert "1 delivery is open" in captured.out


def test_an_unknown_number(waiting: Company, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(waiting, "--retry", "999999") == 1
    assert "no delivery to repeat: 999999" in capsys.readouterr().err


def test_a_database_without_our_tables(
    waiting: Company, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting.execute("DROP SCHEMA kivitendo_task_server CASCADE")
    assert listed(waiting, capsys) == []


def test_an_unknown_tenant(waiting: Company, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(waiting, "--tenant", "Nobody") == 2
    assert "no such tenant: Nobody" in capsys.readouterr().err
