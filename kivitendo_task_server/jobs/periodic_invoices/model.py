"""What travels between reading, planning and posting.

Numbers that are only copied stay the text the database gave; those that are computed with are
doubles (6.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from kivitendo_task_server.jobs.periodic_invoices.periods import Terms


@dataclass(frozen=True, slots=True)
class Config:
    """An active row of periodic_invoices_configs, with what was billed of it so far."""

    id: int
    oe_id: int
    ordnumber: str
    terms: Terms
    ar_chart_id: int
    direct_debit: bool
    print: bool
    send_email: bool
    previous: date | None
    version: str
    """The row's version (xmin): tells under the lock whether anybody changed it since."""


@dataclass(frozen=True, slots=True)
class Order:
    """A row of oe, with what the customer and the payment terms contribute."""

    id: int
    version: str
    ordnumber: str
    record_type: str
    transdate: str
    customer_id: int | None
    customer_name: str | None
    customer_payment_id: int | None
    taxincluded: bool
    taxzone_id: int
    currency_id: int
    payment_id: int | None
    terms_netto: int | None
    auto_calculation: bool | None
    notes: str | None
    intnotes: str | None
    transaction_description: str | None
    tax_point: date | None
    shipto_id: int | None
    own_shipto_id: int | None
    """The order's own delivery address (module OE), to be cloned."""
    globalproject_id: int | None
    columns: dict[str, Any]
    """The columns that are copied to ar as they are."""


@dataclass(frozen=True, slots=True)
class Part:
    """The columns of parts that prices, costs and stock need."""

    id: int
    part_type: str
    unit: str
    price_factor_id: int | None
    buchungsgruppen_id: int | None
    description: str | None
    lastcost: float | None


@dataclass(frozen=True, slots=True)
class Item:
    """A row of orderitems."""

    id: int
    order_id: int
    parts_id: int | None
    description: str | None
    longdescription: str | None
    qty: str | None
    sellprice: str | None
    discount: str | None
    base_qty: str | None
    lastcost: str | None
    unit: str | None
    price_factor_id: int | None
    project_id: int | None
    pricegroup_id: int | None
    reqdate: str | None
    serialnumber: str | None
    transdate: str | None
    cusordnumber: str | None
    subtotal: bool | None
    active_price_source: str
    active_discount_source: str
    mode: str
    billed_once: bool
    """Whether recurring_billing_invoice_id is set: a ``once`` item that has been billed."""
    has_custom_variables: bool


@dataclass(frozen=True, slots=True)
class TaxKey:
    """A row of taxkeys joined with its tax."""

    startdate: date
    taxkey_id: int
    tax_id: int
    rate: float
    tax_chart_id: int | None


@dataclass(slots=True)
class Purchase:
    """A row of invoice with goods that are still in stock (6.9)."""

    id: int
    base_qty: float
    allocated: float
    sellprice: float
    discount: float


@dataclass(slots=True)
class Line:
    """A row of the table invoice: one billed item, or a component of an assembly."""

    values: dict[str, Any]
    """Column -> value; the ids are only known once it is written."""
    item_id: int | None = None
    """The order item it comes from; None for components."""
    has_custom_variables: bool = False


@dataclass(frozen=True, slots=True)
class Posting:
    """A row of acc_trans (6.8)."""

    chart_id: int
    amount: float
    taxkey: int
    tax_id: int
    chart_link: str


@dataclass(frozen=True, slots=True)
class RowLines:
    """An invoice's rows of ar, invoice and acc_trans as lines for COPY (see lines.py)."""

    head: str
    lines: list[str]
    postings: list[str]


@dataclass(slots=True)
class PlannedInvoice:
    """One invoice, complete but for its ids and its number."""

    config: Config
    order: Order
    period: date
    ar: dict[str, Any]
    lines: list[Line]
    postings: list[Posting]
    netamount: float
    amount: float
    taken: dict[int, float] = field(default_factory=dict)
    """Quantities allocated from purchase rows, by invoice.id."""
    returns_goods: bool = False
    """Whether a row of it is one that later invoices may take goods from (6.9)."""
    alone: bool = False
    """Whether its order has several configurations: what one invoice does to it the next must see,
    so they are billed singly."""
    once_items: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rows: RowLines | None = None
    """Made ahead, where there is time for it."""

    @property
    def imbalance(self) -> float:
        """What the postings sum up to, EUR; 0 for a sound invoice."""
        return sum(posting.amount for posting in self.postings)


EXACT = ("amount", "netamount", "marge_total", "marge_percent")
"""Columns of ar that are computed."""


@dataclass(frozen=True, slots=True)
class PostedInvoice:
    """An invoice that was written; it exists once its transaction is committed."""

    ar_id: int
    invnumber: str
    config_id: int
    ordnumber: str
    period: date
    netamount: float
    amount: float
    one_time: bool
    print: bool
    send_email: bool
    warnings: tuple[str, ...]
    exact: dict[str, str]
    """What the database rounds, as it was computed: mail texts show it so (3.5). Only if mailed."""
    returned: tuple[int, ...]
    """Rows of invoice with goods that came back."""

    @classmethod
    def of(
        cls, planned: PlannedInvoice, ar_id: int, invnumber: str, returned: tuple[int, ...]
    ) -> PostedInvoice:
        """What is worth remembering of a planned invoice; the rest is in the database."""
        return cls(
            ar_id=ar_id,
            invnumber=invnumber,
            config_id=planned.config.id,
            ordnumber=planned.order.ordnumber,
            period=planned.period,
            netamount=planned.netamount,
            amount=planned.amount,
            one_time=planned.config.terms.one_time,
            print=planned.config.print,
            send_email=planned.config.send_email,
            warnings=tuple(planned.warnings),
            exact={name: planned.ar[name] for name in EXACT} if planned.config.send_email else {},
            returned=returned,
        )
