"""Prices and amounts of items (sections 4, 6.3 and 6.5).

Every expression keeps the original's order of operations, because doubles show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import number, rounded
from kivitendo_task_server.jobs.periodic_invoices.master_data import MasterData
from kivitendo_task_server.jobs.periodic_invoices.model import Item, Part, TaxKey
from kivitendo_task_server.jobs.periodic_invoices.periods import Terms, is_last_of_cycle


def adjusted_price(price: float, terms: Terms, period: date, digits: int, one_time: bool) -> float:
    """An order's price for one billing period, if it was meant for another length (section 4).

    ``one_time``: whether one-time configurations are adjusted too, as up to release 3.5.6.
    """
    billing, value = terms.billing_length, terms.value_length
    if billing == value or (terms.one_time and not one_time):
        return price
    if value < billing:
        return price * (billing / value)
    share = rounded(price * billing / value, 2, digits)
    if is_last_of_cycle(terms, period):
        return price - (value / billing - 1) * share
    return share


@dataclass(slots=True)
class PricedItem:
    """What the calculation makes of one item; amounts in the default currency."""

    item: Item
    part: Part | None
    price: float
    """Unit price after section 4."""
    base_qty: float = 0.0
    price_factor: float = 1.0
    marge_price_factor: float = 1.0
    line: float = 0.0
    """The line's amount, rounded."""
    rest: float = 0.0
    """Gross orders: the unrounded amount minus the rounded one (D of 6.5)."""
    income_chart: int = 0
    tax_key: TaxKey | None = None
    tax: float = 0.0
    """Not rounded."""
    cost: float = 0.0
    marge_total: float | None = None
    marge_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Pricing:
    """The circumstances that all items of an invoice share."""

    master: MasterData
    taxzone_id: int
    gross: bool
    rate: float
    """Exchange rate (6.4)."""
    tax_day: date
    digits: int

    def priced(self, item: Item, price: float) -> PricedItem:
        """Calculate one item (6.5). Raises TaskServerError, ZeroDivisionError."""
        if item.parts_id is None:
            return PricedItem(item, None, price)
        part = self.master.parts.get(item.parts_id)
        if part is None:
            raise TaskServerError(f"part id {item.parts_id} does not exist")
        qty = number(item.qty) or 0.0
        result = PricedItem(item, part, price)
        result.base_qty = (
            qty * self.master.unit_factor(item.unit) / self.master.unit_factor(part.unit)
        )
        result.price_factor = self.master.price_factor(item.price_factor_id)
        result.marge_price_factor = self.master.price_factor(part.price_factor_id)
        self._amount(result, qty)
        self._taxes(result, part)
        self._margin(result, part, qty)
        return result

    def _amount(self, result: PricedItem, qty: float) -> None:
        discount = number(result.item.discount) or 0.0
        exact = result.price * (1 - discount) * qty / result.price_factor
        result.line = rounded(rounded(exact, 2, self.digits) * self.rate, 2, self.digits)
        if self.gross:
            unrounded = result.price * (1 - discount) * qty * self.rate / result.price_factor
            result.rest = unrounded - result.line

    def _taxes(self, result: PricedItem, part: Part) -> None:
        result.income_chart = self.master.accounts(part, self.taxzone_id)[0]
        key = self.master.tax_key(result.income_chart, self.tax_day)
        result.tax_key = key
        result.tax = result.line * key.rate
        if self.gross:
            result.tax = result.tax / (key.rate + 1)
        if key.tax_chart_id is None and result.tax != 0:
            raise TaskServerError(
                f"tax id {key.tax_id} has a rate of {key.rate} but no account for its amount",
                remedy="enter the account in the tax settings",
            )

    def _margin(self, result: PricedItem, part: Part, qty: float) -> None:
        if result.line == 0:
            result.marge_total = result.marge_percent = 0.0
            return
        cost = number(result.item.lastcost) or part.lastcost or 0.0
        result.cost = rounded(cost * qty / result.marge_price_factor, 2, self.digits)
        net = result.line - result.tax if self.gross else result.line
        result.marge_total = net - result.cost
        result.marge_percent = result.marge_total * 100 / net
