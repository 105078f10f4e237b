"""One billing run: read all, plan in memory, write in blocks; a failing order stops only itself.

Section 7 of recurring-invoices.md. The rules that make a double invoice impossible:

* All is read in one snapshot, taken under a lock that waits for whoever is writing
  periodic_invoices, so every invoice that was begun before is seen.
* A block of invoices is written in one transaction, which first locks the configurations and their
  orders and then asks, with a new snapshot, whether anything changed since: the rows' versions, and
  periodic_invoices rows with newer ids. What changed falls out of the block.
* What fell out, and every invoice of a block that failed, is billed one by one: locked first, then
  read, planned and written in the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from itertools import islice

import psycopg2
import psycopg2.errors

from kivitendo_task_server.database.connection import Connection, one_line
from kivitendo_task_server.database.schema import Columns
from kivitendo_task_server.errors import DatabaseError, JobFailed, TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import as_real
from kivitendo_task_server.jobs.periodic_invoices.due import (
    PLANNING_ERRORS,
    Circumstances,
    Due,
    Reader,
    plan_config,
)
from kivitendo_task_server.jobs.periodic_invoices.ending import FirstPass
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

BLOCK = 50  # invoices a transaction
ATTEMPTS = 3  # for one invoice, after deadlocks and the like
EARLIER_IDS = 1000  # ids that were taken before our snapshot and may be written after it

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
        self._locked: list[int] = []
        """Configurations that somebody holds; tried again at the end."""

    @property
    def outcome(self) -> Outcome:
        """What has happened so far."""
        return self._recorder.outcome

    def run(self) -> Outcome:
        """Do it. Raises JobFailed if another program is billing, DatabaseError if lost."""
        try:
            self._columns = read_columns(self._connection)
            configs = read_configs(self._cursor, self._columns)
            self._connection.commit()
            ending = FirstPass(self._connection, self._cursor, self._circumstances, self._recorder)
            self._done = ending.run(configs)
            self._bill(self._read())
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
        except psycopg2.errors.InsufficientPrivilege:
            # the role may only insert: then without waiting; blocks are checked all the same
            due = self._snapshot(wait=False)
        except psycopg2.errors.LockNotAvailable as error:
            raise JobFailed(
                "another program has been posting recurring invoices for too long",
                where="periodic_invoices",
                remedy="nothing was billed; the next run goes on where that program ends",
            ) from error
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
            return self._reader().due()

    def _reader(self) -> Reader:
        return Reader(self._cursor, self._columns, self._circumstances, self._recorder)

    # -- planning ahead --------------------------------------------------------------------------

    def _bill(self, due: Due) -> None:
        try:
            self._post_all(due)
            for config_id in self._locked:
                self._bill_singly(config_id)
        except NumberRangeBusy as error:
            for config, periods in due.configs:
                until = self._billed_until.get(config.id)
                if until != periods[-1]:
                    period = next((day for day in periods if until is None or day > until), None)
                    self._recorder.failed(config.id, config.ordnumber, period, error)

    def _post_all(self, due: Due) -> None:
        """Plan the next block while the one before is being written."""
        total = sum(len(periods) for _, periods in due.configs)
        # stock that a block has really taken must be known before the next is planned
        ahead = not due.planner.master.defaults.perpetual
        with ThreadPoolExecutor(1, "posting") as writer:
            writing: Future[None] | None = None
            for block in self._blocks(due):
                if writing is not None:
                    writing.result()
                    self._progress(f"{len(self.outcome.posted)} of {total} invoices")
                # a configuration that fell out of the block before has been dealt with singly
                block = [planned for planned in block if planned.config.id not in self._done]
                writing = writer.submit(self._post, due, block)
                if not ahead:
                    writing.result()
            if writing is not None:
                writing.result()

    def _blocks(self, due: Due) -> Iterator[list[PlannedInvoice]]:
        plans = self._plans(due)
        while block := list(islice(plans, BLOCK)):
            yield block

    def _plans(self, due: Due) -> Iterator[PlannedInvoice]:
        for config, periods in due.configs:
            for planned in plan_config(due, config, periods, self._recorder):
                if config.id in self._done:
                    break
                yield planned

    # -- a block at a time -----------------------------------------------------------------------

    def _post(self, due: Due, block: list[PlannedInvoice]) -> None:
        """Write a block; if that fails, bill its configurations one by one."""
        try:
            with self._connection:
                self._patience.limit(self._cursor)
                kept, changed = self._lock(due, block)
                self._lock_purchases(due.allocated, kept)
                posted = self._write(kept, due.planner) if kept else []
        except NumberRangeBusy:
            raise
        except (psycopg2.Error, TaskServerError, StockChanged) as error:
            if self._connection.closed:
                raise
            self._recorder.repeated(len(block), error)
            changed = [planned.config.id for planned in block]
        else:
            self._note(posted)
            for planned in kept:
                for key, taken in planned.taken.items():
                    due.allocated[key] = as_real(due.allocated[key] + taken)
        for config_id in dict.fromkeys(changed):
            self._bill_singly(config_id)
        if changed and due.planner.master.defaults.perpetual:
            self._reread_stock(due)

    def _lock(
        self, due: Due, block: list[PlannedInvoice]
    ) -> tuple[list[PlannedInvoice], list[int]]:
        """Lock what the block is made from; returns what is unchanged and what is not.

        A configuration or order that somebody holds is put off to the end of the run.
        """
        ids = list({planned.config.id for planned in block})
        self._cursor.execute(
            "SELECT config.id, config.xmin::text, oe.xmin::text"
            "  FROM periodic_invoices_configs config JOIN oe ON oe.id = config.oe_id"
            " WHERE config.id = ANY(%s) ORDER BY config.id"
            "   FOR UPDATE OF config SKIP LOCKED FOR NO KEY UPDATE OF oe SKIP LOCKED",
            (ids,),
        )
        versions = {row[0]: row[1:] for row in self._cursor}
        # a statement of its own: its snapshot is taken when the locks are ours
        self._cursor.execute(
            "SELECT config_id, max(period_start_date) FROM periodic_invoices"
            " WHERE id > %s AND config_id = ANY(%s) GROUP BY config_id",
            (due.newer_than - EARLIER_IDS, ids),
        )
        newest = dict(self._cursor.fetchall())
        kept, changed = [], []
        for planned in block:
            config, order = planned.config, planned.order
            until = self._billed_until.get(config.id, config.previous)
            if config.id not in versions:
                self._put_off(config.id)
            elif versions[config.id] == (config.version, order.version) and (
                newest.get(config.id) in (None, until)
            ):
                kept.append(planned)
            else:
                changed.append(config.id)
        return kept, changed

    def _put_off(self, config_id: int) -> None:
        if config_id not in self._done:
            self._done.add(config_id)
            self._locked.append(config_id)

    # -- one at a time ---------------------------------------------------------------------------

    def _bill_singly(self, config_id: int) -> None:
        """Bill one configuration, each period in a transaction that locks before it reads."""
        self._done.add(config_id)
        attempts = ATTEMPTS
        while True:
            single = _Single(config_id)
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
                self._recorder.failed(config_id, single.ordnumber, single.period, error)
                return
            if posted is None:
                return
            attempts = ATTEMPTS
            self._note([posted])

    def _bill_next(self, single: _Single) -> PostedInvoice | None:
        """Lock, read, plan and write the next due period; None if there is none."""
        self._patience.limit(self._cursor)
        self._cursor.execute(
            "SELECT oe.id, oe.ordnumber FROM periodic_invoices_configs config"
            "  JOIN oe ON oe.id = config.oe_id WHERE config.id = %s",
            (single.config_id,),
        )
        row = self._cursor.fetchone()
        if row is None:
            return None
        order_id, single.ordnumber = row
        self._cursor.execute(
            "SELECT 1 FROM periodic_invoices_configs WHERE id = %s FOR UPDATE", (single.config_id,)
        )
        self._cursor.execute("SELECT 1 FROM oe WHERE id = %s FOR NO KEY UPDATE", (order_id,))
        due = self._reader().due(only=[single.config_id])
        for config, periods in due.configs:
            single.period = periods[0]
            order = due.orders[config.oe_id]
            planned = due.planner.plan(config, order, due.open_items(order), periods[0])
            self._lock_purchases(due.allocated, [planned])
            return self._write([planned], due.planner)[0]
        return None

    # -- both ------------------------------------------------------------------------------------

    def _write(self, block: list[PlannedInvoice], planner: Planner) -> list[PostedInvoice]:
        posted = write(self._cursor, block, self._columns, planner.master.defaults)
        self._enqueue(self._cursor, posted)
        return posted

    def _note(self, posted: list[PostedInvoice]) -> None:
        """Remember what is committed."""
        self._billed_until.update((one.config_id, one.period) for one in posted)
        self._recorder.posted(posted)

    def _lock_purchases(self, expected: dict[int, float], block: list[PlannedInvoice]) -> None:
        """Lock the goods a block takes; raises StockChanged if others took some meanwhile."""
        keys = sorted({key for planned in block for key in planned.taken})
        if not keys:
            return
        self._cursor.execute(
            "SELECT id, allocated FROM invoice WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (keys,)
        )
        present = {key: float(allocated) for key, allocated in self._cursor}
        if any(present.get(key) != expected[key] for key in keys):
            raise StockChanged("goods were taken by another invoice meanwhile")

    def _reread_stock(self, due: Due) -> None:
        master = due.planner.master
        with self._connection:
            fresh = read_purchases(self._cursor, list(master.purchases))
        master.purchases.clear()
        master.purchases.update(fresh)
        due.allocated = master.allocated()


class _Single:
    """What is being billed singly, for a failure's message."""

    def __init__(self, config_id: int) -> None:
        self.config_id = config_id
        self.ordnumber = "?"
        self.period: date | None = None
