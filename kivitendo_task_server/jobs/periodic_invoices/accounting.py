"""Totals of an invoice and its postings (sections 6.6 and 6.8)."""

from __future__ import annotations

from dataclasses import dataclass

from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import rounded, rounded_to_precision
from kivitendo_task_server.jobs.periodic_invoices.master_data import MasterData
from kivitendo_task_server.jobs.periodic_invoices.model import Posting, TaxKey
from kivitendo_task_server.jobs.periodic_invoices.prices import PricedItem


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of one invoice, in the default currency."""

    income: dict[int, float]
    """Income account -> amount."""
    income_keys: dict[int, TaxKey]
    """Income account -> the tax key its posting shows: that of its first item."""
    taxes: dict[int, float]
    """Tax account -> amount, rounded once per account."""
    netamount: float
    amount: float
    rounding: float
    """amount minus the exact sum, where ``defaults.precision`` is coarser than a cent."""
    marge_total: float
    marge_percent: float


def totals(
    items: list[PricedItem], *, gross: bool, second_rate: float, precision: float, digits: int
) -> Totals:
    """Add up the items that were calculated (6.6).

    ``second_rate`` is the exchange rate that the original applies once more to sums which already
    contain it; 1 where the rate is applied only once.
    """
    income, keys, taxes, last = _sums(items, gross)
    difference = 0.0
    for chart, exact in taxes.items():
        taxes[chart] = rounded(exact * second_rate, 2, digits)
        if gross:
            difference += exact * second_rate - taxes[chart]
    net = sum(income.values())
    netamount = rounded((net + difference) * second_rate, 2, digits)
    if gross and last is not None:
        rest = sum(item.rest for item in items)
        income[last] += rest + (netamount - (net + difference) * second_rate)
    total = netamount + sum(taxes.values())
    amount = rounded_to_precision(total, precision, digits)
    cost = sum(item.cost for item in items)
    return Totals(
        income=income,
        income_keys=keys,
        taxes=taxes,
        netamount=netamount,
        amount=amount,
        rounding=rounded(amount - total, 2, digits),
        marge_total=sum(item.marge_total or 0.0 for item in items),
        marge_percent=(netamount - cost) * 100 / netamount if netamount else 0.0,
    )


def _sums(
    items: list[PricedItem], gross: bool
) -> tuple[dict[int, float], dict[int, TaxKey], dict[int, float], int | None]:
    income: dict[int, float] = {}
    keys: dict[int, TaxKey] = {}
    taxes: dict[int, float] = {}
    last = None
    for item in items:
        key = item.tax_key
        if key is None:  # an item without a part is not calculated
            continue
        last = item.income_chart
        if key.tax_chart_id is not None:
            taxes[key.tax_chart_id] = taxes.get(key.tax_chart_id, 0.0) + item.tax
        income[last] = income.get(last, 0.0) + item.line
        keys.setdefault(last, key)
        if gross:
            income[last] -= item.tax
    return income, keys, taxes, last


def postings(
    sums: Totals, goods: dict[int, float], ar_chart_id: int, master: MasterData
) -> list[Posting]:
    """The rows of acc_trans: cost of goods, income, taxes, receivables, rounding (6.8)."""
    zero = master.zero_tax_id
    if zero is None:
        raise TaskServerError("the table tax has no row with tax key 0")

    def posting(chart: int, amount: float, taxkey: int = 0, tax_id: int = zero) -> Posting:
        return Posting(chart, amount, taxkey, tax_id, master.chart_link(chart))

    rows = [posting(chart, amount) for chart, amount in goods.items() if amount != 0]
    for chart, amount in sums.income.items():
        if amount != 0:
            key = sums.income_keys[chart]
            rows.append(posting(chart, amount, key.taxkey_id, key.tax_id))
    rows += [posting(chart, amount) for chart, amount in sums.taxes.items() if amount != 0]
    if sums.amount != 0:
        rows.append(posting(ar_chart_id, -sums.amount))
    if sums.rounding != 0:
        gain, loss = master.defaults.rndgain_accno_id, master.defaults.rndloss_accno_id
        account = gain if sums.rounding > 0 else loss
        if account:
            # the original puts the account's id where its link belongs
            rows.append(Posting(account, sums.rounding, 0, zero, str(account)))
    return rows
