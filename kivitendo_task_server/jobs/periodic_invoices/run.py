"""One billing run: read all, plan in memory, write in blocks; a failing order stops only itself.

Section 7 of recurring-invoices.md. The rules that make a double invoice impossible:

* All is read in one snapshot, taken under a lock that waits for whoever is writing
  periodic_invoices, so every invoice that was begun before is seen. Without that lock the run is
  as safe, but slower.
* A block of invoices is written in one transaction, which first locks the orders and their
  configurations and then asks, with a new snapshot, whether anything changed since: the rows'
  versions, and periodic_invoices rows that the first snapshot had not. What changed falls out of
  the block.
* What fell out, and every invoice of a block that failed, is billed one by one: locked first, then
  read, planned and written in the same transaction. What somebody holds comes last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date

import psycopg2
import psycopg2.errors

from kivitendo_task_server.database.connection import Connection, one_line
from kivitendo_task_server.database.schema import Columns
from kivitendo_task_server.errors import DatabaseError, TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.ahead import (
    FIRST_BLOCK,
    Block,
    in_blocks,
    post_all,
)
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import as_real
from kivitendo_task_server.jobs.periodic_invoices.due import (
    PLANNING_ERRORS,
    Circumstances,
    Due,
    Reader,
    plan_config,
)
from kivitendo_task_server.jobs.periodic_invoices.ending import FirstPass
from kivitendo_task_server.jobs.periodic_invoices.locking import (
    find_order,
    lock_block,
    lock_config,
    lock_purchases,
)
from kivitendo_task_server.jobs.periodic_invoices.master_data import (
    Cursor,
    read_purchases,
    text_cursor,
)
from kivitendo_task_server.jobs.periodic_invoices.model import PlannedInvoice, PostedInvoice
from kivitendo_task_server.jobs.periodic_invoices.outcome import Outcome, Recorder
from kivitendo_task_server.jobs.periodic_invoices.planning import Planner
from kivitendo_task_server.jobs.periodic_invoices.posting import NumberRangeBusy, write
from kivitendo_task_server.jobs.periodic_invoices.reading import read_columns, read_configs
from kivitendo_task_server.jobs.periodic_invoices.transaction import TRANSIENT, StockChanged

ATTEMPTS = 3  # for one invoice, after deadlocks and the like
EARLIER_IDS = 1000  # ids taken before our snapshot whose rows may be written after it

Enqueue = Callable[[Cursor, list[PostedInvoice]], None]


class BillingRun:
    """Bills everything that is due in one tenant's database."""

    def __init__(
        self,
        connection: Connection,
        circumstances: Circumstances,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger],
        *,
        progress: Callable[[str], None] = lambda text: None,
        enqueue: Enqueue = lambda cursor, posted: None,
    ) -> None:
        """``enqueue`` records the deliveries of invoices in the transaction that posts them."""
        self._connection = connection
        self._circumstances = circumstances
        self._patience = circumstances.patience
        self._recorder = Recorder(log)
        self._progress = progress
        self._enqueue = enqueue
        self._cursor = text_cursor(connection)
        self._columns: Columns = {}
        self._billed_until: dict[int, date] = {}
        self._done: set[int] = set()
        """Configurations that nothing more is to be planned for in this run."""
        self._held: list[int] = []
        """Configurations that somebody holds; tried again at the end."""
        self._settled: set[int] = set()
        """Configurations that were billed singly, with success or not."""
        self._used_goods: dict[int, None] = {}
        """Purchases that this run has taken from, the one used last at the end."""

    @property
    def outcome(self) -> Outcome:
        """What has happened so far."""
        return self._recorder.outcome

    def run(self) -> Outcome:
        """Do it. Raises DatabaseError if the connection is lost."""
        try:
            self._columns = read_columns(self._connection)
            configs = read_configs(self._cursor, self._columns)
            self._connection.commit()
            ending = FirstPass(self._connection, self._cursor, self._circumstances, self._recorder)
            held = ending.run(configs, wait=False)
            self._done = ending.failed
            self._bill(self._read())
            if held:
                configs = read_configs(self._cursor, self._columns, held)
                self._connection.commit()
                ending.run(configs, wait=True)
        except psycopg2.Error as error:
            if self._connection.closed:
                raise DatabaseError(
                    f"the connection was lost after {len(self.outcome.posted)} invoices:"
                    f" {one_line(error)}",
                    remedy="what is missing is billed by the next run",
                ) from error
            self._connection.rollback()
            raise
        return self.outcome

    # -- reading ---------------------------------------------------------------------------------

    def _read(self) -> Due:
        """Read everything in one snapshot, after whoever is writing invoices has finished."""
        try:
            due = self._snapshot(wait=True)
        except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.LockNotAvailable):
            # the role may not lock the table, or somebody does not come to an end with it (it may
            # be a user who deletes an invoice): then all of it is looked at with every block
            due = self._snapshot(wait=False)
        closed = due.planner.master.defaults.closedto
        if due.configs and closed is not None and closed >= self._circumstances.today:
            self._recorder.warning(f"today lies in a closed period (until {closed})")
        return due

    def _snapshot(self, *, wait: bool) -> Due:
        with self._connection:
            # the lock comes before the snapshot, so the snapshot has what it waited for
            self._cursor.execute(
                f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; {self._patience.sql};"
                + (" LOCK TABLE periodic_invoices IN SHARE MODE" if wait else "")
            )
            seen = self._last_id() - EARLIER_IDS if wait else 0
            due = self._reader().due()
            due.newer_than = seen
            return due

    def _last_id(self) -> int:
        """The id given last by the sequence that periodic_invoices has its ids from."""
        # pg_sequences is content with the right to use the sequence
        self._cursor.execute(
            "SELECT coalesce(max(last_value), 0) FROM pg_sequences"
            " WHERE schemaname = 'public' AND sequencename = 'id'"
        )
        row = self._cursor.fetchone()
        return int(row[0]) if row else 0

    def _reader(self) -> Reader:
        return Reader(self._cursor, self._columns, self._circumstances, self._recorder)

    # -- planning ahead --------------------------------------------------------------------------

    def _bill(self, due: Due) -> None:
        try:
            self._post_all(due)
            for config_id in self._held:
                self._bill_singly(config_id)
        except NumberRangeBusy as error:
            for config, periods in due.configs:
                until = self._billed_until.get(config.id)
                rest = [day for day in periods if until is None or day > until]
                if rest and config.id not in self._settled:
                    self._recorder.failed(config.id, config.ordnumber, rest[0], error, rest[1:])

    def _post_all(self, due: Due) -> None:
        total = sum(len(periods) for _, periods in due.configs)

        def post(block: Block) -> None:
            self._post(due, block)
            self._progress(f"{len(self.outcome.posted)} of {total} invoices")

        # stock that a block has really taken must be known before the next is planned
        post_all(in_blocks(self._plans(due)), post, ahead=not due.planner.master.defaults.perpetual)

    def _plans(self, due: Due) -> Iterator[PlannedInvoice]:
        for config, periods in due.configs:
            for planned in plan_config(due, config, periods, self._recorder):
                if config.id in self._done:
                    break
                yield planned

    # -- a block at a time -----------------------------------------------------------------------

    def _post(self, due: Due, block: Block) -> None:
        """Write a block; if that fails, smaller ones, and at last its configurations singly."""
        # a configuration that fell out of a block before has been dealt with
        block = [planned for planned in block if planned.config.id not in self._done]
        try:
            with self._connection:
                self._patience.limit(self._cursor)
                locked = lock_block(self._cursor, due, block, self._billed_until)
                lock_purchases(self._cursor, due.allocated, locked.kept)
                posted = self._write(locked.kept, due.planner) if locked.kept else []
        except NumberRangeBusy:
            raise
        except (psycopg2.Error, TaskServerError, StockChanged) as error:
            if self._connection.closed:
                raise
            self._recorder.repeated(len(block), error)
            if len(block) > FIRST_BLOCK:
                for start in range(0, len(block), FIRST_BLOCK):
                    self._post(due, block[start : start + FIRST_BLOCK])
                return
            changed = [planned.config.id for planned in block]
        else:
            self._note(posted)
            self._put_off(locked.held)
            changed = locked.changed
            for planned in locked.kept:
                self._used(planned)
                for key, taken in planned.taken.items():
                    due.allocated[key] = as_real(due.allocated[key] + taken)
        for config_id in dict.fromkeys(changed):
            self._bill_singly(config_id)
        if changed and due.planner.master.defaults.perpetual:
            self._reread_stock(due)

    def _put_off(self, held: list[int]) -> None:
        for config_id in held:
            if config_id not in self._done:
                self._done.add(config_id)
                self._held.append(config_id)

    # -- one at a time ---------------------------------------------------------------------------

    def _bill_singly(self, config_id: int) -> None:
        """Bill one configuration, each period in a transaction that locks before it reads."""
        self._done.add(config_id)
        single = _Single(config_id)
        attempts = ATTEMPTS
        while True:
            try:
                with self._connection:
                    posted = self._bill_next(single)
            except NumberRangeBusy:
                raise
            except (psycopg2.Error, StockChanged, *PLANNING_ERRORS) as error:
                if self._connection.closed:
                    raise
                attempts -= 1
                if isinstance(error, TRANSIENT) and attempts:
                    continue
                self._recorder.failed(
                    config_id, single.ordnumber, single.period, error, single.later
                )
                break
            if posted is None:
                if not single.billed:
                    self._recorder.skipped(config_id, single.ordnumber)
                break
            attempts = ATTEMPTS
            single.billed = True
            self._note([posted])
            assert single.planned is not None
            self._used(single.planned)
        self._settled.add(config_id)

    def _bill_next(self, single: _Single) -> PostedInvoice | None:
        """Lock, read, plan and write the next due period; None if there is none."""
        self._patience.limit(self._cursor)
        single.period, single.later = None, []
        order_found = find_order(self._cursor, single.config_id)
        if order_found is None:
            return None
        order_id, single.ordnumber = order_found
        lock_config(self._cursor, order_id, single.config_id)
        due = self._reader().due(only=[single.config_id])
        for config, (period, *later) in due.configs:
            single.period, single.later = period, later
            order = due.orders[config.oe_id]
            due.planner.master.put_behind(self._used_goods)
            planned = due.planner.plan(config, order, due.open_items(order), period)
            lock_purchases(self._cursor, due.allocated, [planned])
            single.planned = planned
            return self._write([planned], due.planner)[0]
        return None

    # -- both ------------------------------------------------------------------------------------

    def _write(self, block: Block, planner: Planner) -> list[PostedInvoice]:
        posted = write(self._cursor, block, self._columns, planner.master.defaults)
        self._enqueue(self._cursor, posted)
        return posted

    def _note(self, posted: list[PostedInvoice]) -> None:
        """Remember what is committed."""
        self._billed_until.update((one.config_id, one.period) for one in posted)
        self._recorder.posted(posted)

    def _used(self, planned: PlannedInvoice) -> None:
        for key in planned.taken:
            self._used_goods.pop(key, None)
            self._used_goods[key] = None

    def _reread_stock(self, due: Due) -> None:
        master = due.planner.master
        with self._connection:
            fresh = read_purchases(self._cursor, list(master.purchases))
        master.purchases.clear()
        master.purchases.update(fresh)
        master.put_behind(self._used_goods)
        due.allocated = master.allocated()


@dataclass(slots=True)
class _Single:
    """What is being billed singly, for a failure's message."""

    config_id: int
    ordnumber: str = "?"
    period: date | None = None
    later: list[date] = field(default_factory=list)
    planned: PlannedInvoice | None = None
    billed: bool = False
