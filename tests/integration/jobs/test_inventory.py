"""InventoryClearAll: the scenarios of jobs.md, 1.16."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from jobs_bench import Bench

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.inventory_clear_all import InventoryClearAll

TODAY = "correction_date: 2026-11-22\n"


@pytest.fixture
def stock(bench: Bench) -> Bench:
    """Three parts in two warehouses."""
    bench.insert("warehouse", [{"id": 1, "description": "W1"}, {"id": 2, "description": "W2"}])
    bench.insert("bin", [{"id": 911, "warehouse_id": 1}, {"id": 912, "warehouse_id": 2}])
    bench.insert(
        "transfer_type",
        [
            {"id": 1, "direction": "in", "description": "correction"},
            {"id": 2, "direction": "out", "description": "correction"},
            {"id": 3, "direction": "in", "description": "stock"},
        ],
    )
    for part in (8301, 8302, 8304):
        bench.insert(
            "parts",
            [{"id": part, "partnumber": str(part), "unit": "Stck", "part_type": "part"}],
        )
    movements = [
        (8301, 911, 1, 5, "", None), (8301, 911, 1, 1, "CH1", "2027-01-01"),
        (8301, 911, 1, 1, "CH1", "2027-02-01"), (8301, 912, 2, 3, "", None),
        (8304, 911, 1, -1, "", None), (8302, 911, 1, 4, "", None), (8302, 911, 1, -4, "", None),
    ]  # fmt: skip
    bench.insert(
        "inventory",
        [
            {"id": i, "parts_id": part, "bin_id": bin_, "warehouse_id": warehouse, "qty": qty,
             "chargenumber": charge, "bestbefore": best, "employee_id": 100, "trans_type_id": 3,
             "trans_id": i}
            for i, (part, bin_, warehouse, qty, charge, best) in enumerate(movements, -100)
        ],
    )  # fmt: skip
    return bench


NEW = "FROM inventory WHERE id > 0"


def test_scenario_1(stock: Bench) -> None:
    result = stock.run(InventoryClearAll, TODAY).text
    assert result == (
        "Lager: 4 Buchungen ausgeführt, um alle Lagerplätze zu leeren. Artikel: "
        "8301 -5.00000 Stck,8301 -2.00000 Stck,8301 -3.00000 Stck,8304 1.00000 Stck"
    )
    assert stock.rows(
        f"SELECT parts_id, bin_id, warehouse_id, qty, chargenumber, trans_type_id {NEW} ORDER BY id"
    ) == [
        (8301, 911, 1, Decimal(-5), "", 2),
        (8301, 911, 1, Decimal(-2), "CH1", 2),
        (8301, 912, 2, Decimal(-3), "", 2),
        (8304, 911, 1, Decimal(1), "", 1),
    ]
    assert stock.rows(
        f"SELECT DISTINCT bestbefore, comment, shippingdate::text, employee_id {NEW}"
    ) == [(None, "vor Inventur", "2026-11-22", 100)]
    assert stock.value(f"SELECT count(DISTINCT trans_id) {NEW}") == 4
    assert stock.column("SELECT onhand FROM parts ORDER BY id") == [Decimal(0)] * 3
    assert stock.run(InventoryClearAll, TODAY).text == (
        "Lager: 0 Buchungen ausgeführt, um alle Lagerplätze zu leeren. Artikel: "
    )


def test_scenario_2_dry_run(stock: Bench) -> None:
    result = stock.run(InventoryClearAll, TODAY + "dry_run: 1").text
    assert result is not None
    assert result.startswith("Lager: 4 Buchungen noch nicht ausgeführt, um alle Lagerplätze")
    assert stock.value(f"SELECT count(*) {NEW}") == 0


def test_scenario_3_one_warehouse(stock: Bench) -> None:
    stock.run(InventoryClearAll, TODAY + "warehouse: W2\ncomment: Umzug")
    assert stock.rows(f"SELECT parts_id, qty, comment {NEW}") == [(8301, Decimal(-3), "Umzug")]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (None, "^No parameter correction_date given"),
        ("correction_date: 2026-11-21", "^Parameter correction_date 2026-11-21 is not today 2026"),
        ("correction_date: 22.11.2026", "^Parameter correction_date 22.11.2026 is not today"),
        ("warehouse: nix", "^Lager existiert nicht: nix$"),
        (TODAY + "dryrun: 1", "unknown: dryrun"),
    ],
)
def test_scenario_4_refuses(stock: Bench, data: str | None, complaint: str) -> None:
    with pytest.raises(JobFailed, match=complaint):
        stock.run(InventoryClearAll, data)
    assert stock.value(f"SELECT count(*) {NEW}") == 0


def test_the_user_must_be_an_employee(stock: Bench) -> None:
    stock.user = replace(stock.user, login="nobody")
    with pytest.raises(JobFailed, match="the user nobody is no employee"):
        stock.run(InventoryClearAll, TODAY)
