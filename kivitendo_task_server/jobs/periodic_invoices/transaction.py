"""How long a transaction of the run may wait, and what makes it worth another try."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg2.errors

from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor


@dataclass(frozen=True)
class Patience:
    """How long the run waits, so that one order delays only itself."""

    lock: str = "10s"
    """For one order that somebody is editing, and for the number range."""

    statement: str = "120s"

    def limit(self, cursor: Cursor) -> None:
        """Limit the waiting in the current transaction."""
        cursor.execute(self.sql)

    @property
    def sql(self) -> str:
        """The statements that do so."""
        return (
            f"SET LOCAL lock_timeout = '{self.lock}';"
            f" SET LOCAL statement_timeout = '{self.statement}'"
        )


class StockChanged(Exception):  # noqa: N818 - a signal, not an error
    """Goods that were planned with have been taken by somebody else."""


TRANSIENT = (
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.SerializationFailure,
    StockChanged,
)
"""What may well succeed if it is simply tried again."""
