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
from kivitendo_task_server.jobs.periodic_invoices.master_data import (
    Cursor,
    read_purchases,
    text_cursor,
)
from kivitendo_task_server.jobs.periodic_invoices.model import Config, PlannedInvoice
from kivitendo_task_server.jobs.periodic_invoices.outcome import (
    Deactivated,
    Extended,
    Failure,
    Outcome,
    failure_text,
)
from kivitendo_task_server.jobs.periodic_invoices.periods import life_cycle, lost_periods
from kivitendo_task_server.jobs.periodic_invoices.planning import Planner
from kivitendo_task_server.jobs.periodic_invoices.posting import (
    NumberRangeBusy,
    PostedInvoice,
    write,
)
from kivitendo_task_server.jobs.periodic_invoices.reading import read_columns, read_configs
from kivitendo_task_server.log import fields

BLOCK = 50  # invoices a transaction
ATTEMPTS = 3  # for one invoice, after deadlocks and the like
LOCK_TIMEOUT = "10s"  # for one order that somebody is editing, and for the number range
STATEMENT_TIMEOUT = "120s"
EARLIER_IDS = 1000  # ids that were taken before our snapshot and may be written after it

_TRANSIENT = (
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.SerializationFailure,
)


class _StockChanged(Exception):  # noqa: N818 - a signal between two functions
    """Goods that were planned with have been taken by somebody else."""


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
        self._log = log
        self._progress = progress
        self._enqueue = enqueue
        self._cursor = text_cursor(connection)
        self._columns: Columns = {}
        self._billed_until: dict[int, date] = {}
        self._done: set[int] = set()
        """Configurations that nothing more is to be tried for in this run."""
        self._locked: list[int] = []
        """Configurations that somebody holds; tried again at the end."""
        self._single: tuple[str, date | None] = ("", None)
        """Order number and period that is being billed singly, for a failure's message."""
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Do it. Raises JobFailed if another program is billing, DatabaseError if lost."""
        try:
            self._columns = read_columns(self._connection)
            self._connection.commit()
            self._life_cycles()
            due = self._read()
            self._bill(due)
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

    # -- first pass: extension and deactivation ------------------------------------------------

    def _life_cycles(self) -> None:
        """Extend or deactivate configurations by their end dates, each on its own (2.3)."""
        with self._connection:
            configs = read_configs(self._cursor, self._columns)
        for config in configs:
            try:
                cycle = life_cycle(config.terms, self._circumstances.now)
            except PLANNING_ERRORS as error:
                self._fail(config, None, error)
                continue
            if cycle.active and cycle.end_date == config.terms.end_date:
                continue
            try:
                changed = self._store_life_cycle(config, cycle.active, cycle.end_date)
            except psycopg2.Error as error:
                self._fail(config, None, error)
                continue
            if changed and cycle.active:
                assert config.terms.end_date and cycle.end_date
                self.outcome.extended.append(
                    Extended(config.id, config.ordnumber, config.terms.end_date, cycle.end_date)
                )
            elif changed:
                self._report_deactivated(config)

    def _store_life_cycle(self, config: Config, active: bool, end_date: date | None) -> bool:
        with self._connection:
            self._begin()
            self._cursor.execute(
                # terminated: kivitendo makes NULL false whenever it saves the row
                "UPDATE periodic_invoices_configs SET active = %s, end_date = %s,"
                "       terminated = coalesce(terminated, false)"
                " WHERE id = %s AND active AND end_date = %s",
                (active, end_date, config.id, config.terms.end_date),
            )
            return self._cursor.rowcount == 1

    def _report_deactivated(self, config: Config) -> None:
        lost = tuple(lost_periods(config.terms, config.previous))
        self.outcome.deactivated.append(
            Deactivated(config.id, config.ordnumber, config.terms.end_date, lost)
        )
        if lost:
            self.outcome.warnings.append(
                f"order {config.ordnumber} ended on {config.terms.end_date} with"
                f" {len(lost)} period(s) never billed: {', '.join(map(str, lost))}"
            )

    # -- second pass: billing --------------------------------------------------------------------

    def _read(self) -> Due:
        """Read everything in one snapshot, after whoever is writing invoices has finished."""
        try:
            return self._read_snapshot(wait=True)
        except psycopg2.errors.InsufficientPrivilege:
            # the role may only insert: then without waiting; blocks are checked all the same
            self._connection.rollback()
            return self._read_snapshot(wait=False)
        except psycopg2.errors.LockNotAvailable as error:
            self._connection.rollback()
            raise JobFailed(
                "another program has been posting recurring invoices for too long",
                where="periodic_invoices",
                remedy="nothing was billed; the next run goes on where that program ends",
            ) from error

    def _read_snapshot(self, *, wait: bool) -> Due:
        reader = Reader(self._cursor, self._columns, self._circumstances)
        with self._connection:
            # the lock comes before the snapshot, so the snapshot has what it waited for
            self._cursor.execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;"
                f" SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';"
                f" SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}';"
                + (" LOCK TABLE periodic_invoices IN SHARE MODE" if wait else "")
            )
            due = reader.due()
        for failure in reader.failures:
            if failure.config_id not in self._done:
                self._note_failure(failure)
        closed = due.planner.master.defaults.closedto
        if due.configs and closed is not None and closed >= self._circumstances.today:
            self.outcome.warnings.append(f"today lies in a closed period (until {closed})")
        return due

    def _bill(self, due: Due) -> None:
        try:
            self._post_all(due)
            for config_id in self._locked:
                self._bill_singly(config_id)
        except NumberRangeBusy as error:
            self._connection.rollback()
            waiting = [
                config.ordnumber
                for config, periods in due.configs
                if config.id not in self._done and self._billed_until.get(config.id) != periods[-1]
            ]
            self.outcome.failures.append(Failure(0, ", ".join(waiting), None, str(error)))
            self.outcome.skipped += [f"order {number}: {error.what}" for number in waiting]

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
            if config.id in self._done:
                continue
            failures: list[Failure] = []
            for planned in plan_config(due, config, periods, failures):
                if config.id in self._done:
                    break
                yield planned
            if config.id not in self._done:
                for failure in failures:
                    self._note_failure(failure)

    def _post(self, due: Due, block: list[PlannedInvoice]) -> None:
        """Write a block; if that fails, bill its configurations one by one."""
        try:
            with self._connection:
                self._begin()
                kept, changed = self._lock(due, block)
                self._lock_purchases(due.allocated, kept)
                posted = self._write(kept, due.planner) if kept else []
        except NumberRangeBusy:
            raise
        except (psycopg2.Error, TaskServerError, _StockChanged) as error:
            if self._connection.closed:
                raise
            self._log.info(
                "a block of %d invoices is repeated one by one: %s",
                len(block),
                one_line(error),
                extra=fields("block_repeated"),
            )
            posted = []
            changed = list(dict.fromkeys(planned.config.id for planned in block))
        else:
            self._note_posted(posted)
            for one in posted:
                for key, taken in one.planned.taken.items():
                    due.allocated[key] = as_real(due.allocated[key] + taken)
        for config_id in changed:
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
                self._locked.append(config.id)
                self._done.add(config.id)
            elif versions[config.id] == (config.version, order.version) and (
                newest.get(config.id) in (None, until)
            ):
                kept.append(planned)
            else:
                changed.append(config.id)
        self._locked = list(dict.fromkeys(self._locked))
        changed = list(dict.fromkeys(changed))
        return kept, changed

    def _bill_singly(self, config_id: int) -> None:
        """Bill one configuration, each period in a transaction that locks before it reads."""
        self._done.add(config_id)
        attempts = ATTEMPTS
        while True:
            try:
                with self._connection:
                    posted = self._bill_next(config_id)
            except (*_TRANSIENT, _StockChanged) as error:
                attempts -= 1
                if not attempts:
                    self._fail_singly(config_id, error)
                    return
                continue
            except NumberRangeBusy:
                raise
            except (psycopg2.Error, *PLANNING_ERRORS) as error:
                if self._connection.closed:
                    raise
                self._fail_singly(config_id, error)
                return
            if posted is None:
                return
            attempts = ATTEMPTS
            self._note_posted([posted])

    def _bill_next(self, config_id: int) -> PostedInvoice | None:
        """Lock, read, plan and write the next due period; None if there is none."""
        self._single = ("", None)
        self._begin()
        self._cursor.execute(
            "SELECT oe_id FROM periodic_invoices_configs WHERE id = %s FOR UPDATE", (config_id,)
        )
        row = self._cursor.fetchone()
        if row is None:
            return None
        self._cursor.execute("SELECT id FROM oe WHERE id = %s FOR NO KEY UPDATE", row)
        due = Reader(self._cursor, self._columns, self._circumstances).due(only=[config_id])
        for config, periods in due.configs:
            self._single = (config.ordnumber, periods[0])
            order = due.orders[config.oe_id]
            planned = due.planner.plan(config, order, due.open_items(order), periods[0])
            self._lock_purchases(due.allocated, [planned])
            return self._write([planned], due.planner)[0]
        return None

    def _write(self, block: list[PlannedInvoice], planner: Planner) -> list[PostedInvoice]:
        posted = write(self._cursor, block, self._columns, planner.master.defaults)
        self._enqueue(self._cursor, posted)
        return posted

    def _lock_purchases(self, expected: dict[int, float], block: list[PlannedInvoice]) -> None:
        """Lock the goods a block takes; raises _StockChanged if others took some meanwhile."""
        keys = sorted({key for planned in block for key in planned.taken})
        if not keys:
            return
        self._cursor.execute(
            "SELECT id, allocated FROM invoice WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (keys,)
        )
        present = {key: float(allocated) for key, allocated in self._cursor}
        if any(present.get(key) != expected[key] for key in keys):
            raise _StockChanged("goods were taken by another invoice meanwhile")

    def _reread_stock(self, due: Due) -> None:
        with self._connection:
            fresh = read_purchases(self._cursor, list(due.planner.master.purchases))
        due.planner.master.purchases.clear()
        due.planner.master.purchases.update(fresh)
        due.allocated = due.planner.master.allocated()

    # -- notes --------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._cursor.execute(
            f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';"
            f" SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"
        )

    def _note_posted(self, posted: list[PostedInvoice]) -> None:
        """Only after the commit."""
        for one in posted:
            planned = one.planned
            self._billed_until[planned.config.id] = planned.period
            self.outcome.posted.append(one)
            self.outcome.warnings += [
                f"invoice {one.invnumber} (order {planned.order.ordnumber}): {warning}"
                for warning in planned.warnings
            ]
            self._log.info(
                "invoice posted",
                extra=fields(
                    "invoice_posted",
                    invnumber=one.invnumber,
                    order=planned.order.ordnumber,
                    period=planned.period,
                    amount=f"{planned.amount:.2f}",
                ),
            )

    def _fail(self, config: Config, period: date | None, error: Exception) -> None:
        self._done.add(config.id)
        self._note_failure(Failure(config.id, config.ordnumber, period, failure_text(error)))

    def _fail_singly(self, config_id: int, error: Exception) -> None:
        ordnumber, period = self._single
        if not ordnumber:
            ordnumber = self._ordnumber(config_id)
        self._note_failure(Failure(config_id, ordnumber, period, failure_text(error)))

    def _note_failure(self, failure: Failure) -> None:
        if any(known.config_id == failure.config_id for known in self.outcome.failures):
            return  # its block was repeated, and with it the failure
        self.outcome.failures.append(failure)
        self._log.warning(
            "%s",
            failure.message,
            extra=fields(
                "invoice_failed",
                order=failure.ordnumber,
                period=failure.period or "-",
                config=failure.config_id,
            ),
        )

    def _ordnumber(self, config_id: int) -> str:
        with self._connection:
            self._cursor.execute(
                "SELECT oe.ordnumber FROM oe JOIN periodic_invoices_configs config"
                "    ON config.oe_id = oe.id WHERE config.id = %s",
                (config_id,),
            )
            row = self._cursor.fetchone()
        return str(row[0]) if row else "?"
