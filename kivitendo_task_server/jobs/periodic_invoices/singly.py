"""Billing one configuration: locked first, then read, planned and written in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import psycopg2

from kivitendo_task_server.jobs.periodic_invoices.due import PLANNING_ERRORS
from kivitendo_task_server.jobs.periodic_invoices.locking import (
    find_order,
    lock_config,
    lock_purchases,
)
from kivitendo_task_server.jobs.periodic_invoices.model import PlannedInvoice, PostedInvoice
from kivitendo_task_server.jobs.periodic_invoices.posting import NumberRangeBusy
from kivitendo_task_server.jobs.periodic_invoices.session import Session
from kivitendo_task_server.jobs.periodic_invoices.transaction import TRANSIENT, StockChanged

ATTEMPTS = 3  # for one invoice, after deadlocks and the like
GOODS_ATTEMPTS = 100  # each time others have come to an end with theirs, and they are not endless


def bill_singly(session: Session, config_id: int) -> None:
    """Bill what is due of a configuration, a transaction each period, until it fails or is done.

    Raises NumberRangeBusy, and psycopg2.Error if the connection is lost; other failures are
    recorded.
    """
    single = _Single(session, config_id)
    session.done.add(config_id)
    attempts, goods_attempts = ATTEMPTS, GOODS_ATTEMPTS
    billed = False
    while True:
        try:
            with session.connection:
                posted = single.bill_next()
        except NumberRangeBusy:
            raise
        except (psycopg2.Error, StockChanged, *PLANNING_ERRORS) as error:
            if session.connection.closed:
                raise
            if isinstance(error, StockChanged):
                goods_attempts -= 1
            else:
                attempts -= 1
            if isinstance(error, TRANSIENT) and attempts and goods_attempts:
                continue
            session.recorder.failed(config_id, single.ordnumber, single.period, error, single.later)
            return
        if posted is None:
            if not billed:
                session.recorder.skipped(config_id, single.ordnumber)
            return
        attempts, goods_attempts = ATTEMPTS, GOODS_ATTEMPTS
        billed = True
        session.note([posted], single.planned)


@dataclass(slots=True)
class _Single:
    """The configuration being billed; what it has come to is for a failure's message."""

    session: Session
    config_id: int
    ordnumber: str = "?"
    period: date | None = None
    later: list[date] = field(default_factory=list)
    planned: list[PlannedInvoice] = field(default_factory=list)

    def bill_next(self) -> PostedInvoice | None:
        """Lock, read, plan and write the next due period; None if there is none."""
        session, cursor = self.session, self.session.cursor
        session.limit_patience()
        self.period, self.later = None, []
        order_found = find_order(cursor, self.config_id)
        if order_found is None:
            return None
        order_id, self.ordnumber = order_found
        lock_config(cursor, order_id, self.config_id)
        due = session.reader().due(only=[self.config_id])
        for config, (period, *later) in due.configs:
            self.period, self.later = period, later
            order = due.orders[config.oe_id]
            due.planner.master.put_behind(session.used_goods)
            self.planned = [due.planner.plan(config, order, due.open_items(order), period)]
            lock_purchases(cursor, due.allocated, self.planned)
            return session.write(self.planned, due.planner)[0]
        return None
