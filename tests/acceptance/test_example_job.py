"""docs/example-job: really installed with pip, found by the service, and run by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from job_rows import add_job, execute
from kivitendo_fixture import CHECKOUT, KivitendoDir
from mail_peer import Mailbox, smtp_server

from kivitendo_task_server.config.settings import DatabaseAccess


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the example."""
    source = tmp_path_factory.mktemp("source") / "example-job"
    shutil.copytree(CHECKOUT / "docs" / "example-job", source)
    target = tmp_path_factory.mktemp("target")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", str(target), str(source)],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    return target


@pytest.fixture
def company(
    kivitendo_dir: KivitendoDir, tenant_access: DatabaseAccess, installed: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> KivitendoDir:  # fmt: skip
    """An installation with the add-on, one old open order and a new one."""
    monkeypatch.setenv("PYTHONPATH", str(installed))
    kivitendo_dir.add_tenant("Eins", tenant_access)
    execute(
        tenant_access,
        """INSERT INTO currencies (id, name) VALUES (1, 'EUR');
           INSERT INTO tax_zones (id, description, sortkey) VALUES (1, 'Inland', 1);
           INSERT INTO oe (ordnumber, transdate, taxzone_id, currency_id, record_type) VALUES
               ('AB-1', '2019-05-05', 1, 1, 'sales_order'),
               ('AB-2', current_date, 1, 1, 'sales_order')""",
    )
    return kivitendo_dir


def _closed(access: DatabaseAccess) -> list[str]:
    return [row[0] for row in execute(access, "SELECT ordnumber FROM oe WHERE closed")]


def _history(access: DatabaseAccess) -> list[tuple[object, ...]]:
    return execute(access, "SELECT status, result, error FROM background_job_histories ORDER BY id")


def test_the_add_on_is_known_and_checked(
    company: KivitendoDir, tenant_access: DatabaseAccess, tmp_path: Path
) -> None:
    lines = company.run("jobs", "--runners").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("CloseForgottenOrders ")]
    assert line.split(maxsplit=2)[1:] == [
        "add-on",
        "entry point kivitendo_example_job:CloseForgottenOrders"
        " of the package kivitendo-example-job",
    ]
    data = tmp_path / "data"
    data.write_text("months: 0\n")
    done = company.run("jobs", "create", "CloseForgottenOrders", "--data", str(data))
    assert done.returncode == 2
    assert "months must be a whole number from 1 to 1200, not '0'" in done.stderr
    done = company.run("jobs", "create", "CloseForgottenOrders")
    assert (done.returncode, done.stderr) == (0, "")
    assert execute(tenant_access, "SELECT cron_spec FROM background_jobs") == [("0 4 1 * *",)]


def test_it_runs_and_mails_after_the_commit(
    company: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    job = add_job(tenant_access, "CloseForgottenOrders", data="report_to: chef@x.de\n")
    mailbox = Mailbox()
    with smtp_server(mailbox) as port:
        company.configure("mail_delivery", host="127.0.0.1", port=str(port))
        done = company.run("-f", f"--run-job={job}", "start")
    assert done.returncode == 0, done.stderr
    assert _history(tenant_access) == [("success", "closed: AB-1", None)]
    assert _closed(tenant_access) == ["AB-1"]
    (message,) = mailbox.messages
    assert (message["To"], message.get_content().strip()) == ("chef@x.de", "AB-1")
    assert execute(tenant_access, "SELECT recipients, status FROM email_journal") == [
        ("chef@x.de", "sent")
    ]


def test_the_mail_fails_after_the_commit(
    company: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    job = add_job(tenant_access, "CloseForgottenOrders", data="report_to: refuse@x.de\n")
    with smtp_server(Mailbox()) as port:
        company.configure("mail_delivery", host="127.0.0.1", port=str(port))
        done = company.run("-f", f"--run-job={job}", "start")
    assert _history(tenant_access) == [("success", "closed: AB-1", None)]
    assert "the report cannot be sent: refuse@x.de: 550" in done.stderr
    assert execute(tenant_access, "SELECT status FROM email_journal") == [("send_failed",)]


def test_without_the_package_the_job_fails_clearly(
    company: KivitendoDir, tenant_access: DatabaseAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.devnull)
    job = add_job(tenant_access, "CloseForgottenOrders")
    company.run("-f", f"--run-job={job}", "start")
    ((status, _, error),) = _history(tenant_access)
    assert status == "failure"
    assert "Can't locate SL/BackgroundJob/CloseForgottenOrders.pm" in str(error)
    assert _closed(tenant_access) == []
