"""A company with recurring invoices to deliver: real databases, a stand-in kivitendo directory.

Its orders are those of the golden vectors' base, so what is posted is known to be right.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mail_peer import Mailbox, smtp_server
from replay import GOLDEN, Database
from stand_in import Kivitendo

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import MailDelivery, PeriodicInvoicesSettings, Settings
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.jobs.interface import JobContext, JobResult, JobRow
from kivitendo_task_server.jobs.periodic_invoices.delivery import MakeRenderer, PerlRenderer
from kivitendo_task_server.jobs.periodic_invoices.delivery.invoice import Invoice
from kivitendo_task_server.jobs.periodic_invoices.job import CreatePeriodicInvoices

CUSTOMER = "einkauf@kunde.example"
SENDER = "Musterfirma <rechnung@musterfirma.example>"
PDF = b"%PDF-1.4 a test's"


class FixedPdf:
    """Renders every invoice to the same file."""

    def __init__(self, content: bytes = PDF) -> None:
        self.content = content

    def for_mail(self, invoice: Invoice) -> bytes:
        return self.content

    def for_printer(self, invoice: Invoice) -> bytes:
        return self.content


@dataclass
class Company:
    """One tenant, its orders and its settings."""

    kivitendo: Kivitendo
    database: Database
    settings: Settings
    moment: datetime = datetime(2026, 3, 15, 12, 0, 0, tzinfo=UTC)
    tenant: Tenant = field(init=False)

    def __post_init__(self) -> None:
        self.tenant = self.kivitendo.tenant

    def add_order(self, number: int, order: dict[str, Any] | None = None, **config: Any) -> None:
        """An order AB-n over 100.00 net, monthly from March 2026, mailed to CUSTOMER.

        ``config`` changes its row of periodic_invoices_configs.
        """
        head = {
            "id": 100000 + number, "record_type": "sales_order", "ordnumber": f"AB-{number}",
            "transdate": "2025-11-20", "customer_id": 1001, "taxzone_id": 401, "currency_id": 1,
            "taxincluded": False, "employee_id": 202,
        }  # fmt: skip
        self.insert("oe", **(head | (order or {})))
        self.insert(
            "orderitems",
            id=200000 + number, trans_id=100000 + number, parts_id=2003, position=1, qty="1",
            unit="Stk", sellprice="100", base_qty="1", discount="0", description="Lizenz",
        )  # fmt: skip
        values = {
            "id": 300000 + number, "oe_id": 100000 + number, "periodicity": "m",
            "order_value_periodicity": "p", "active": True, "terminated": False,
            "start_date": "2026-03-01", "ar_chart_id": 101, "send_email": True,
            "email_recipient_address": CUSTOMER, "email_sender": SENDER,
            "email_subject": "Rechnung <%invnumber%>",
            "email_body": "<p>Anbei &lt;%invnumber%&gt;.</p>",
        }  # fmt: skip
        self.insert("periodic_invoices_configs", **(values | config))

    def insert(self, table: str, **values: Any) -> None:
        """One row."""
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join(["%s"] * len(values))
        self.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))  # noqa: S608

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """A statement of a kivitendo user, so to speak."""
        with self.kivitendo.connection as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What the database says."""
        with self.kivitendo.connection as connection, connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return cursor.fetchall()

    def context(self) -> JobContext:
        """What a worker passes to the job."""
        return JobContext(
            tenant=self.tenant,
            connection=self.kivitendo.connection,
            settings=self.settings,
            clock=FixedClock(self.moment),
            log=logging.getLogger("kivitendo_task_server.test"),
            job=JobRow(1, "interval", "CreatePeriodicInvoices"),
            options={},
            kivitendo_dir=self.kivitendo.directory,
        )

    def run(self, make_renderer: MakeRenderer = lambda *_: FixedPdf()) -> JobResult:
        """Run the job once."""
        result = CreatePeriodicInvoices(make_renderer).run(self.context())
        assert isinstance(result, JobResult)
        return result

    def run_with_perl(self) -> JobResult:
        """Run the job once, with kivitendo's templates through a real Perl."""
        return self.run(PerlRenderer)

    def deliveries(self) -> list[tuple[str, str, str, int]]:
        """Invoice, recipient (empty: printer or unknown), state, attempts."""
        return self.rows(
            "SELECT ar.invnumber, d.recipient, d.state, d.attempts"
            "  FROM kivitendo_task_server.deliveries d LEFT JOIN ar ON ar.id = d.ar_id"
            " ORDER BY d.ar_id, d.id"
        )

    def reasons(self) -> list[str | None]:
        """Why deliveries are as they are."""
        return [
            row[0]
            for row in self.rows(
                "SELECT reason FROM kivitendo_task_server.deliveries ORDER BY ar_id, id"
            )
        ]

    def journal(self) -> list[tuple[str, str]]:
        """Recipients and status of kivitendo's journal."""
        return self.rows("SELECT recipients, status::text FROM email_journal ORDER BY id")

    def mail_to_port(self, port: int) -> None:
        """Use the SMTP server on that port."""
        self.settings = replace(
            self.settings, mail=MailDelivery(method="smtp", host="127.0.0.1", port=port)
        )

    def configure(self, **section: Any) -> None:
        """Set keys of section [periodic_invoices]."""
        self.settings = replace(
            self.settings, periodic_invoices=PeriodicInvoicesSettings(**section)
        )

    def set(self, table: str, **columns: Any) -> None:
        """Change all rows of a table, for instance the one of defaults."""
        assignments = ", ".join(f"{name} = %s" for name in columns)
        self.execute(f"UPDATE {table} SET {assignments}", list(columns.values()))  # noqa: S608

    def set_configs(self, **columns: Any) -> None:
        """Change all configurations."""
        self.set("periodic_invoices_configs", **columns)


@pytest.fixture
def company(kivitendo: Kivitendo) -> Iterator[Company]:
    """The golden vectors' master data, and no order yet."""
    access = kivitendo.tenant.access
    database = Database(access)
    database.clear()
    base = json.loads((GOLDEN / "base.json").read_text("utf-8"))
    database.load(base, {"input": {}})
    kivitendo.connection.rollback()
    yield Company(kivitendo, database, kivitendo.settings)
    database.cx.close()


@pytest.fixture
def mailbox() -> Mailbox:
    """What the company's mail server accepts."""
    return Mailbox()


@pytest.fixture
def served(company: Company, mailbox: Mailbox) -> Iterator[Company]:
    """A company with a mail server, and one order."""
    with smtp_server(mailbox) as port:
        company.mail_to_port(port)
        company.add_order(1)
        yield company


def files_below(folder: Path) -> dict[str, bytes]:
    """Relative path -> content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
