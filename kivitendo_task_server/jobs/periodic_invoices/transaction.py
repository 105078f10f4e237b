"""How long a transaction of the run may wait, and what makes it worth another try."""

from __future__ import annotations

import psycopg2.errors

from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor

LOCK_TIMEOUT = "10s"
"""For one order that somebody is editing, and for the number range."""

STATEMENT_TIMEOUT = "120s"

TIMEOUTS = (
    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';"
    f" SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"
)


class StockChanged(Exception):  # noqa: N818 - a signal, not an error
    """Goods that were planned with have been taken by somebody else."""


TRANSIENT = (
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.SerializationFailure,
    StockChanged,
)
"""What may well succeed if it is simply tried again."""


def with_timeouts(cursor: Cursor) -> None:
    """Limit the waiting in the current transaction, so that one order delays only itself."""
    cursor.execute(TIMEOUTS)
