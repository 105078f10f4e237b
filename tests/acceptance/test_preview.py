"""``preview``: the same invoices that a run then posts, and nothing written before it."""

from __future__ import annotations

import json
from datetime import date

from database_fixture import NewDatabase
from kivitendo_fixture import KivitendoDir
from replay import GOLDEN, Database

from kivitendo_task_server.config.settings import DatabaseAccess

THIS_MONTH = date.today().replace(day=1)


def bill_monthly(access: DatabaseAccess, *, broken: bool = False) -> Database:
    """Golden master data, and one order billed monthly since the first of this month."""
    database = Database(access)
    database.clear()
    base = json.loads((GOLDEN / "base.json").read_text("utf-8"))
    order = {
        "id": 100001, "record_type": "sales_order", "ordnumber": "AB-1", "customer_id": 1001,
        "taxzone_id": 401, "currency_id": 1, "taxincluded": False,
    }  # fmt: skip
    item = {
        "id": 200001, "trans_id": 100001, "parts_id": 2003, "position": 1, "qty": "2",
        "unit": None if broken else "Stk", "sellprice": "50", "base_qty": "2",
        "description": "Lizenz",
    }  # fmt: skip
    config = {
        "id": 300001, "oe_id": 100001, "periodicity": "m", "order_value_periodicity": "p",
        "active": True, "start_date": str(THIS_MONTH), "ar_chart_id": 101,
    }  # fmt: skip
    tables = {"oe": [order], "orderitems": [item], "periodic_invoices_configs": [config]}
    database.load(base, {"input": tables})
    return database


def test_preview_shows_and_writes_nothing(
    kivitendo_dir: KivitendoDir, new_database: NewDatabase
) -> None:
    access = new_database("tenant")
    database = bill_monthly(access)
    kivitendo_dir.add_tenant("Muster GmbH", access)
    before = database.snapshot()
    done = kivitendo_dir.run("preview")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Tenant Muster GmbH (id 1): 1 invoice until" in done.stdout
    assert "AB-1" in done.stdout
    assert "100.00  119.00" in done.stdout
    assert database.snapshot() == before


def test_until_follows_the_periods_to_come(
    kivitendo_dir: KivitendoDir, new_database: NewDatabase
) -> None:
    access = new_database("tenant")
    bill_monthly(access)
    kivitendo_dir.add_tenant("Muster GmbH", access)
    months = THIS_MONTH.year * 12 + THIS_MONTH.month - 1 + 3
    until = date(months // 12, months % 12 + 1, 1)
    done = kivitendo_dir.run("preview", "--json", "--until", str(until))
    (tenant,) = json.loads(done.stdout)
    assert len(tenant["invoices"]) == 4
    assert tenant["invoices"][-1]["period"] == str(until)
    assert tenant["invoices"][-1]["run_date"] == str(until)


def test_what_would_fail_is_said(kivitendo_dir: KivitendoDir, new_database: NewDatabase) -> None:
    access = new_database("tenant")
    bill_monthly(access, broken=True)
    kivitendo_dir.add_tenant("Muster GmbH", access)
    done = kivitendo_dir.run("preview")
    assert done.returncode == 1
    assert "would fail: order AB-1" in done.stdout
    assert "an item has no unit" in done.stdout


def test_periods_that_would_be_lost_are_told(
    kivitendo_dir: KivitendoDir, new_database: NewDatabase
) -> None:
    access = new_database("tenant")
    database = bill_monthly(access)
    with database.cx.cursor() as cursor:
        cursor.execute("UPDATE periodic_invoices_configs SET end_date = %s", [THIS_MONTH])
    kivitendo_dir.add_tenant("Muster GmbH", access)
    told = f"order AB-1: ended {THIS_MONTH}; never billed: {THIS_MONTH}"
    done = kivitendo_dir.run("preview")
    assert done.returncode == 0
    assert "0 invoices until" in done.stdout and f"  warning: {told}\n" in done.stdout
    (tenant,) = json.loads(kivitendo_dir.run("preview", "--json").stdout)
    assert (tenant["invoices"], tenant["warnings"]) == ([], [told])


def test_one_tenant_of_several(kivitendo_dir: KivitendoDir, new_database: NewDatabase) -> None:
    for name in ("Muster GmbH", "Beispiel KG"):
        access = new_database("tenant")
        bill_monthly(access)
        kivitendo_dir.add_tenant(name, access)
    done = kivitendo_dir.run("preview", "--tenant", "Beispiel KG", "--json")
    assert [tenant["tenant"] for tenant in json.loads(done.stdout)] == ["Beispiel KG"]
    unknown = kivitendo_dir.run("preview", "--tenant", "Niemand")
    assert unknown.returncode == 2
    assert "no such tenant: Niemand (choices: Muster GmbH (id 1), Beispiel KG (id 2))" in (
        unknown.stderr
    )
    past = kivitendo_dir.run("preview", "--until", "2020-01-01")
    assert (past.returncode, "lies in the past" in past.stderr) == (2, True)
    far = kivitendo_dir.run("preview", "--until", "9999-12-31")
    assert (far.returncode, "name a day within 10 years" in far.stderr) == (2, True)
