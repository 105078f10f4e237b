"""What the parts of a billing run share: its connection, and what it has done so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.schema import Columns
from kivitendo_task_server.jobs.periodic_invoices.due import Circumstances, Due, Reader
from kivitendo_task_server.jobs.periodic_invoices.master_data import (
    Cursor,
    read_purchases,
    text_cursor,
)
from kivitendo_task_server.jobs.periodic_invoices.model import PlannedInvoice, PostedInvoice
from kivitendo_task_server.jobs.periodic_invoices.outcome import Recorder
from kivitendo_task_server.jobs.periodic_invoices.planning import Planner
from kivitendo_task_server.jobs.periodic_invoices.posting import write

Enqueue = Callable[[Cursor, list[PostedInvoice]], None]
"""Records the deliveries of invoices in the transaction that posts them."""


@dataclass(slots=True)
class Session:
    """One run's work on one tenant's database."""

    connection: Connection
    circumstances: Circumstances
    recorder: Recorder
    enqueue: Enqueue
    cursor: Cursor = field(init=False)
    columns: Columns = field(init=False, default_factory=dict)
    billed_until: dict[int, date] = field(default_factory=dict)
    """Configuration -> the latest period that this run has billed."""
    done: set[int] = field(default_factory=set)
    """Configurations that nothing more is to be planned for in this run."""
    used_goods: dict[int, None] = field(default_factory=dict)
    """Purchases that this run has made or taken from, the one used last at the end."""

    def __post_init__(self) -> None:
        self.cursor = text_cursor(self.connection)

    def reader(self) -> Reader:
        """What reads the due periods in the current transaction."""
        return Reader(self.cursor, self.columns, self.circumstances, self.recorder)

    def limit_patience(self) -> None:
        """Limit how long the current transaction waits for others."""
        self.circumstances.patience.limit(self.cursor)

    def write(self, block: list[PlannedInvoice], planner: Planner) -> list[PostedInvoice]:
        """Write invoices and their deliveries; raises what posting.write does."""
        posted = write(self.cursor, block, self.columns, planner.master.defaults)
        self.enqueue(self.cursor, posted)
        return posted

    def note(self, posted: list[PostedInvoice], planned: list[PlannedInvoice]) -> None:
        """Remember what is committed."""
        self.billed_until.update((one.config_id, one.period) for one in posted)
        self.recorder.posted(posted)
        for one, plan in zip(posted, planned, strict=True):
            for key in (*one.returned, *plan.taken):
                self.used_goods.pop(key, None)
                self.used_goods[key] = None

    def reread_stock(self, due: Due) -> None:
        """Find out what is left after others, or single invoices, took or returned goods."""
        master = due.planner.master
        stocked = [part.id for part in master.parts.values() if part.part_type == "part"]
        with self.connection:
            fresh = read_purchases(self.cursor, stocked)
        master.purchases.clear()
        master.purchases.update(fresh)
        master.put_behind(self.used_goods)
        due.allocated = master.allocated()
