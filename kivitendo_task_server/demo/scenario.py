"""The demo's two companies: what they sell, to whom, and which orders bill themselves again.

All names, accounts and prices are invented. Months count from the current one, so that the same
orders are due and not due on whatever day the demo runs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A service or article; ``group`` is the booking group, which leads to account and tax."""

    description: str
    unit: str
    price: str
    group: str = "Dienste 19 %"
    cost: str = "0"


@dataclass(frozen=True)
class Line:
    """A position of an order: part number, quantity, and what differs from the part."""

    part: str
    qty: str = "1"
    price: str | None = None
    discount: str = "0"
    mode: str = "always"
    """recurring_billing_mode: always, once or never."""


@dataclass(frozen=True)
class Order:
    """An order with its configuration of recurring invoices (recurring-invoices.md, 1.1)."""

    customer: str
    every: str
    """Periodicity: m, q, b (half-yearly), y, or o (one-time)."""
    start: int
    """First period, in months from the current month: -3 is three months ago, 1 is next month."""
    lines: tuple[Line, ...]
    price_for: str = "p"
    """order_value_periodicity: the period the prices are meant for."""
    gross: bool = False
    end: int | None = None
    extend: int = 0
    terminated: bool = False
    active: bool = True
    subject: str = ""


@dataclass(frozen=True)
class Company:
    """One tenant."""

    name: str
    database: str
    login: str
    employee: str
    numbers: str
    """The last invoice number used; kivitendo counts on from there."""
    customers: dict[str, tuple[str, str]]
    """Name -> postal code and town."""
    parts: dict[str, Part]
    orders: tuple[Order, ...]
    payment_days: int = 14


MONTH_TEXT = "Leistungszeitraum <%period_start_date%> bis <%period_end_date%>"

MUSTER = Company(
    name="Muster GmbH",
    database="muster",
    login="buchhaltung",
    employee="Frieda Fleißig",
    numbers="RE-2600417",
    customers={
        "Bäckerei Kornblum": ("24103", "Kiel"),
        "Kanzlei Dr. Stürmer & Partner": ("20354", "Hamburg"),
        "Gärtnerei Löwenzahn": ("23552", "Lübeck"),
        "Autohaus Größler GmbH": ("28195", "Bremen"),
        "Zahnarztpraxis Dr. Weißmann": ("30159", "Hannover"),
        "Tischlerei Hobelspan OHG": ("24937", "Flensburg"),
        "Stadtbücherei Süderholm": ("25746", "Heide"),
        "Fahrschule Vorfahrt": ("26122", "Oldenburg"),
    },
    parts={
        "S100": Part("Webhosting Paket M", "Monat", "14.90", cost="4.20"),
        "S110": Part("Domain mit Zertifikat", "Jahr", "23.88", cost="9"),
        "S200": Part("Wartungsvertrag Server, <%current_month_long%> <%current_year%>", "Pausch",
                     "189.00", cost="75"),
        "S210": Part("Bereitschaft, Quartal <%current_quarter%>/<%current_year%>", "Pausch",
                     "450.00", cost="200"),
        "S300": Part("Datensicherung je 100 GB", "Stck", "7.35", cost="2.10"),
        "S400": Part("Telefonsupport", "Std", "92.50", cost="48"),
        "S900": Part("Einrichtung, einmalig", "Pausch", "149.00", cost="60"),
        "L100": Part("Loseblattwerk Datenschutz, Ergänzung", "Stck", "38.32", "Bücher 7 %", "21"),
        "X100": Part("Altvertrag Standleitung", "Pausch", "310.00", "ohne Steuerschlüssel"),
    },
    orders=(
        Order("Bäckerei Kornblum", "m", 0, (Line("S100"), Line("S300", "3"))),
        Order("Kanzlei Dr. Stürmer & Partner", "m", -2, (Line("S200"), Line("L100"))),
        Order("Kanzlei Dr. Stürmer & Partner", "q", -3, (Line("S210", discount="0.05"),)),
        Order("Gärtnerei Löwenzahn", "m", -1, (Line("S100"), Line("S900", mode="once"))),
        Order("Gärtnerei Löwenzahn", "y", -12, (Line("S110", "2"),)),
        Order("Autohaus Größler GmbH", "m", -3, (Line("S200", price="241.15"),
                                                 Line("S400", "1.5"))),
        Order("Autohaus Größler GmbH", "m", 1, (Line("S300", "12"),)),
        Order("Zahnarztpraxis Dr. Weißmann", "m", 0, (Line("S100", price="17.73"),), gross=True),
        Order("Zahnarztpraxis Dr. Weißmann", "q", -6, (Line("L100", price="41.00"),
                                                       Line("S300", price="8.75")), gross=True),
        Order("Tischlerei Hobelspan OHG", "m", -1, (Line("S100", discount="0.1"),
                                                    Line("S400", "0.75"))),
        Order("Tischlerei Hobelspan OHG", "b", -6, (Line("S110", price="11.94"),)),
        Order("Stadtbücherei Süderholm", "m", 0, (Line("S200", price="2268.00"),), price_for="y",
              subject="Jahrespreis in Monatsraten"),
        Order("Stadtbücherei Süderholm", "y", 2, (Line("L100", "4"),)),
        Order("Fahrschule Vorfahrt", "m", -4, (Line("S100"),), terminated=True, end=-2,
              subject="gekündigt"),
        Order("Fahrschule Vorfahrt", "m", -1, (Line("X100"),), subject="Übernahme aus Altsystem"),
        Order("Fahrschule Vorfahrt", "o", 0, (Line("S900"), Line("S400", "2"))),
        Order("Bäckerei Kornblum", "q", -2, (Line("S400", "1"),), price_for="m"),
        Order("Autohaus Größler GmbH", "y", 0, (Line("S110", "7"),)),
        Order("Bäckerei Kornblum", "m", -5, (Line("S300"),), active=False, subject="ruht"),
        Order("Zahnarztpraxis Dr. Weißmann", "m", -1, (Line("S300", "25"),), end=-1, extend=12),
    ),
)  # fmt: skip

BEISPIEL = Company(
    name="Beispiel & Söhne KG",
    database="beispiel",
    login="auftrag",
    employee="Björn Beispiel",
    numbers="4711",
    customers={
        "Hotel Alpenblick": ("82467", "Garmisch-Partenkirchen"),
        "Grundschule am Mühlbach": ("86150", "Augsburg"),
        "Hausverwaltung Trautheim": ("80331", "München"),
        "Metzgerei Zünftig": ("93047", "Regensburg"),
        "Arztpraxis Dr. Käßbohrer": ("89073", "Ulm"),
        "Museum für Brückenbau": ("90402", "Nürnberg"),
        "Steuerbüro Ährenfeld": ("97070", "Würzburg"),
    },
    parts={
        "R10": Part("Unterhaltsreinigung <%current_month_long%> <%current_year%>", "Std", "31.80",
                    cost="22.40"),
        "R20": Part("Glasreinigung", "qm", "1.95", cost="1.10"),
        "R30": Part("Winterdienst, Bereitschaft", "Pausch", "125.00", cost="40"),
        "G10": Part("Grünpflege", "Std", "44.00", cost="27.50"),
        "K10": Part("Kaffeeautomat, Miete", "Monat", "69.00", cost="30"),
        "K20": Part("Kaffeebohnen Hausmischung", "kg", "13.90", "Lebensmittel 7 %", "8.75"),
        "K30": Part("Obstkorb groß", "Stck", "27.50", "Lebensmittel 7 %", "15.20"),
        "W10": Part("Mattentausch", "Stck", "6.45", cost="2.30"),
    },
    payment_days=30,
    orders=(
        Order("Hotel Alpenblick", "m", 0, (Line("R10", "62.5"), Line("W10", "18"))),
        Order("Hotel Alpenblick", "m", -1, (Line("K10", "2"), Line("K20", "14.5"))),
        Order("Hotel Alpenblick", "q", -3, (Line("R20", "840", discount="0.03"),)),
        Order("Grundschule am Mühlbach", "m", -2, (Line("R10", "38"),)),
        Order("Grundschule am Mühlbach", "b", -6, (Line("R20", "365"), Line("G10", "6"))),
        Order("Hausverwaltung Trautheim", "m", 0, (Line("G10", "8"), Line("R10", "12"))),
        Order("Hausverwaltung Trautheim", "m", -2, (Line("R30", price="133.33"),), gross=True),
        Order("Hausverwaltung Trautheim", "y", 3, (Line("R30", "1", "900.00"),)),
        Order("Metzgerei Zünftig", "m", -1, (Line("W10", "9"), Line("K20", "2", "15.50")),
              gross=True),
        Order("Metzgerei Zünftig", "q", 1, (Line("R20", "48"),)),
        Order("Arztpraxis Dr. Käßbohrer", "m", 0, (Line("R10", "16"), Line("K30", "4"))),
        Order("Arztpraxis Dr. Käßbohrer", "m", -3, (Line("K10"),), extend=6, end=-1),
        Order("Museum für Brückenbau", "q", 0, (Line("R20", "1260", discount="0.08"),
                                                Line("R10", "24"))),
        Order("Museum für Brückenbau", "y", -12, (Line("G10", "40"),)),
        Order("Steuerbüro Ährenfeld", "m", -1, (Line("K30", "2"), Line("K20", "1.5"))),
        Order("Steuerbüro Ährenfeld", "m", 0, (Line("R10", "1", "1000.00"),), price_for="q",
              subject="Quartalspreis in Monatsraten"),
        Order("Steuerbüro Ährenfeld", "m", 2, (Line("W10", "3"),)),
    ),
)  # fmt: skip

COMPANIES = (MUSTER, BEISPIEL)
