"""The first pass of a run: configurations are extended, or they end (section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import psycopg2

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


@dataclass(frozen=True)
class FirstPass:
    """Looks at the end dates of all active configurations; each is changed on its own."""

    connection: Connection
    cursor: Cursor
    circumstances: Circumstances
    recorder: Recorder

    def run(self, configs: list[Config]) -> set[int]:
        """Extend and deactivate; returns the ids of configurations that failed at that."""
        failed = set()
        for config in configs:
            try:
                cycle = life_cycle(config.terms, self.circumstances.now)
                if cycle != LifeCycle(True, config.terms.end_date) and self._store(config, cycle):
                    self._report(config, cycle)
            except (psycopg2.Error, *PLANNING_ERRORS) as error:
                if self.connection.closed:
                    raise
                failed.add(config.id)
                self.recorder.failed(config.id, config.ordnumber, None, error)
        return failed

    def _store(self, config: Config, cycle: LifeCycle) -> bool:
        """Whether the row still was as it had been read, and has been changed."""
        with self.connection:
            self.circumstances.patience.limit(self.cursor)
            self.cursor.execute(
                # terminated: kivitendo makes NULL false whenever it saves the row
                "UPDATE periodic_invoices_configs SET active = %s, end_date = %s,"
                "       terminated = coalesce(terminated, false)"
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
