"""Writes a company of the scenario into a fresh tenant database, and itself into auth.

The chart of accounts is our own and as small as it can be: receivables, two income accounts with
their taxes, and one income account somebody forgot to give a tax key.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - it is a type

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.demo.scenario import MONTH_TEXT, Company, Order

# account number -> description, category (asset, liability, income, expense), link
CHART = {
    "11400": ("Warenbestand", "A", "IC"),
    "12100": ("Forderungen aus Lieferungen und Leistungen", "A", "AR"),
    "33100": ("Verbindlichkeiten", "L", "AP"),
    "38070": ("Umsatzsteuer 7 %", "L", "AR_tax:IC_taxpart:IC_taxservice"),
    "38190": ("Umsatzsteuer 19 %", "L", "AR_tax:IC_taxpart:IC_taxservice"),
    "44070": ("Erlöse 7 %", "I", "AR_amount:IC_sale:IC_income"),
    "44190": ("Erlöse 19 %", "I", "AR_amount:IC_sale:IC_income"),
    "44900": ("Erlöse aus Altverträgen", "I", "AR_amount:IC_income"),
    "48400": ("Rundungserträge", "I", ""),
    "54000": ("Wareneinsatz und Fremdleistungen", "E", "IC_cogs:IC_expense"),
    "68400": ("Rundungsaufwand", "E", ""),
}
# booking group -> income account; 44900 has no row in taxkeys, so its order cannot be billed
BOOKING_GROUPS = {
    "Dienste 19 %": "44190",
    "Bücher 7 %": "44070",
    "Lebensmittel 7 %": "44070",
    "ohne Steuerschlüssel": "44900",
}
UNITS = ("Stck", "Std", "Monat", "Jahr", "Pausch", "kg", "qm")


@dataclass
class Ids:
    """The ids of the rows written so far, by what people call them."""

    charts: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    customers: dict[str, int] = field(default_factory=dict)
    currency: int = 0
    country: int = 0
    taxzone: int = 0
    payment: int = 0
    employee: int = 0


def write_tenant(connection: Connection, company: Company, now: datetime) -> None:
    """Fill an empty tenant database, in one transaction; ``now`` is naive local time."""
    with connection, connection.cursor() as cursor:
        ids = Ids()
        _accounts(cursor, ids)
        _master_data(cursor, ids, company)
        for number, order in enumerate(company.orders, start=1):
            _order(cursor, ids, company, order, f"AB-{1000 + number}", now.date())
        _jobs(cursor, now)


def write_auth(
    connection: Connection, companies: tuple[tuple[Company, DatabaseAccess], ...]
) -> None:
    """One client with its task server user for each company (task-server.md, b.1)."""
    with connection, connection.cursor() as cursor:
        for company, access in companies:
            user = _insert(cursor, 'auth."user"', login=company.login)
            settings = {
                "name": company.employee,
                "email": f"{company.login}@{company.database}.example",
                "countrycode": "de",
                "dateformat": "dd.mm.yy",
                "numberformat": "1.000,00",
            }
            for key, value in settings.items():
                cursor.execute(
                    "INSERT INTO auth.user_config (user_id, cfg_key, cfg_value) VALUES (%s,%s,%s)",
                    (user, key, value),
                )
            client = _insert(
                cursor,
                "auth.clients",
                name=company.name,
                dbhost=access.host,
                dbport=access.port,
                dbname=access.name,
                dbuser=access.user,
                dbpasswd=access.password,
                task_server_user_id=user,
            )
            cursor.execute(
                "INSERT INTO auth.clients_users (client_id, user_id) VALUES (%s, %s)",
                (client, user),
            )


def month_start(today: date, months: int) -> date:
    """The first day of the month ``months`` after today's."""
    index = today.year * 12 + today.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def month_end(today: date, months: int) -> date:
    """The last day of that month."""
    first = month_start(today, months)
    return first.replace(day=calendar.monthrange(first.year, first.month)[1])


def _accounts(cursor: Cursor, ids: Ids) -> None:
    for number, (description, category, link) in CHART.items():
        ids.charts[number] = _insert(
            cursor, "chart", accno=number, description=description, category=category, link=link
        )
    rates = {"0": None, "0.07": "38070", "0.19": "38190"}
    taxes = {
        rate: _insert(
            cursor,
            "tax",
            taxkey={"0": 0, "0.07": 2, "0.19": 3}[rate],
            rate=Decimal(rate),
            chart_id=ids.charts[account] if account else None,
            taxdescription="Umsatzsteuer" if account else "Keine Steuer",
            chart_categories="I",
        )
        for rate, account in rates.items()
    }
    keys = {"44190": ("0.19", 3), "44070": ("0.07", 2), "12100": ("0", 0)}
    for account, (rate, key) in keys.items():
        _insert(
            cursor,
            "taxkeys",
            chart_id=ids.charts[account],
            tax_id=taxes[rate],
            taxkey_id=key,
            startdate=date(2007, 1, 1),
        )
    ids.taxzone = _insert(cursor, "tax_zones", description="Inland", sortkey=1)
    for sortkey, (group, account) in enumerate(BOOKING_GROUPS.items(), start=1):
        ids.groups[group] = _insert(
            cursor,
            "buchungsgruppen",
            description=group,
            inventory_accno_id=ids.charts["11400"],
            sortkey=sortkey,
        )
        _insert(
            cursor,
            "taxzone_charts",
            taxzone_id=ids.taxzone,
            buchungsgruppen_id=ids.groups[group],
            income_accno_id=ids.charts[account],
            expense_accno_id=ids.charts["54000"],
        )


def _master_data(cursor: Cursor, ids: Ids, company: Company) -> None:
    cursor.execute("INSERT INTO schema_info (tag, login) VALUES ('release_4_1_0', 'demo')")
    ids.currency = _insert(cursor, "currencies", name="EUR")
    ids.country = _insert(
        cursor,
        "countries",
        iso2="DE",
        description_en="Germany",
        description_de="Deutschland",
        sortorder=1,
    )
    for sortkey, unit in enumerate(UNITS, start=1):
        _insert(cursor, "units", name=unit, type="dimension", sortkey=sortkey)
    ids.payment = _insert(
        cursor,
        "payment_terms",
        description=f"{company.payment_days} Tage netto",
        terms_netto=company.payment_days,
        sortkey=1,
        auto_calculation=True,
    )
    ids.employee = _insert(cursor, "employee", login=company.login, name=company.employee)
    _insert(cursor, "part_classifications", id=0, description="keine", abbreviation="-")
    _insert(
        cursor,
        "defaults",
        company=company.name,
        invnumber=company.numbers,
        currency_id=ids.currency,
        ar_chart_id=ids.charts["12100"],
        ap_chart_id=ids.charts["33100"],
        rndgain_accno_id=ids.charts["48400"],
        rndloss_accno_id=ids.charts["68400"],
        address_country_id=ids.country,
        inventory_system="periodic",
        accounting_method="accrual",
        profit_determination="balance",
    )
    for number, (name, (zipcode, city)) in enumerate(company.customers.items(), start=10001):
        ids.customers[name] = _insert(
            cursor,
            "customer",
            name=name,
            zipcode=zipcode,
            city=city,
            customernumber=str(number),
            taxzone_id=ids.taxzone,
            currency_id=ids.currency,
            country_id=ids.country,
            payment_id=ids.payment,
        )
    for partnumber, part in company.parts.items():
        ids.parts[partnumber] = _insert(
            cursor,
            "parts",
            partnumber=partnumber,
            description=part.description,
            unit=part.unit,
            sellprice=Decimal(part.price),
            lastcost=Decimal(part.cost),
            buchungsgruppen_id=ids.groups[part.group],
            part_type="service",
        )


def _order(
    cursor: Cursor, ids: Ids, company: Company, order: Order, number: str, today: date
) -> None:
    start = month_start(today, order.start)
    written = _insert(
        cursor,
        "oe",
        record_type="sales_order",
        ordnumber=number,
        # signed before the first period, and not in the future
        transdate=min(start, today) - timedelta(days=9),
        customer_id=ids.customers[order.customer],
        taxzone_id=ids.taxzone,
        currency_id=ids.currency,
        payment_id=ids.payment,
        employee_id=ids.employee,
        salesman_id=ids.employee,
        taxincluded=order.gross,
        notes=f"<p>{_escaped(MONTH_TEXT)}</p>",
        transaction_description=order.subject,
    )
    for position, line in enumerate(order.lines, start=1):
        part = company.parts[line.part]
        _insert(
            cursor,
            "orderitems",
            trans_id=written,
            position=position,
            parts_id=ids.parts[line.part],
            description=part.description,
            qty=Decimal(line.qty),
            base_qty=Decimal(line.qty),
            unit=part.unit,
            sellprice=Decimal(line.price or part.price),
            lastcost=Decimal(part.cost),
            discount=Decimal(line.discount),
            recurring_billing_mode=line.mode,
        )
    _insert(
        cursor,
        "periodic_invoices_configs",
        oe_id=written,
        periodicity=order.every,
        order_value_periodicity=order.price_for,
        active=order.active,
        terminated=order.terminated,
        start_date=start,
        end_date=None if order.end is None else month_end(today, order.end),
        extend_automatically_by=order.extend,
        ar_chart_id=ids.charts["12100"],
    )


def _jobs(cursor: Cursor, now: datetime) -> None:
    """The standard rows, with the invoices due since last night."""
    last_night = now.replace(hour=3, minute=0, second=0, microsecond=0)
    if last_night > now:
        last_night -= timedelta(days=1)
    _insert(
        cursor,
        "background_jobs",
        type="interval",
        package_name="CreatePeriodicInvoices",
        description="Wiederkehrende Rechnungen",
        active=True,
        cron_spec="0 3 * * *",
        next_run_at=last_night,
    )
    _insert(
        cursor,
        "background_jobs",
        type="once",
        package_name="Test",
        description="Probelauf",
        active=True,
        data="result: Probelauf in Ordnung",
    )


def _insert(cursor: Cursor, table: str, **values: Any) -> int:
    """Insert one row and return its id."""
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.SQL(table),
        sql.SQL(", ").join(sql.Identifier(name) for name in values),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
    )
    cursor.execute(statement, list(values.values()))
    row = cursor.fetchone()
    assert row is not None
    written: int = row[0]
    return written


def _escaped(text: str) -> str:
    """Text variables in HTML attributes stand with escaped marks (recurring-invoices.md, 3.2)."""
    return text.replace("<", "&lt;").replace(">", "&gt;")
