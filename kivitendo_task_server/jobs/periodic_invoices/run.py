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

import psycopg2
import psycopg2.errors

from kivitendo_task_server.database.connection import Connection, one_line
from kivitendo_task_server.errors import DatabaseError, TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.ahead import (
    FIRST_BLOCK,
    Block,
    in_blocks,
    post_all,
)
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import real_sum
from kivitendo_task_server.jobs.periodic_invoices.due import (
    Circumstances,
    Due,
    plan_config,
)
from kivitendo_task_server.jobs.periodic_invoices.ending import FirstPass
from kivitendo_task_server.jobs.periodic_invoices.lines import row_lines
from kivitendo_task_server.jobs.periodic_invoices.locking import lock_block, lock_purchases
from kivitendo_task_server.jobs.periodic_invoices.model import PlannedInvoice
from kivitendo_task_server.jobs.periodic_invoices.outcome import Outcome, Recorder
from kivitendo_task_server.jobs.periodic_invoices.posting import NumberRangeBusy
from kivitendo_task_server.jobs.periodic_invoices.reading import read_columns, read_configs
from kivitendo_task_server.jobs.periodic_invoices.session import Enqueue, Session
from kivitendo_task_server.jobs.periodic_invoices.singly import bill_singly
from kivitendo_task_server.jobs.periodic_invoices.transaction import StockChanged

EARLIER_IDS = 1000  # ids taken before our snapshot whose rows may be written after it


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
        self._session = Session(connection, circumstances, Recorder(log), enqueue)
        self._progress = progress
        self._held: list[int] = []
        """Configurations that somebody holds; tried again at the end."""
        self._settled: set[int] = set()
        """Configurations that were billed singly, with success or not."""

    @property
    def outcome(self) -> Outcome:
        """What has happened so far."""
        return self._session.recorder.outcome

    def run(self) -> Outcome:
        """Do it. Raises DatabaseError if the connection is lost."""
        session = self._session
        connection, cursor = session.connection, session.cursor
        try:
            session.columns = read_columns(connection)
            configs = read_configs(cursor, session.columns, ended_by=session.circumstances.today)
            connection.commit()
            ending = FirstPass(connection, cursor, session.circumstances, session.recorder)
            held = ending.run(configs, wait=False)
            session.done = ending.failed
            self._bill(self._read())
            if held:
                configs = read_configs(cursor, session.columns, held)
                connection.commit()
                ending.run(configs, wait=True)
        except psycopg2.Error as error:
            if connection.closed:
                raise DatabaseError(
                    f"the connection was lost after {len(self.outcome.posted)} invoices:"
                    f" {one_line(error)}",
                    remedy="what is missing is billed by the next run",
                ) from error
            connection.rollback()
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
        if due.configs and closed is not None and closed >= self._session.circumstances.today:
            self._session.recorder.warning(f"today lies in a closed period (until {closed})")
        return due

    def _snapshot(self, *, wait: bool) -> Due:
        with self._session.connection:
            # the lock comes before the snapshot, so the snapshot has what it waited for
            self._session.cursor.execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;"
                f" {self._session.circumstances.patience.sql};"
                + (" LOCK TABLE periodic_invoices IN SHARE MODE" if wait else "")
            )
            seen = self._last_id() - EARLIER_IDS if wait else 0
            due = self._session.reader().due()
            due.newer_than = seen
            return due

    def _last_id(self) -> int:
        """The id given last by the sequence that periodic_invoices has its ids from."""
        # pg_sequences is content with the right to use the sequence
        self._session.cursor.execute(
            "SELECT coalesce(max(last_value), 0) FROM pg_sequences"
            " WHERE schemaname = 'public' AND sequencename = 'id'"
        )
        row = self._session.cursor.fetchone()
        return int(row[0]) if row else 0

    # -- planning ahead --------------------------------------------------------------------------

    def _bill(self, due: Due) -> None:
        try:
            self._post_all(due)
            for config_id in self._held:
                self._bill_singly(config_id)
        except NumberRangeBusy as error:
            for config, periods in due.configs:
                until = self._session.billed_until.get(config.id)
                rest = [day for day in periods if until is None or day > until]
                if rest and config.id not in self._settled:
                    self._session.recorder.failed(
                        config.id, config.ordnumber, rest[0], error, rest[1:]
                    )

    def _post_all(self, due: Due) -> None:
        total = sum(len(periods) for _, periods in due.configs)

        def post(block: Block) -> None:
            self._post(due, block)
            self._progress(f"{len(self.outcome.posted)} of {total} invoices")

        # stock that a block has really taken must be known before the next is planned
        post_all(in_blocks(self._plans(due)), post, ahead=not due.planner.master.defaults.perpetual)

    def _plans(self, due: Due) -> Iterator[PlannedInvoice]:
        recorder, done = self._session.recorder, self._session.done
        for config, periods in due.configs:
            for planned in plan_config(due, config, periods, recorder, done):
                planned.rows = row_lines(planned, self._session.columns)
                yield planned

    # -- a block at a time -----------------------------------------------------------------------

    def _post(self, due: Due, block: Block) -> None:
        """Write a block; if that fails, smaller ones, and at last its configurations singly."""
        session, cursor = self._session, self._session.cursor
        # a configuration that fell out of a block before has been dealt with
        block = [planned for planned in block if planned.config.id not in session.done]
        if not block:
            return
        if block[0].alone:
            self._bill_alone(due, block)
            return
        try:
            with session.connection:
                session.limit_patience()
                locked = lock_block(cursor, due, block, session.billed_until)
                lock_purchases(cursor, due.allocated, locked.kept)
                posted = session.write(locked.kept, due.planner) if locked.kept else []
        except NumberRangeBusy:
            raise
        except (psycopg2.Error, TaskServerError, StockChanged) as error:
            if session.connection.closed:
                raise
            session.recorder.repeated(len(block), error)
            # with goods all later plans rest on those before, which may not come true
            if len(block) > FIRST_BLOCK and not due.planner.master.defaults.perpetual:
                for start in range(0, len(block), FIRST_BLOCK):
                    self._post(due, block[start : start + FIRST_BLOCK])
                return
            changed, kept = [planned.config.id for planned in block], []
        else:
            session.note(posted, locked.kept)
            self._put_off(locked.held)
            changed, kept = locked.changed, locked.kept
            for planned in kept:
                for key, taken in planned.taken.items():
                    due.allocated[key] = real_sum(due.allocated[key], taken)
        for config_id in dict.fromkeys(changed):
            self._bill_singly(config_id)
        # later plans assume that all of this block came true, and that nothing came back with it
        as_planned = len(kept) == len(block) and not any(one.returns_goods for one in block)
        if due.planner.master.defaults.perpetual and not as_planned:
            session.reread_stock(due)

    def _bill_alone(self, due: Due, block: Block) -> None:
        """Bill the configuration of a block of its own, unless somebody holds it just now."""
        with self._session.connection:
            locked = lock_block(self._session.cursor, due, block, self._session.billed_until)
        if locked.held:
            self._put_off(locked.held)
        else:
            self._bill_singly(block[0].config.id)
        if due.planner.master.defaults.perpetual:
            self._session.reread_stock(due)

    def _put_off(self, held: list[int]) -> None:
        for config_id in held:
            if config_id not in self._session.done:
                self._session.done.add(config_id)
                self._held.append(config_id)

    def _bill_singly(self, config_id: int) -> None:
        bill_singly(self._session, config_id)
        self._settled.add(config_id)
