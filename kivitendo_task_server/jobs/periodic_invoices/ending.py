"""The first pass of a run: configurations are extended, or they end (section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import psycopg2
import psycopg2.errors

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.jobs.periodic_invoices.due import PLANNING_ERRORS, Circumstances
from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor
from kivitendo_task_server.jobs.periodic_invoices.model import Config
from kivitendo_task_server.jobs.periodic_invoices.outcome import Deactivated, Extended, Recorder
from kivitendo_task_server.jobs.periodic_invoices.periods import (
    LifeCycle,
    life_cycle,
    lost_periods,
)

_LOCK = "SELECT 1 FROM periodic_invoices_configs WHERE id = %s FOR NO KEY UPDATE"
_LOCK_OR_FAIL = f"{_LOCK} NOWAIT"


@dataclass(frozen=True)
class FirstPass:
    """Looks at the end dates of all active configurations; each is changed on its own."""

    connection: Connection
    cursor: Cursor
    circumstances: Circumstances
    recorder: Recorder
    failed: set[int] = field(default_factory=set)
    """Configurations that must not be billed."""

    def run(self, configs: list[Config], *, wait: bool) -> list[int]:
        """Extend and deactivate; returns what somebody holds, unless it is to be waited for."""
        held = []
        for config in configs:
            try:
                cycle = life_cycle(config.terms, self.circumstances.now)
                if cycle != LifeCycle(True, config.terms.end_date) and self._store(
                    config, cycle, wait
                ):
                    self._report(config, cycle)
            except (psycopg2.Error, *PLANNING_ERRORS) as error:
                if self.connection.closed:
                    raise
                if isinstance(error, psycopg2.errors.LockNotAvailable) and not wait:
                    held.append(config.id)
                    continue
                self.failed.add(config.id)
                self.recorder.failed(config.id, config.ordnumber, None, error)
        return held

    def _store(self, config: Config, cycle: LifeCycle, wait: bool) -> bool:
        """Whether the row still was as it had been read, and has been changed."""
        with self.connection:
            self.circumstances.patience.limit(self.cursor)
            self.cursor.execute(_LOCK if wait else _LOCK_OR_FAIL, (config.id,))
            self.cursor.execute(
                # kivitendo gives NULL columns their defaults whenever it saves the row
                "UPDATE periodic_invoices_configs SET active = %s, end_date = %s,"
                "       terminated = coalesce(terminated, false), print = coalesce(print, false)"
                " WHERE id = %s AND active AND end_date = %s",
                (cycle.active, cycle.end_date, config.id, config.terms.end_date),
            )
            return self.cursor.rowcount == 1

    def _report(self, config: Config, cycle: LifeCycle) -> None:
        old_end, new_end = config.terms.end_date, cycle.end_date
        assert old_end is not None and new_end is not None
        if cycle.active:
            self.recorder.outcome.extended.append(
                Extended(config.id, config.ordnumber, old_end, new_end)
            )
            return
        lost: list[date] = lost_periods(config.terms, config.previous)
        self.recorder.outcome.deactivated.append(
            Deactivated(config.id, config.ordnumber, old_end, tuple(lost))
        )
        if lost:
            self.recorder.warning(
                f"order {config.ordnumber} ended on {old_end} with {len(lost)} period(s) never"
                f" billed: {', '.join(map(str, lost))}"
            )
