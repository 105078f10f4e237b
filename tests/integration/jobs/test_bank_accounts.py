"""SetBankAccountsMasterData: the scenario of jobs.md, 1.11."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from jobs_bench import Bench

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.set_bank_accounts_master_data import SetBankAccountsMasterData


@pytest.fixture
def partners(bench: Bench) -> Bench:
    """Customers K1 to K6 with invoices R1 to R7, vendor L1 with E1."""
    common = {"taxzone_id": 1, "currency_id": 1, "country_id": 1}
    ibans: dict[int, Any] = {2: "DEALT", 3: ""}
    bench.insert(
        "customer",
        [
            {"id": i, "name": f"K{i}", "iban": ibans.get(i),
             "mandate_date_of_signature": bench.now.date() if i == 3 else None, **common}
            for i in range(1, 7)
        ],
    )  # fmt: skip
    bench.insert("vendor", [{"id": 11, "name": "L1", **common}])
    # record, partner, age in days, paid
    invoices = [
        (1, 1, 10, 100), (2, 2, 10, 100), (3, 3, 10, 100), (4, 4, 400, 100), (5, 5, 10, 50),
        (6, 6, 10, 100), (7, 6, 900, 100),
    ]  # fmt: skip
    for record, customer, age, paid in invoices:
        day = bench.now.date() - timedelta(days=age)
        bench.insert(
            "ar",
            [{"id": record, "invnumber": f"R{record}", "customer_id": customer, "transdate": day,
              "amount": 100, "paid": paid, "taxzone_id": 1, "currency_id": 1}],
        )  # fmt: skip
        bench.insert(
            "bank_transactions",
            [{"id": record, "amount": 100, "remote_account_number": f"DE{record}",
              "remote_bank_code": f"BIC{record}"}],
        )  # fmt: skip
        bench.insert(
            "bank_transaction_acc_trans",
            [{"bank_transaction_id": record, "acc_trans_id": record, "ar_id": record}],
        )
    bench.insert(
        "bank_transactions",
        [
            {"id": 20, "amount": 1, "remote_account_number": None},
            {"id": 21, "amount": 1, "remote_account_number": "DE1", "remote_bank_code": "BIC1"},
            {"id": 22, "amount": 5, "remote_account_number": "DEV", "remote_bank_code": "BICV"},
        ],
    )
    bench.insert("ap", [{"id": 1, "invnumber": "E1", "vendor_id": 11, "amount": 5, "paid": 5,
                         "transdate": bench.now.date()}])  # fmt: skip
    bench.insert(
        "bank_transaction_acc_trans",
        [
            {"bank_transaction_id": 20, "acc_trans_id": 90, "ar_id": 1},
            {"bank_transaction_id": 21, "acc_trans_id": 91, "ar_id": 1},
            {"bank_transaction_id": 22, "acc_trans_id": 92, "ap_id": 1},
        ],
    )
    return bench


def _accounts(bench: Bench) -> dict[str, Any]:
    rows = bench.rows(
        "SELECT name, iban, bic FROM customer UNION ALL SELECT name, iban, bic FROM vendor"
    )
    return {name: (iban, bic) for name, iban, bic in rows if (iban, bic) != (None, None)}


BEFORE = {"K2": ("DEALT", None), "K3": ("", None)}


def test_dry_run(partners: Bench) -> None:
    assert partners.run(SetBankAccountsMasterData, "dry_run: 1").text == (
        "DRY RUN Updates: Customer: K1 -> DE1,K6 -> DE6,K6 -> DE7\n Vendors: L1 -> DEV"
    )
    assert _accounts(partners) == BEFORE


@pytest.mark.parametrize("data", [None, "months: 0\ndry_run: 0"])
def test_by_default(partners: Bench, data: str | None) -> None:
    assert partners.run(SetBankAccountsMasterData, data).text == (
        "Updates: Customer: K1 -> DE1,K6 -> DE6\n Vendors: L1 -> DEV"
    )
    assert _accounts(partners) == {
        **BEFORE,
        "K1": ("DE1", "BIC1"),
        "K6": ("DE6", "BIC6"),
        "L1": ("DEV", "BICV"),
    }


def test_overwrite(partners: Bench) -> None:
    partners.run(SetBankAccountsMasterData, "overwrite: 1\nmonths: 24")
    assert _accounts(partners) == {
        "K1": ("DE1", "BIC1"),
        "K2": ("DE2", "BIC2"),
        "K3": ("", None),
        "K4": ("DE4", "BIC4"),
        "K6": ("DE7", "BIC7"),
        "L1": ("DEV", "BICV"),
    }


@pytest.mark.parametrize(
    "data", ["months: x", "months: -1", "months: 1.5", "overwrite: 2", "dry_run: vielleicht"]
)
def test_refuses(partners: Bench, data: str) -> None:
    with pytest.raises(JobFailed, match="the job's options are wrong"):
        partners.run(SetBankAccountsMasterData, data)
    assert _accounts(partners) == BEFORE


def test_leading_zero_and_yes_are_understood(partners: Bench) -> None:
    # the original refuses both
    text = partners.run(SetBankAccountsMasterData, "months: 06\ndry_run: yes").text
    assert text is not None and text.startswith("DRY RUN Updates: Customer: K1 -> DE1,")
