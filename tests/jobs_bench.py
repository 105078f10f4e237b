"""The bench that the tests of single jobs work on: one tenant, one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from psycopg2 import sql

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import DatabaseAccess, Settings
from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.jobs.data import parse_data
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult, JobRow

NOW = datetime(2026, 11, 22, 16, 0, 16, tzinfo=ZoneInfo("Europe/Berlin"))


@dataclass
class Bench:
    """One tenant, one transaction, and the knobs a test may turn before it runs a job."""

    access: DatabaseAccess
    connection: Connection
    settings: Settings
    kivitendo_dir: Path
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW))
    user: TenantUser = field(default_factory=lambda: TenantUser("demo", email="demo@x.de"))
    next_run_at: datetime | None = None

    @property
    def now(self) -> datetime:
        """The clock's time as kivitendo's tables hold it."""
        return self.clock.now().replace(tzinfo=None)

    def run(self, job: type[Job], data: str | None = None) -> JobResult:
        """Run the job; what it raised is raised."""
        context = self.context(job, data)
        result = job().run(context)
        return result if isinstance(result, JobResult) else JobResult(result)

    def context(self, job: type[Job], data: str | None) -> JobContext:
        return JobContext(
            tenant=Tenant(1, "Demo", self.access, self.user),
            connection=self.connection,
            settings=self.settings,
            clock=self.clock,
            log=logging.getLogger("kivitendo_task_server.tests"),
            job=JobRow(5, "interval", job.name, next_run_at=self.next_run_at, data=data),
            options=parse_data(data),
            kivitendo_dir=self.kivitendo_dir,
        )

    def change_settings(self, **changes: Any) -> None:
        """Work with other settings."""
        self.settings = replace(self.settings, **changes)

    def section(self, name: str, **values: str) -> None:
        """Set a section of the configuration."""
        self.change_settings(sections={**self.settings.sections, name: values})

    def on(self, day: str) -> None:
        """Set the clock to ``YYYY-MM-DD``, same time of day."""
        year, month, number = map(int, day.split("-"))
        self.clock.moment = NOW.replace(year=year, month=month, day=number)

    def execute(self, statement: str, *parameters: Any) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()

    def value(self, statement: str, *parameters: Any) -> Any:
        """The only value of the only row."""
        ((found,),) = self.rows(statement, *parameters)
        return found

    def column(self, statement: str, *parameters: Any) -> list[Any]:
        """The first column."""
        return [row[0] for row in self.rows(statement, *parameters)]

    def insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows, each given as column -> value."""
        for row in rows:
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join([sql.Placeholder()] * len(row)),
            )
            with self.connection.cursor() as cursor:
                cursor.execute(statement, list(row.values()))
