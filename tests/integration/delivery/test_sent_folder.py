"""Copies of sent mails in an IMAP folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes

import pytest
from company import CUSTOMER, SENDER, Company
from imap_peer import Mailboxes, imap_server
from mail_peer import Mailbox, free_port


@pytest.fixture
def mailboxes() -> Mailboxes:
    return Mailboxes()


@pytest.fixture
def imap(served: Company, mailboxes: Mailboxes) -> Iterator[dict[str, str]]:
    """The keys of the section."""
    with imap_server(mailboxes) as port:
        yield {
            "enabled": "1", "hostname": "127.0.0.1", "port": str(port), "ssl": "0",
            "username": "kivi", "password": "geheim",
        }  # fmt: skip


def run(company: Company, **sections: dict[str, str]) -> None:
    company.settings = replace(company.settings, sections=sections)
    assert not company.run().failed
    assert company.deliveries() == [("1", CUSTOMER, "sent", 1)]


def test_the_copy_is_the_mail(
    served: Company, mailbox: Mailbox, mailboxes: Mailboxes, imap: dict[str, str]
) -> None:
    run(served, sent_emails_in_imap=imap)
    [copy] = mailboxes.folders["Sent/Kivitendo"]
    assert message_from_bytes(copy)["Message-ID"] == mailbox.messages[0]["Message-ID"]


def test_folder_names(served: Company, mailboxes: Mailboxes, imap: dict[str, str]) -> None:
    mailboxes.delimiter = "."
    run(served, sent_emails_in_imap=imap | {"folder": 'Gesendet/Büro & "Co"'})
    assert list(mailboxes.folders) == ['Gesendet.B&APw-ro &- \\"Co\\"']


def test_the_senders_own_section(
    served: Company, mailboxes: Mailboxes, imap: dict[str, str]
) -> None:
    own = {f"sent_emails_in_imap/email/{SENDER}": imap | {"folder": "Eigene"}}
    run(served, sent_emails_in_imap=imap, **own)
    assert list(mailboxes.folders) == ["Eigene"]


@pytest.mark.parametrize("change", [{"enabled": "0"}, {"enabled": ""}])
def test_switched_off(
    served: Company, mailboxes: Mailboxes, imap: dict[str, str], change: dict[str, str]
) -> None:
    run(served, sent_emails_in_imap=imap | change)
    assert mailboxes.folders == {}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"password": "falsch"}, "wrong password"),
        ({"port": str(free_port())}, "Connection refused"),
        ({"port": "x"}, "invalid literal"),
        ({"ssl": "1"}, "no copy in the folder"),
    ],
)
def test_a_copy_that_fails_is_told_and_the_mail_counts(
    served: Company,
    imap: dict[str, str],
    change: dict[str, str],
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    run(served, sent_emails_in_imap=imap | change)
    assert any(text in message for message in caplog.messages)
    assert not any("falsch" in message for message in caplog.messages)
