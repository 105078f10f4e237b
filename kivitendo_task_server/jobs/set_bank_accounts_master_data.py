"""SetBankAccountsMasterData: bank accounts of paying partners (jobs.md, 1.11)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2 import sql

from kivitendo_task_server.clock import wall_time
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import read_options, switch, whole_number


@dataclass(frozen=True)
class Options:
    """``months``: how recent a paid record must be; ``overwrite``: replace known accounts too."""

    dry_run: bool = switch()
    overwrite: bool = switch()
    months: int = whole_number(6, maximum=1200, zero_means_default=True)


@dataclass(frozen=True)
class _Kind:
    """Customers with their invoices, or vendors with theirs; all names are columns and tables."""

    partners: str
    records: str
    partner_id: str
    link: str


CUSTOMERS = _Kind("customer", "ar", "customer_id", "ar_id")
VENDORS = _Kind("vendor", "ap", "vendor_id", "ap_id")


class SetBankAccountsMasterData(Job):
    """Takes over IBAN and BIC from bank transactions that paid records of a partner.

    Of several accounts the one the bank reported first is taken, with ``overwrite`` the last.
    """

    name = "SetBankAccountsMasterData"
    summary = "takes bank accounts of customers and vendors from their payments"
    Options = Options

    def run(self, context: JobContext) -> str:
        """Which partner got which account, customers first; untranslated, as in kivitendo."""
        options = read_options(Options, context.options)
        customers = _update(context, CUSTOMERS, options)
        vendors = _update(context, VENDORS, options)
        prefix = "DRY RUN " if options.dry_run else ""
        return f"{prefix}Updates: Customer: {','.join(customers)}\n Vendors: {','.join(vendors)}"


def _update(context: JobContext, kind: _Kind, options: Options) -> list[str]:
    """Update the partners of one kind; returns ``NAME -> ACCOUNT`` for each account taken."""
    notes: list[str] = []
    accounts: dict[int, tuple[str, str | None]] = {}
    for partner, name, iban, account, bank_code in _candidates(
        context, kind, wall_time(context.clock), options.months
    ):
        known = partner in accounts or iban not in (None, "", "0")
        if known and not options.overwrite:
            continue
        notes.append(f"{name} -> {account}")
        if not options.dry_run:
            accounts[partner] = (account, bank_code)
    if accounts:
        statement = sql.SQL(
            """UPDATE {partners} SET iban = new.iban, bic = new.bic
               FROM unnest(%s::int[], %s::text[], %s::text[]) AS new (id, iban, bic)
               WHERE {partners}.id = new.id"""
        ).format(partners=sql.Identifier(kind.partners))
        ibans, bics = zip(*accounts.values(), strict=True)
        with context.connection.cursor() as cursor:
            cursor.execute(statement, (list(accounts), list(ibans), list(bics)))
    return notes


def _candidates(
    context: JobContext, kind: _Kind, now: datetime, months: int
) -> list[tuple[Any, ...]]:
    """Partner, name, present IBAN, account and bank code, in the order of the transactions.

    Partners with a SEPA mandate are left out; vendors have no such column, hence the jsonb.
    """
    statement = sql.SQL(
        """SELECT partner.id, partner.name, partner.iban,
                  bank.remote_account_number, bank.remote_bank_code
           FROM {partners} partner
           JOIN {records} record ON record.{partner_id} = partner.id
           JOIN bank_transaction_acc_trans link ON link.{link} = record.id
           JOIN bank_transactions bank ON bank.id = link.bank_transaction_id
           WHERE coalesce(bank.remote_account_number, '') NOT IN ('', '0')
             AND to_jsonb(partner) ->> 'mandate_date_of_signature' IS NULL
             AND EXISTS (SELECT 1 FROM {records} paid
                         WHERE paid.{partner_id} = partner.id AND paid.paid = paid.amount
                           AND paid.transdate > %s::timestamp - make_interval(months => %s))
           GROUP BY partner.id, bank.remote_account_number, bank.remote_bank_code
           ORDER BY partner.id, min(bank.id)"""
    ).format(
        partners=sql.Identifier(kind.partners),
        records=sql.Identifier(kind.records),
        partner_id=sql.Identifier(kind.partner_id),
        link=sql.Identifier(kind.link),
    )
    with context.connection.cursor() as cursor:
        cursor.execute(statement, (now, months))
        return cursor.fetchall()
