"""One posted invoice with all that its delivery needs, read anew when it is delivered (8.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.periods import Terms

Row = Mapping[str, Any]


class NothingToDeliver(TaskServerError):  # noqa: N818 - a state, not a fault
    """The invoice or its configuration does not want to be delivered any more."""


@dataclass(frozen=True)
class Printer:
    """A row of printers."""

    command: str
    template_code: str


@dataclass(frozen=True)
class Invoice:
    """An invoice, its configuration, and what belongs to them."""

    ar: Row
    """Every column of ar; numerics as Decimal."""
    config: Row
    """Every column of periodic_invoices_configs."""
    period: date
    customer_mail: str
    """customer.invoice_mail."""
    contact_mail: str
    """E-mail of the configuration's contact."""
    language: str
    """language.template_code of the invoice; empty if it has none."""
    printer: Printer | None
    """The configuration's printer, if it has a command."""

    @property
    def id(self) -> int:
        """ar.id."""
        return int(self.ar["id"])

    @property
    def number(self) -> str:
        """ar.invnumber."""
        return str(self.ar["invnumber"])

    @property
    def terms(self) -> Terms:
        """The configuration's terms, for the length of the period."""
        return Terms(
            periodicity=self.config["periodicity"],
            order_value_periodicity=self.config["order_value_periodicity"],
            start_date=self.config["start_date"],
            first_billing_date=self.config.get("first_billing_date"),
            end_date=self.config["end_date"],
            terminated=bool(self.config["terminated"]),
            extend_automatically_by=self.config["extend_automatically_by"],
        )

    def recipients(self) -> list[str]:
        """The mail addresses: those of the configuration, the contact's, the customer's (8.2)."""
        texts = [*(self.config.get("email_recipient_address") or "").split(",")]
        texts += [self.contact_mail, self.customer_mail]
        addresses = [text.strip().lower() for text in texts]
        return list(dict.fromkeys(address for address in addresses if address))


def read_defaults(connection: Connection) -> Row:
    """The row of the table defaults."""
    with connection, connection.cursor() as cursor:
        row = _row(cursor, "SELECT * FROM defaults ORDER BY id LIMIT 1", ())
    if row is None:
        raise TaskServerError("the table defaults has no row", where="defaults")
    return row


def read_invoice(connection: Connection, ar_id: int, config_id: int) -> Invoice:
    """Read it. Raises NothingToDeliver if it is gone, or has been cancelled."""
    with connection, connection.cursor() as cursor:
        ar = _row(cursor, "SELECT * FROM ar WHERE id = %s", (ar_id,))
        if ar is None:
            raise NothingToDeliver("the invoice has been deleted")
        if ar["storno"]:
            raise NothingToDeliver("the invoice has been cancelled")
        config = _row(cursor, "SELECT * FROM periodic_invoices_configs WHERE id = %s", (config_id,))
        cursor.execute(
            "SELECT period_start_date FROM periodic_invoices WHERE ar_id = %s AND config_id = %s",
            (ar_id, config_id),
        )
        period = cursor.fetchone()
        if config is None or period is None:
            raise NothingToDeliver("the configuration has been deleted")
        customer = _row(cursor, "SELECT * FROM customer WHERE id = %s", (ar["customer_id"],))
        return Invoice(
            ar=ar,
            config=config,
            period=period[0],
            customer_mail=(customer or {}).get("invoice_mail") or "",
            contact_mail=_text(
                cursor,
                "SELECT cp_email FROM contacts WHERE cp_id = %s",
                config.get("email_recipient_contact_id"),
            ),
            language=_text(
                cursor, "SELECT template_code FROM language WHERE id = %s", ar["language_id"]
            ),
            printer=_printer(cursor, config["printer_id"]),
        )


def mail_values(invoice: Invoice, exact: Mapping[str, str]) -> dict[str, str]:
    """The columns of ar as mail texts show them (3.5); ``exact`` are those before rounding."""
    shown = {name: _shown(value) for name, value in invoice.ar.items()}
    return shown | {name: _shown(Decimal(text)) for name, text in exact.items() if text}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00"
    if isinstance(value, Decimal):
        return format(value.normalize() + 0, "f")
    return str(value)


def _printer(cursor: Any, printer_id: int | None) -> Printer | None:
    row = _row(cursor, "SELECT * FROM printers WHERE id = %s", (printer_id,))
    if row is None or not (row["printer_command"] or "").strip():
        return None
    return Printer(row["printer_command"].strip(), row["template_code"] or "")


def _text(cursor: Any, statement: str, key: int | None) -> str:
    cursor.execute(statement, (key,))
    row = cursor.fetchone()
    return str(row[0] or "") if row else ""


def _row(cursor: Any, statement: str, values: tuple[Any, ...]) -> Row | None:
    cursor.execute(statement, values)
    row = cursor.fetchone()
    names = [column.name for column in cursor.description]
    return dict(zip(names, row, strict=True)) if row else None
