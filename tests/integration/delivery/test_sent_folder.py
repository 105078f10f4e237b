"""Copies of sent mails in an IMAP folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from typing import Any

import pytest
from company import CUSTOMER, SENDER, Company
from imap_peer import Mailboxes, imap_server
from mail_peer import Mailbox, free_port

from kivitendo_task_server.config.settings import SentFolder


@pytest.fixture
def mailboxes() -> Mailboxes:
    return Mailboxes()


@pytest.fixture
def imap(served: Company, mailboxes: Mailboxes) -> Iterator[SentFolder]:
    with imap_server(mailboxes) as port:
        yield SentFolder(
            enabled=True,
            hostname="127.0.0.1",
            port=port,
            ssl=False,
            username="kivi",
            password="geheim",
        )


def run(company: Company, folder: SentFolder, **by_address: SentFolder) -> None:
    company.settings = replace(
        company.settings, sent_folder=folder, sent_folder_by_address=by_address
    )
    assert not company.run().failed
    assert company.deliveries() == [("1", CUSTOMER, "sent", 1)]


def test_the_copy_is_the_mail(
    served: Company, mailbox: Mailbox, mailboxes: Mailboxes, imap: SentFolder
) -> None:
    run(served, imap)
    [copy] = mailboxes.folders["Sent/Kivitendo"]
    assert message_from_bytes(copy)["Message-ID"] == mailbox.messages[0]["Message-ID"]


def test_folder_names(served: Company, mailboxes: Mailboxes, imap: SentFolder) -> None:
    mailboxes.delimiter = "."
    run(served, replace(imap, folder='Gesendet/Büro & "Co"'))
    assert list(mailboxes.folders) == ['Gesendet.B&APw-ro &- \\"Co\\"']


def test_the_senders_own_section(served: Company, mailboxes: Mailboxes, imap: SentFolder) -> None:
    run(served, imap, **{SENDER: replace(imap, folder="Eigene")})
    assert list(mailboxes.folders) == ["Eigene"]


def test_switched_off(served: Company, mailboxes: Mailboxes, imap: SentFolder) -> None:
    run(served, replace(imap, enabled=False))
    assert mailboxes.folders == {}


def test_switched_off_for_one_sender(
    served: Company, mailboxes: Mailboxes, imap: SentFolder
) -> None:
    run(served, imap, **{SENDER: SentFolder()})
    assert mailboxes.folders == {}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"password": "falsch"}, "wrong password"),
        ({"port": free_port()}, "Connection refused"),
        ({"ssl": True}, "no copy in the folder"),
    ],
)
def test_a_copy_that_fails_is_told_and_the_mail_counts(
    served: Company,
    imap: SentFolder,
    change: dict[str, Any],
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    run(served, replace(imap, **change))
    assert any(text in message for message in caplog.messages)
    assert not any("falsch" in message for message in caplog.messages)
