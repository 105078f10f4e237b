"""Section 6 of recurring-invoices.md a second time, straight from its text: slow, and no classes.

Written without a look at the package, to be held against the rows that it writes. Master data are
those of tests/golden/base.json; orders, items and configurations are dictionaries of columns.
"""

from __future__ import annotations

import itertools
import json
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from replay import GOLDEN

Row = dict[str, Any]

BASE: dict[str, list[Row]] = json.loads((GOLDEN / "base.json").read_text("utf-8"))["tables"]


def by_id(table: str) -> dict[int, Row]:
    """The rows of a table of base.json."""
    return {row["id"]: row for row in BASE[table]}


PARTS, TAXES, PRICE_FACTORS = by_id("parts"), by_id("tax"), by_id("price_factors")
GROUPS = by_id("buchungsgruppen")
UNITS = {row["name"]: row for row in BASE["units"]}
MONTHS = {"o": 0, "m": 1, "q": 3, "b": 6, "y": 12, "2": 24, "3": 36, "4": 48, "5": 60}
ZERO_TAX, GAIN, LOSS = 700, 151, 152
RETURNED = itertools.count(-1, -1)
"""Ids for what comes back."""


def rounded(x: float, d: int) -> float:
    """6.2."""
    size = abs(x)
    e = max(min(10, 15 - len(str(int(size))) - d), d)
    whole, _, decimals = f"{size:.{d + e}f}".partition(".")
    result = Decimal(f"{whole}.{decimals[:d] or 0}")
    if decimals[d] >= "5":
        result += Decimal(1).scaleb(-d)
    return float(-result if x < 0 else result) or 0.0


def stored(x: float) -> Decimal:
    """6.1: fifteen digits on their way, five decimals in the column."""
    return Decimal(f"{x:.15g}").quantize(Decimal("0.00001"), ROUND_HALF_UP)


def later(day: date, months: int) -> date:
    """2.2."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1) + timedelta(day.day - 1)


def unit_factor(name: str) -> float:
    """6.3."""
    unit = UNITS[name]
    if not unit["base_unit"] or unit["base_unit"] == name or unit["factor"] is None:
        return 1.0
    return float(unit["factor"]) * unit_factor(unit["base_unit"]) or 1.0


def accounts(order: Row, part: Row) -> Row:
    """The row of taxzone_charts."""
    (found,) = (
        row
        for row in BASE["taxzone_charts"]
        if row["taxzone_id"] == order["taxzone_id"]
        and row["buchungsgruppen_id"] == part["buchungsgruppen_id"]
    )
    return found


def lengths(config: Row) -> tuple[int, int]:
    """Billing length and value length, months (1.1)."""
    billing = MONTHS[config["periodicity"]] or 1
    value = config["order_value_periodicity"]
    return billing, billing if value == "p" else MONTHS[value]


def price_of(item: Row, config: Row, period: date) -> float:
    """Section 4."""
    price = float(item["sellprice"])
    billing, value = lengths(config)
    if config["periodicity"] == "o" or billing == value:
        return price
    if value < billing:
        return price * (billing / value)
    share = rounded(price * billing / value, 2)
    cycle, end = date.fromisoformat(config["start_date"]), later(period, billing)
    while cycle < end:
        cycle = later(cycle, value)
    return price - (value / billing - 1) * share if cycle == end else share


def tax_key(chart: int, day: date) -> Row:
    """The row of taxkeys that is in force."""
    rows = [row for row in BASE["taxkeys"] if row["chart_id"] == chart]
    return max((r for r in rows if r["startdate"] <= str(day)), key=lambda r: r["startdate"])


def invoice(
    order: Row, items: list[Row], config: Row, period: date, rate: float, precision: float
) -> Row:
    """6.5, 6.6 and 6.8: what the rows of ar, invoice and acc_trans must hold."""
    gross = order["taxincluded"]
    billing, value = lengths(config)
    months = value if config["periodicity"] == "o" else billing
    day = later(period, months) - timedelta(1)
    income: dict[int, float] = {}
    taxes: dict[int, float] = {}
    keys: dict[int, Row] = {}
    fractions = delta = margin = costs = 0.0
    lines, chart = [], 0
    for item in items:
        part = PARTS[item["parts_id"]]
        price, qty = price_of(item, config, period), float(item["qty"])
        discount = float(item["discount"])
        factor = float(PRICE_FACTORS.get(item["price_factor_id"], {"factor": 1})["factor"])
        line = rounded(rounded(price * (1 - discount) * qty / factor, 2) * rate, 2)
        if gross:
            fractions += price * (1 - discount) * qty * rate / factor - line
        chart = accounts(order, part)["income_accno_id"]
        key = tax_key(chart, day)
        tax_row = TAXES[key["tax_id"]]
        percent = float(tax_row["rate"])
        tax = line * percent / (percent + 1) if gross else line * percent
        if tax_row["chart_id"]:
            taxes[tax_row["chart_id"]] = taxes.get(tax_row["chart_id"], 0.0) + tax
        income[chart] = income.get(chart, 0.0) + line
        if gross:
            income[chart] -= tax
        keys.setdefault(chart, key)
        total = share = 0.0
        if line != 0:
            own = float(item["lastcost"] or 0) or float(part["lastcost"] or 0)
            per = PRICE_FACTORS.get(part.get("price_factor_id"), {"factor": 1})["factor"]
            cost = rounded(own * qty / float(per), 2)
            net = line - tax if gross else line
            total, share = net - cost, (net - cost) * 100 / net
            margin, costs = margin + total, costs + cost
        lines.append((stored(price), stored(total), stored(share)))
    for account, exact in taxes.items():
        taxes[account] = rounded(exact * rate, 2)
        if gross:
            delta += exact * rate - taxes[account]
    net = sum(income.values())
    netamount = rounded((net + delta) * rate, 2)
    if gross:
        income[chart] += fractions + (netamount - (net + delta) * rate)
    exact = netamount + sum(taxes.values())
    amount = rounded(rounded(exact / precision, 0) * precision, 2)
    rounding = rounded(amount - exact, 2)
    postings = [(a, x, keys[a]["taxkey_id"], keys[a]["tax_id"]) for a, x in income.items()]
    postings += [(account, x, 0, ZERO_TAX) for account, x in taxes.items()]
    postings += [(config["ar_chart_id"], -amount, 0, ZERO_TAX)]
    postings += [(GAIN if rounding > 0 else LOSS, rounding, 0, ZERO_TAX)]
    return {
        "netamount": stored(netamount),
        "amount": stored(amount),
        "marge_total": stored(margin),
        "marge_percent": stored((netamount - costs) * 100 / netamount if netamount else 0.0),
        "tax_point": day,
        "lines": lines,
        "postings": nonzero(postings),
    }


def nonzero(postings: list[tuple[int, float, int, int]]) -> list[tuple[Any, ...]]:
    """As the table holds them, sorted, without those of 0.00000."""
    return sorted((a, stored(x), *rest) for a, x, *rest in postings if stored(x) != 0)


# -- perpetual inventory (6.9) ---------------------------------------------------------------------


def goods(
    order: Row, items: list[Row], config: Row, period: date, stock: dict[int, list[Row]]
) -> Row:
    """The rows of invoice, the postings, and what is taken from ``stock``, which is changed.

    ``stock``: part -> purchases with id, left, sellprice, discount, the first to be taken first.
    What comes back (a negative quantity) is a purchase for later invoices, with a negative id.
    """
    taken: dict[int, float] = {}
    posted: dict[int, float] = {}
    rows: list[tuple[int, bool, Decimal, float | None]] = []

    def take(part: Row, wanted: float, unit: float) -> float:
        got = 0.0
        for purchase in stock.get(part["id"], []):
            amount = min(wanted - got, purchase["left"] - taken.get(purchase["id"], 0.0))
            if amount <= 0:
                continue
            price = purchase["sellprice"] * (1 - purchase["discount"])
            cost = rounded(price * amount / unit, 2)
            expense = accounts(order, part)["expense_accno_id"]
            inventory = GROUPS[part["buchungsgruppen_id"]]["inventory_accno_id"]
            posted[expense] = posted.get(expense, 0.0) - cost
            posted[inventory] = posted.get(inventory, 0.0) + cost
            taken[purchase["id"]] = taken.get(purchase["id"], 0.0) + amount
            got += amount
        return got

    def add(part: Row, qty: float, base_qty: float, unit: float, component: bool) -> None:
        allocated = 0.0 if component else None
        if part["part_type"] == "part":
            allocated = -take(part, base_qty, unit)
        rows.append((part["id"], component, stored(qty), allocated))
        for row in sorted(BASE["assembly"], key=lambda row: row["position"]):
            if row["id"] == part["id"]:
                amount = base_qty * float(row["qty"])
                add(PARTS[row["parts_id"]], amount, amount, 1.0, True)

    for item in items:
        part = PARTS[item["parts_id"]]
        sold, own, qty = unit_factor(item["unit"]), unit_factor(part["unit"]), float(item["qty"])
        add(part, qty, qty * sold / own, sold / own, False)
    for item in items:
        part = PARTS[item["parts_id"]]
        left = -float(item["qty"]) * unit_factor(item["unit"]) / unit_factor(part["unit"])
        if part["part_type"] == "part" and left > 0:
            price = float(stored(price_of(item, config, period)))
            stock.setdefault(part["id"], []).append(
                {"id": next(RETURNED), "left": left, "sellprice": price,
                 "discount": float(item["discount"])}
            )  # fmt: skip
    for purchases in stock.values():
        # what was taken from is found last by the next invoice
        purchases.sort(key=lambda purchase: purchase["id"] in taken)
        for purchase in purchases:
            purchase["left"] -= taken.get(purchase["id"], 0.0)
    postings = [(account, x, 0, ZERO_TAX) for account, x in posted.items()]
    return {"rows": rows, "postings": nonzero(postings), "taken": taken}
