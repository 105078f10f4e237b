"""From an order and a period to a complete invoice, in memory (sections 3, 5 and 6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from kivitendo_task_server.database.tenants import TenantUser
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.accounting import Totals, postings, totals
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import number, sent
from kivitendo_task_server.jobs.periodic_invoices.behaviour import Behaviour
from kivitendo_task_server.jobs.periodic_invoices.closing import number_taken, wants_project
from kivitendo_task_server.jobs.periodic_invoices.date_format import in_user_format
from kivitendo_task_server.jobs.periodic_invoices.lines import LINE_COLUMNS
from kivitendo_task_server.jobs.periodic_invoices.master_data import MasterData
from kivitendo_task_server.jobs.periodic_invoices.model import (
    Config,
    Item,
    Line,
    Order,
    PlannedInvoice,
)
from kivitendo_task_server.jobs.periodic_invoices.periods import due_date, period_end, tax_point
from kivitendo_task_server.jobs.periodic_invoices.prices import (
    PricedItem,
    Pricing,
    adjusted_price,
)
from kivitendo_task_server.jobs.periodic_invoices.stock import Component, Stock
from kivitendo_task_server.jobs.periodic_invoices.wording import Wording, period_variables

TOLERANCE = 0.005  # EUR; what an invoice's postings may differ from zero without a warning


@dataclass(frozen=True)
class Planner:
    """Plans the invoices of one run; knows the tenant's master data and the day."""

    master: MasterData
    behaviour: Behaviour
    user: TenantUser
    today: date
    currency_conversion: Literal["kivitendo", "once"] = "kivitendo"
    taken_projects: frozenset[str] = frozenset()
    """Numbers of one-time orders that a project has, so that closing them would fail."""
    _wordings: dict[tuple[date, date], Wording] = field(default_factory=dict)

    def plan(self, config: Config, order: Order, items: list[Item], period: date) -> PlannedInvoice:
        """The invoice of one period. Raises TaskServerError or ArithmeticError, writes nothing.

        ``items`` are those of the order that are not yet billed once.
        """
        if order.customer_id is None:
            raise TaskServerError("the order has no customer")
        new_project = config.terms.one_time and wants_project(order, self.master.defaults)
        if new_project and order.ordnumber in self.taken_projects:
            raise number_taken(order.ordnumber)
        end = period_end(
            config.terms, period, one_time_uses_value=self.behaviour.one_time_uses_value
        )
        point = tax_point(config.terms, period, order.tax_point, end)
        wording = self._wording(period, end)
        warnings: list[str] = []
        rate = self._rate(order, warnings)
        priced = self._priced(config, order, items, period, point, rate)
        stock = Stock(self.master, order.taxzone_id, self.behaviour.digits)
        lines = self._lines(order, priced, stock, wording)
        sums = totals(
            priced,
            gross=order.taxincluded,
            second_rate=1.0 if self.currency_conversion == "once" else rate,
            precision=self.master.defaults.precision,
            digits=self.behaviour.digits,
        )
        planned = PlannedInvoice(
            config=config,
            order=order,
            period=period,
            ar=self._head(config, order, period, point, sums, wording),
            lines=lines,
            postings=postings(sums, stock.postings, config.ar_chart_id, self.master),
            netamount=sums.netamount,
            amount=sums.amount,
            taken=stock.taken,
            returns_goods=self.master.defaults.perpetual and any(map(_comes_back, priced)),
            once_items=[item.id for item in items if item.mode == "once"],
            warnings=warnings,
        )
        self._check(planned)
        return planned

    def _wording(self, period: date, end: date) -> Wording:
        """The texts' variables; most orders of a run share a period."""
        wording = self._wordings.get((period, end))
        if wording is None:
            wording = self._wordings[period, end] = Wording(
                period_variables(period, end, self.user),
                english=self.user.countrycode == "en",
                drop_unknown=self.behaviour.drop_unknown_variables,
            )
        return wording

    def _rate(self, order: Order, warnings: list[str]) -> float:
        if order.currency_id == self.master.defaults.currency_id:
            return 1.0
        rate = self.master.rates.get(order.currency_id)
        if rate is None:
            warnings.append(
                f"no exchange rate for currency id {order.currency_id} on {self.today}:"
                " calculated with 1"
            )
            return 1.0
        return rate

    def _priced(
        self,
        config: Config,
        order: Order,
        items: list[Item],
        period: date,
        point: date,
        rate: float,
    ) -> list[PricedItem]:
        days = {"tax_point": point, "deliverydate": period, "transdate": self.today}
        pricing = Pricing(
            self.master,
            order.taxzone_id,
            order.taxincluded,
            rate,
            days[self.behaviour.tax_key_date],
            self.behaviour.digits,
        )
        result = []
        for position, item in enumerate(items, 1):
            price = adjusted_price(
                number(item.sellprice) or 0.0,
                config.terms,
                period,
                self.behaviour.digits,
                self.behaviour.one_time_adjusted,
            )
            try:
                result.append(pricing.priced(item, price))
            except TaskServerError as error:
                error.where = f"item {position} (»{item.description or ''}«)"
                raise
        return result

    def _lines(
        self, order: Order, priced: list[PricedItem], stock: Stock, wording: Wording
    ) -> list[Line]:
        """The rows of table invoice, with those of assemblies' components (5.3, 6.9)."""
        lines: list[Line] = []
        for index, one in enumerate(priced):
            line = _item_line(order, one, wording)
            components: list[Component] = []
            if one.part is not None and self.master.defaults.perpetual:
                if one.part.part_type == "part":
                    unit = self.master.unit_factor(one.item.unit)
                    factor = unit / self.master.unit_factor(one.part.unit)
                    line.values["allocated"] = sent(
                        -stock.take(one.part, one.base_qty, factor) or 0.0
                    )
                elif one.part.part_type == "assembly":
                    components = stock.components(one.part, one.base_qty)
            rows = [_component_line(component) for component in components]
            if self.behaviour.sub_rows_follow_previous:
                # up to 4.0 they followed the item before, and the first item's were lost (1.10)
                lines += rows if index else []
                lines.append(line)
            else:
                lines.append(line)
                lines += rows
        for position, line in enumerate(lines, 1):
            line.values["position"] = position
        return lines

    def _head(
        self,
        config: Config,
        order: Order,
        period: date,
        point: date,
        sums: Totals,
        wording: Wording,
    ) -> dict[str, Any]:
        """The row of ar, but for id and invnumber (5.2)."""
        quotation = order.record_type.endswith("quotation")
        written = f"Automatisch am {in_user_format(self.today, self.user.dateformat)} erzeugte"
        remark = f"{written} Rechnung"
        # Perl's truth: a remark of "0" counts as none
        if order.intnotes and order.intnotes != "0":
            remark = f"{order.intnotes}\n\n{remark}"
        return order.columns | {
            "type": "invoice",
            "invoice": True,
            "storno": False,
            "paid": "0",
            "transdate": self.today,
            "gldate": self.today,
            "duedate": due_date(self.today, order.terms_netto, order.auto_calculation),
            "deliverydate": period,
            "tax_point_start": period,
            "tax_point": point,
            "orddate": None if quotation else order.transdate,
            "quodate": order.transdate if quotation else None,
            "taxincluded": order.taxincluded,
            "payment_id": order.payment_id or order.customer_payment_id,
            "notes": wording.html(order.notes),
            "transaction_description": wording.text(order.transaction_description),
            "intnotes": wording.text(remark),
            "direct_debit": config.direct_debit,
            "netamount": sent(sums.netamount),
            "amount": sent(sums.amount),
            "marge_total": sent(sums.marge_total),
            "marge_percent": sent(sums.marge_percent),
            "qrbill_without_amount": False,
        }

    def _check(self, planned: PlannedInvoice) -> None:
        if abs(planned.imbalance) > TOLERANCE:
            planned.warnings.append(
                f"the postings do not balance: their sum is {planned.imbalance:.5f}"
            )
        if not planned.lines:
            planned.warnings.append("the invoice has no items")


def _comes_back(priced: PricedItem) -> bool:
    """Whether later invoices find this item's row among the purchases (6.9)."""
    return priced.part is not None and priced.part.part_type == "part" and priced.base_qty < 0


def _item_line(order: Order, priced: PricedItem, wording: Wording) -> Line:
    """The row of one order item (5.3)."""
    item, part = priced.item, priced.part
    price = sent(priced.price)
    values: dict[str, Any] = {
        "parts_id": item.parts_id,
        "description": wording.text(item.description),
        "longdescription": wording.html(item.longdescription),
        "qty": item.qty,
        "sellprice": price,
        "fxsellprice": price if part else item.sellprice,
        "discount": item.discount or "0",
        "base_qty": sent(priced.base_qty) if part else item.base_qty,
        "lastcost": item.lastcost,
        "unit": item.unit,
        "price_factor_id": item.price_factor_id,
        "price_factor": sent(priced.price_factor),
        "marge_price_factor": sent(priced.marge_price_factor),
        "marge_total": None if priced.marge_total is None else sent(priced.marge_total),
        "marge_percent": None if priced.marge_percent is None else sent(priced.marge_percent),
        "project_id": item.project_id,
        "pricegroup_id": item.pricegroup_id,
        "deliverydate": item.reqdate,
        "serialnumber": item.serialnumber,
        "transdate": item.transdate,
        "cusordnumber": item.cusordnumber,
        "ordnumber": order.ordnumber,
        "donumber": "",
        "subtotal": bool(item.subtotal),
        "active_price_source": item.active_price_source,
        "active_discount_source": item.active_discount_source,
        "assemblyitem": False,
        "allocated": "0" if part and part.part_type == "part" else None,
    }
    return Line(values, item.id, item.has_custom_variables)


def _component_line(component: Component) -> Line:
    """The row of an assembly's component (6.9): no price, no margin, no order."""
    return Line(
        dict.fromkeys(LINE_COLUMNS)
        | {
            "parts_id": component.part.id,
            "description": component.part.description,
            "unit": component.part.unit,
            "qty": sent(component.qty),
            "sellprice": "0",
            "fxsellprice": "0",
            "price_factor": "1",
            "marge_price_factor": "1",
            "subtotal": False,
            "assemblyitem": True,
            "allocated": sent(component.allocated or 0.0),
            "active_price_source": "",
            "active_discount_source": "",
        }
    )
