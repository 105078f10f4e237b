"""What would be billed: reading and planning as a run does it, and nothing written.

The plans are those of :mod:`run`, so amounts and messages are those the invoices would have. Only
numbers are missing: they are taken when an invoice is written.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.jobs.periodic_invoices.due import Circumstances, Reader, plan_config
from kivitendo_task_server.jobs.periodic_invoices.master_data import text_cursor
from kivitendo_task_server.jobs.periodic_invoices.model import Config
from kivitendo_task_server.jobs.periodic_invoices.outcome import Deactivated, Failure, Recorder
from kivitendo_task_server.jobs.periodic_invoices.periods import (
    expected_periods,
    life_cycle,
    lost_periods,
)
from kivitendo_task_server.jobs.periodic_invoices.reading import read_columns


@dataclass(frozen=True)
class Expected:
    """An invoice that a run would post."""

    run_date: date
    """The day of the run that posts it, if runs are daily."""
    ordnumber: str
    customer: str
    period: date
    netamount: float
    amount: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """All that would happen in one tenant until a day."""

    invoices: list[Expected]
    failures: list[Failure]
    warnings: list[str]
    """Orders that end with periods that nobody billed, and that will not be billed."""


def preview(connection: Connection, circumstances: Circumstances, until: date) -> Preview:
    """Plan the invoices of daily runs from now until the end of the day ``until``.

    The transaction is read-only and rolled back. Raises TaskServerError, psycopg2.Error.
    """
    silent = logging.Logger("preview")
    silent.addHandler(logging.NullHandler())
    recorder = Recorder(silent)

    def periods_of(config: Config) -> list[date]:
        if not life_cycle(config.terms, circumstances.now).active:
            ended = Deactivated(
                config.id,
                config.ordnumber,
                config.terms.end_date,
                tuple(lost_periods(config.terms, config.previous)),
            )
            if ended.lost:
                recorder.warning(f"{ended}")
            return []
        return expected_periods(
            config.terms,
            config.previous,
            circumstances.now,
            until,
            end_date_limits=circumstances.behaviour.end_date_limits,
        )

    cursor = text_cursor(connection)
    try:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        due = Reader(cursor, read_columns(connection), circumstances, recorder).due(periods_of)
    finally:
        connection.rollback()
    invoices = [
        Expected(
            run_date=max(circumstances.today, planned.period),
            ordnumber=planned.order.ordnumber,
            customer=planned.order.customer_name or "",
            period=planned.period,
            netamount=planned.netamount,
            amount=planned.amount,
            warnings=tuple(planned.warnings),
        )
        for config, periods in due.configs
        for planned in plan_config(due, config, periods, recorder)
    ]
    invoices.sort(key=lambda one: one.run_date)
    return Preview(invoices, recorder.outcome.failures, recorder.outcome.warnings)
