"""The tenant's master data that prices and postings need, read once a run (section 1.6)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg2.extensions

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import number, real_sum
from kivitendo_task_server.jobs.periodic_invoices.model import Part, Purchase, TaxKey

Cursor = psycopg2.extensions.cursor

# numeric, real and double precision as the text the database sends (6.1)
_NUMBERS_AS_TEXT = psycopg2.extensions.new_type((1700, 700, 701), "TEXT", lambda text, _: text)


def _date(value: str | bytes | None, _: Cursor) -> date | None:
    if value is None:
        return None
    text = str(value)
    try:
        return date.fromisoformat(text)
    except ValueError:  # the year 20226 of somebody's typing error must not end the whole run
        return date.min if text.startswith("-") or text.endswith("BC") else date.max


_DATES = psycopg2.extensions.new_type((1082,), "DATE", _date)


def text_cursor(connection: Connection) -> Cursor:
    """A cursor that gives numbers as text, never through another binary form (6.1).

    Dates that Python does not know are given as the first or last one it knows.
    """
    cursor = connection.cursor()
    for given_as in (_NUMBERS_AS_TEXT, _DATES):
        psycopg2.extensions.register_type(given_as, cursor)
    return cursor


@dataclass(frozen=True, slots=True)
class Defaults:
    """The row of table defaults, as far as it matters here."""

    currency_id: int
    precision: float
    rndgain_accno_id: int | None
    rndloss_accno_id: int | None
    inventory_system: str | None
    order_always_project: bool
    project_type_id: int | None
    project_status_id: int | None
    closedto: date | None

    @property
    def perpetual(self) -> bool:
        """Perpetual inventory: anything but ``periodic``, also NULL (6.9)."""
        return self.inventory_system != "periodic"


@dataclass(frozen=True, slots=True)
class MasterData:
    """Looked up in memory; the methods raise TaskServerError for what is missing."""

    defaults: Defaults
    zero_tax_id: int | None
    chart_links: dict[int, str]
    account_numbers: dict[int, str]
    """chart.accno by chart.id, for messages."""
    tax_keys: dict[int, list[TaxKey]]
    zone_accounts: dict[tuple[int, int], tuple[int, int]]
    inventory_accounts: dict[int, int]
    units: dict[str, tuple[str | None, float | None]]
    price_factors: dict[int, float | None]
    rates: dict[int, float | None]
    parts: dict[int, Part]
    components: dict[int, list[tuple[int, float]]]
    purchases: dict[int, list[Purchase]]

    def tax_key(self, chart_id: int, day: date) -> TaxKey:
        """The tax key of an account that is in force on a day (6.5)."""
        keys = self.tax_keys.get(chart_id, [])
        index = bisect_right(keys, day, key=lambda key: key.startdate)
        if index == 0:
            raise TaskServerError(
                f"account {self.account_numbers.get(chart_id)} has no tax key for {day}",
                remedy="enter a tax key valid from that day or earlier in the chart of accounts",
            )
        return keys[index - 1]

    def accounts(self, part: Part, taxzone_id: int) -> tuple[int, int]:
        """Income and expense account of a part in a tax zone (6.5, 6.9)."""
        group = part.buchungsgruppen_id
        accounts = self.zone_accounts.get((taxzone_id, group)) if group is not None else None
        if accounts is None:
            raise TaskServerError(
                f"no income account for part id {part.id}"
                f" (booking group {group}, tax zone {taxzone_id})",
                remedy="complete the booking group's accounts for this tax zone",
            )
        return accounts

    def unit_factor(self, unit: str | None, above: tuple[str, ...] = ()) -> float:
        """How many of its smallest base unit a unit is (6.3); ``above`` are those based on it."""
        if unit is None or unit not in self.units:
            raise TaskServerError(
                f"the unit {unit!r} does not exist" if unit else "an item has no unit",
                remedy="choose a unit from the list in the order's item",
            )
        base, own = self.units[unit]
        if not base or base == unit or own is None or unit in above:
            return 1.0
        return own * self.unit_factor(base, (*above, unit)) or 1.0

    def price_factor(self, price_factor_id: int | None) -> float:
        """The divisor of a price factor; 1 without one (6.5)."""
        if price_factor_id is None:
            return 1.0
        if price_factor_id not in self.price_factors:
            raise TaskServerError(f"price factor id {price_factor_id} does not exist")
        factor = self.price_factors[price_factor_id]
        if factor == 0:
            raise TaskServerError(
                f"price factor id {price_factor_id} is 0, which cannot be divided by",
                remedy="correct the price factor in the system settings",
            )
        return 1.0 if factor is None else factor

    def allocated(self) -> dict[int, float]:
        """Allocated quantity of each purchase, by invoice.id (6.9)."""
        return {one.id: one.allocated for rows in self.purchases.values() for one in rows}

    def take(self, taken: dict[int, float]) -> None:
        """Let later plans see what a plan has taken, as the database would give it back.

        A purchase that was taken from goes behind the others: in the original the later invoices
        of a run find it there, because an updated row moves to the end of its table.
        """
        for purchases in self.purchases.values() if taken else ():
            used = [purchase for purchase in purchases if purchase.id in taken]
            for purchase in used:
                purchase.allocated = real_sum(purchase.allocated, taken[purchase.id])
                purchases.remove(purchase)
                purchases.append(purchase)

    def put_behind(self, used: Iterable[int]) -> None:
        """Let purchases that this run took from earlier come last, in that order; see take."""
        order = {key: number for number, key in enumerate(used)}
        for purchases in self.purchases.values() if order else ():
            purchases.sort(key=lambda purchase: order.get(purchase.id, -1))

    def chart_link(self, chart_id: int) -> str:
        """The account's link text, which postings carry (6.8)."""
        return self.chart_links.get(chart_id) or ""


def read_defaults(cursor: Cursor, columns: frozenset[str]) -> Defaults:
    """Read the single row of defaults; ``columns`` are those the table has here."""
    project = {
        name: name if name in columns else "NULL"
        for name in ("order_always_project", "project_type_id", "project_status_id")
    }
    cursor.execute(
        "SELECT currency_id, precision, rndgain_accno_id, rndloss_accno_id, inventory_system,"  # noqa: S608
        f" {project['order_always_project']}, {project['project_type_id']},"
        f" {project['project_status_id']}, closedto FROM defaults ORDER BY id LIMIT 1"
    )
    row = cursor.fetchone()
    if row is None:
        raise TaskServerError("the table defaults has no row", where="defaults")
    return Defaults(row[0], float(row[1]), row[2], row[3], row[4], bool(row[5]), *row[6:])


def read_master_data(
    cursor: Cursor, defaults: Defaults, parts: Iterable[int], today: date
) -> MasterData:
    """Read everything that items with these parts may need, in a fixed number of queries.

    ``today`` is the day of the exchange rates (6.4).
    """
    components = _components(cursor, list(parts)) if defaults.perpetual else {}
    part_ids = {*parts, *(part for rows in components.values() for part, _ in rows)}
    known_parts = _parts(cursor, list(part_ids))
    stocked = [part.id for part in known_parts.values() if part.part_type == "part"]
    cursor.execute("SELECT id, accno, link FROM chart")
    charts = {key: (accno, link) for key, accno, link in cursor}
    return MasterData(
        defaults=defaults,
        zero_tax_id=_zero_tax(cursor),
        chart_links={key: link for key, (_, link) in charts.items()},
        account_numbers={key: accno for key, (accno, _) in charts.items()},
        tax_keys=_tax_keys(cursor),
        zone_accounts=_zone_accounts(cursor),
        inventory_accounts=_pairs(cursor, "SELECT id, inventory_accno_id FROM buchungsgruppen"),
        units=_units(cursor),
        price_factors={
            key: number(factor)
            for key, factor in _pairs(cursor, "SELECT id, factor FROM price_factors").items()
        },
        rates=_rates(cursor, today),
        parts=known_parts,
        components=components,
        purchases=read_purchases(cursor, stocked) if defaults.perpetual else {},
    )


def read_purchases(cursor: Cursor, parts: list[int]) -> dict[int, list[Purchase]]:
    """Rows of invoice with stock left of these parts, oldest first (6.9)."""
    purchases: dict[int, list[Purchase]] = {}
    if not parts:
        return purchases
    cursor.execute(
        "SELECT parts_id, id, base_qty, allocated, sellprice, discount FROM invoice"
        " WHERE parts_id = ANY(%s) AND base_qty + allocated < 0 ORDER BY id",
        (parts,),
    )
    for part, key, base_qty, allocated, sellprice, discount in cursor:
        purchases.setdefault(part, []).append(
            Purchase(
                key, float(base_qty), float(allocated), float(sellprice or 0), float(discount or 0)
            )
        )
    return purchases


def _parts(cursor: Cursor, ids: list[int]) -> dict[int, Part]:
    cursor.execute(
        "SELECT id, part_type::text, unit, price_factor_id, buchungsgruppen_id, description,"
        " lastcost FROM parts WHERE id = ANY(%s)",
        (ids,),
    )
    return {row[0]: Part(*(*row[:6], number(row[6]))) for row in cursor}


def _components(cursor: Cursor, parts: list[int]) -> dict[int, list[tuple[int, float]]]:
    """The components of all assemblies among the parts and below, in position order."""
    cursor.execute(
        "WITH RECURSIVE tree (id) AS ("
        "   SELECT unnest(%s::int[])"
        "   UNION SELECT assembly.parts_id FROM assembly JOIN tree USING (id))"
        " SELECT assembly.id, assembly.parts_id, coalesce(assembly.qty, 0)"
        "   FROM assembly JOIN tree USING (id)"
        "  ORDER BY assembly.id, assembly.position, assembly.assembly_id",
        (parts,),
    )
    components: dict[int, list[tuple[int, float]]] = {}
    for assembly, part, qty in cursor:
        components.setdefault(assembly, []).append((part, float(qty)))
    return components


def _zero_tax(cursor: Cursor) -> int | None:
    cursor.execute("SELECT min(id) FROM tax WHERE taxkey = 0")
    row = cursor.fetchone()
    return row[0] if row else None


def _tax_keys(cursor: Cursor) -> dict[int, list[TaxKey]]:
    cursor.execute(
        "SELECT taxkeys.chart_id, startdate, taxkey_id, tax.id, rate, tax.chart_id"
        "  FROM taxkeys JOIN tax ON tax.id = taxkeys.tax_id ORDER BY startdate"
    )
    keys: dict[int, list[TaxKey]] = {}
    for chart_id, startdate, taxkey_id, tax_id, rate, tax_chart_id in cursor:
        keys.setdefault(chart_id, []).append(
            TaxKey(startdate, taxkey_id, tax_id, float(rate), tax_chart_id)
        )
    return keys


def _zone_accounts(cursor: Cursor) -> dict[tuple[int, int], tuple[int, int]]:
    cursor.execute(
        "SELECT taxzone_id, buchungsgruppen_id, income_accno_id, expense_accno_id"
        "  FROM taxzone_charts"
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in cursor}


def _units(cursor: Cursor) -> dict[str, tuple[str | None, float | None]]:
    cursor.execute("SELECT name, base_unit, factor FROM units")
    return {name: (base, number(factor)) for name, base, factor in cursor}


def _rates(cursor: Cursor, today: date) -> dict[int, float | None]:
    """The first rate of each currency today; later rows for the same day do not count (6.4)."""
    cursor.execute(
        "SELECT currency_id, buy FROM exchangerate WHERE transdate = %s ORDER BY id DESC", (today,)
    )
    return {currency: number(buy) for currency, buy in cursor}


def _pairs(cursor: Cursor, query: str) -> dict[int, Any]:
    cursor.execute(query)
    return dict(cursor.fetchall())
