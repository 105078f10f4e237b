"""The real service killed between an invoice's commit and its mail, and started again."""

from __future__ import annotations

from datetime import date

import pytest
from company import CUSTOMER, Company
from kivitendo_fixture import KivitendoDir, until
from mail_peer import Mailbox, smtp_server
from processes import users_of
from real_service import real_service


def test_kill_9_between_commit_and_mail(
    company: Company, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    kivitendo = company.kivitendo
    installation = KivitendoDir(kivitendo.directory, kivitendo.settings.auth_database)
    for name, value in kivitendo.settings.environment.items():
        monkeypatch.setenv(name, value)
    company.add_order(1, start_date=str(date.today()))
    company.insert(
        "background_jobs",
        type="interval", package_name="CreatePeriodicInvoices", active=True,
        cron_spec="0 3 * * *", next_run_at="2020-01-01",
    )  # fmt: skip
    hold = kivitendo.directory / "hold"  # kivitendo's Perl waits while it is there
    with smtp_server(mailbox) as port:
        with kivitendo.settings.config_file.open("a") as file:
            file.write(f"[mail_delivery]\nmethod = smtp\nhost = 127.0.0.1\nport = {port}\n")
        hold.touch()
        with real_service(installation) as service:
            until((kivitendo.directory / "holding").exists)
            assert company.rows("SELECT count(*) FROM ar") == [(1,)]
            service.kill()
        # the worker and the Perl process it had started have gone by themselves
        until(lambda: not users_of(kivitendo.directory))
        assert mailbox.envelopes == []
        hold.unlink()
        with real_service(installation) as service:
            until(lambda: company.rows("SELECT count(*) FROM background_job_histories") == [(2,)])
            assert service.stop() == 0
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [[CUSTOMER]]
    assert company.deliveries() == [("1", CUSTOMER, "sent", 1)]
    assert company.rows("SELECT count(*) FROM ar") == [(1,)]
    assert company.rows("SELECT status FROM background_job_histories ORDER BY id") == [
        ("failure",),  # the interrupted run
        ("success",),
    ]
