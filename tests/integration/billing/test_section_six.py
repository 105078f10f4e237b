"""Random orders: prices, taxes, postings and goods are those of a second reading of section 6."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from orders import TODAY, Books
from section_six import PARTS, ZERO_TAX, goods, invoice, nonzero

UNITS = {
    "Stk": ("Stk", "Pak", "Pal"), "min": ("min", "Std"), "Std": ("min", "Std", "Tg"),
    "g": ("g", "kg"), "kg": ("g", "kg"), "Pausch": ("Pausch",),
}  # fmt: skip
SERVICES = (2001, 2002, 2003, 2004, 2006, 2031)
GOODS = (2011, 2012, 2013, 2014, 2015, 2016, 2017)
ASSEMBLIES = (2021, 2022, 2023)
ORDERS = 14


def some_item(chance: random.Random, parts: tuple[int, ...]) -> dict[str, Any]:
    """An item that people may well enter, or not."""
    part = chance.choice(parts)
    quantity = chance.choice([0.0, 1.0, -2.0, chance.randrange(1, 999) / 8, chance.random() * 3])
    price = chance.choice([-4.99, 0.0, 0.005, chance.random(), chance.random() * 99_999])
    return {
        "parts_id": part, "unit": chance.choice(UNITS[PARTS[part]["unit"]]),
        "qty": f"{quantity:.5f}", "sellprice": f"{price:.{chance.choice([2, 3, 5])}f}",
        "discount": chance.choice(["0", "0.03", "0.333", "1"]),
        "lastcost": chance.choice([None, "0", "3.33333", "40"]),
        "price_factor_id": chance.choice([None, None, 601, 602, 603, 604]),
    }  # fmt: skip


def some_order(books: Books, chance: random.Random, parts: tuple[int, ...]) -> tuple[Any, ...]:
    """Head, items and configuration; the configuration's id comes last."""
    items = [some_item(chance, parts) for _ in range(chance.randrange(1, 6))]
    head = {"taxzone_id": chance.choice([401, 401, 402, 403]),
            "currency_id": chance.choice([1, 1, 2, 3]),
            "taxincluded": chance.choice([False, True])}  # fmt: skip
    config = {"periodicity": chance.choice("mqbyo"),
              "order_value_periodicity": chance.choice("ppmqby25"),
              "start_date": str(TODAY - timedelta(chance.randrange(300))),
              "ar_chart_id": chance.choice([101, 102])}  # fmt: skip
    return head, items, config, books.config(books.order(*items, **head), **config)


def found(books: Books, ar_id: int) -> dict[str, Any]:
    """The rows of one invoice."""
    heads = books.rows(
        "SELECT netamount, amount, marge_total, marge_percent, tax_point FROM ar WHERE id = %s",
        ar_id,
    )
    names = ("netamount", "amount", "marge_total", "marge_percent", "tax_point")
    lines = books.rows(
        "SELECT sellprice, marge_total, marge_percent FROM invoice"
        " WHERE trans_id = %s AND NOT assemblyitem ORDER BY position",
        ar_id,
    )
    postings = books.rows(
        "SELECT chart_id, amount, taxkey, tax_id FROM acc_trans"
        " WHERE trans_id = %s AND amount <> 0 ORDER BY 1, 2, 3, 4",
        ar_id,
    )
    return dict(zip(names, heads[0], strict=True)) | {"lines": lines, "postings": postings}


def billed(books: Books) -> list[tuple[Any, ...]]:
    """Invoice, configuration and period, in the order they were posted."""
    return books.rows(
        "SELECT ar_id, config_id, period_start_date FROM periodic_invoices ORDER BY id"
    )


@pytest.mark.parametrize("seed", range(6))
def test_amounts_and_postings(books: Books, seed: int) -> None:
    chance = random.Random(seed)
    precision = chance.choice(["0.01", "0.01", "0.05", "0.1"])
    books.rows("UPDATE defaults SET precision = %s", precision)
    rates = {1: 1.0, 2: chance.choice([0.9, 1.0837]), 3: 11.34567}
    for currency in (2, 3):
        books.rows(
            "INSERT INTO exchangerate (currency_id, transdate, buy) VALUES (%s, %s, %s)",
            currency, TODAY, str(rates[currency]),
        )  # fmt: skip
    orders = [some_order(books, chance, SERVICES + GOODS) for _ in range(ORDERS)]
    assert not books.bill().failures
    made = {config_id: rest for *rest, config_id in orders}
    invoices = billed(books)
    assert len(invoices) >= ORDERS
    for ar_id, config_id, period in invoices:
        head, items, config = made[config_id]
        rate = rates[head["currency_id"]]
        expected = invoice(head, items, config, period, rate, float(precision))
        assert found(books, ar_id) == expected, (seed, head, items, config, period)


@pytest.mark.parametrize("seed", range(4))
def test_goods_and_assemblies(books: Books, seed: int) -> None:
    chance = random.Random(seed)
    books.rows("UPDATE defaults SET inventory_system = 'perpetual'")
    stock: dict[int, list[dict[str, Any]]] = {}
    for key in range(500_001, 500_012):
        part, quantity = chance.choice(GOODS), chance.choice([1.0, 12.0, 33.5, 1000.0])
        price, discount = chance.choice(["7.35", "0.33333"]), chance.choice([0.0, 0.5])
        stock.setdefault(part, []).append(
            {"id": key, "left": quantity, "sellprice": float(price), "discount": discount}
        )
        books.rows(
            "INSERT INTO invoice (id, trans_id, parts_id, position, qty, base_qty, allocated,"
            " sellprice, discount) VALUES (%s, 1, %s, 1, %s, %s, 0, %s, %s)",
            key, part, -quantity, -quantity, price, discount,
        )  # fmt: skip
    orders = [some_order(books, chance, GOODS + ASSEMBLIES) for _ in range(ORDERS)]
    for head, *_, config_id in orders:
        books.rows("UPDATE oe SET currency_id = 1 WHERE id = %s", books.oe_id(config_id))
        head["currency_id"] = 1
    assert not books.bill().failures
    made = {config_id: rest for *rest, config_id in orders}
    for ar_id, config_id, period in billed(books):
        head, items, config = made[config_id]
        expected = goods(head, items, config, period, stock)
        rest = invoice(head, items, config, period, 1.0, 0.01)["postings"]
        rows = books.rows(
            # what came back is allocated by those who took it later: see the end
            "SELECT parts_id, assemblyitem, qty,"
            "       CASE WHEN allocated > 0 THEN 0 ELSE allocated END FROM invoice"
            " WHERE trans_id = %s ORDER BY position",
            ar_id,
        )
        assert [row[:3] for row in rows] == [row[:3] for row in expected["rows"]]
        assert [row[3] for row in rows] == pytest.approx([row[3] for row in expected["rows"]])
        assert found(books, ar_id)["postings"] == sorted(expected["postings"] + rest), seed
    left = {part: sum(row["left"] for row in rows) for part, rows in stock.items()}
    found_left = books.rows(
        "SELECT parts_id, sum(-base_qty - allocated) FROM invoice"
        " WHERE base_qty < 0 AND parts_id = ANY(%s) GROUP BY parts_id",
        list(stock),
    )
    assert dict(found_left) == pytest.approx(left, rel=1e-5, abs=1e-4)


def test_the_second_reading_knows_the_worked_examples() -> None:
    """6.7: 250 at 33.33 for a hundred, of a part that costs 12.00 for a hundred."""
    item = {"parts_id": 2014, "unit": "Stk", "qty": "250", "sellprice": "33.33", "discount": "0",
            "lastcost": None, "price_factor_id": 602}  # fmt: skip
    head = {"taxzone_id": 401, "currency_id": 1, "taxincluded": False}
    config = {"periodicity": "m", "order_value_periodicity": "p", "start_date": "2026-03-01",
              "ar_chart_id": 101}  # fmt: skip
    made = invoice(head, [item], config, TODAY, 1.0, 0.01)
    assert made["lines"] == [(Decimal("33.33"), Decimal("53.33"), Decimal("63.99856"))]
    assert made["postings"] == nonzero(
        [(112, 83.33, 3, 701), (121, 15.83, 0, ZERO_TAX), (101, -99.16, 0, ZERO_TAX)]
    )
