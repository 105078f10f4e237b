"""The standard jobs of a tenant, created by the command and run by the service's own workers."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from job_rows import add_job, execute, settings_of
from jobs_bench import BASIC_ROWS, MORE_TABLES
from kivitendo_fixture import KivitendoDir

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.jobs.registry import NATIVE
from kivitendo_task_server.scheduling.once import run_until_idle

NOW = datetime(2026, 11, 22, 15, 22, 10, tzinfo=ZoneInfo("Europe/Berlin"))


def test_all_native_jobs_run(kivitendo_dir: KivitendoDir, tenant_access: DatabaseAccess) -> None:
    execute(tenant_access, MORE_TABLES.read_text())
    execute(tenant_access, BASIC_ROWS)
    execute(tenant_access, "INSERT INTO schema_info (tag) VALUES ('release_4_1_0')")
    execute(tenant_access, "INSERT INTO validity_tokens VALUES (1, 'a', 'b', '2026-01-01')")
    kivitendo_dir.add_tenant("Eins", tenant_access, login="demo")
    execute(
        kivitendo_dir.auth,
        """INSERT INTO auth.user_config (user_id, cfg_key, cfg_value)
           SELECT id, 'name', 'Neuer Name' FROM auth."user" WHERE login = 'demo'""",
    )
    data = {
        "FailedBackgroundJobsReport": "recipients:\n  - a@x.de\nfrom: a@x.de\nsubject: x\n",
        "InventoryClearAll": "correction_date: 2026-11-22\n",
        "UpdateExchangerates": "module: SimpleTest\noptions:\n  a: 1\n",
    }
    for name in NATIVE:
        add_job(tenant_access, name, data=data.get(name))
    execute(tenant_access, "INSERT INTO transfer_type (direction, description) VALUES"
            " ('in', 'correction'), ('out', 'correction')")  # fmt: skip

    summary = run_until_idle(
        settings_of(kivitendo_dir), FixedClock(NOW), kivitendo_dir=kivitendo_dir.path
    )

    failures = execute(
        tenant_access,
        "SELECT package_name, error FROM background_job_histories WHERE status <> 'success'",
    )
    assert failures == []
    assert summary.succeeded == len(NATIVE)
    # what they did is committed
    assert execute(tenant_access, "SELECT count(*) FROM validity_tokens") == [(0,)]
    assert execute(tenant_access, "SELECT name FROM employee WHERE login = 'demo'") == [
        ("Neuer Name",)
    ]
    assert execute(tenant_access, "SELECT closedto::text FROM defaults") == [("2026-10-12",)]


def test_a_failed_job_leaves_nothing_behind(
    kivitendo_dir: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    execute(tenant_access, MORE_TABLES.read_text())
    execute(tenant_access, BASIC_ROWS)
    kivitendo_dir.add_tenant("Eins", tenant_access, login="demo")
    execute(
        tenant_access,
        """INSERT INTO vendor (name, taxzone_id, currency_id, country_id) VALUES ('L', 1, 1, 1);
           INSERT INTO customer (id, name, taxzone_id, currency_id, country_id)
               VALUES (1, 'K', 1, 1, 1);
           INSERT INTO ar (id, invnumber, customer_id, transdate, amount, paid, taxzone_id,
                           currency_id) VALUES (1, 'R', 1, '2026-11-20', 5, 5, 1, 1);
           INSERT INTO bank_transactions (id, amount, remote_account_number) VALUES (1, 5, 'DE1');
           INSERT INTO bank_transaction_acc_trans (bank_transaction_id, acc_trans_id, ar_id)
               VALUES (1, 1, 1);
           -- customers come first, then vendors: the second half fails
           ALTER TABLE ap RENAME TO gone""",
    )
    add_job(tenant_access, "SetBankAccountsMasterData")
    run_until_idle(settings_of(kivitendo_dir), FixedClock(NOW), kivitendo_dir=kivitendo_dir.path)
    ((status, error),) = execute(
        tenant_access, "SELECT status, error FROM background_job_histories"
    )
    assert (status, 'relation "ap" does not exist' in error) == ("failure", True)
    assert execute(tenant_access, "SELECT iban FROM customer") == [(None,)]
