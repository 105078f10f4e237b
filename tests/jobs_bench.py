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


MORE_TABLES = Path(__file__).with_name("integration") / "jobs" / "more_tables.sql"
"""Tables that the demo's schema has not, for tests of jobs."""

BASIC_ROWS = """
INSERT INTO currencies (id, name) VALUES (1, 'EUR');
INSERT INTO chart (id, accno, description, charttype, category, link) VALUES
    (10, '1400', 'Forderungen', 'A', 'A', 'AR'), (11, '1600', 'Verbindlichkeiten', 'A', 'L', 'AP');
INSERT INTO countries (id, iso2, description_en, description_de) VALUES
    (1, 'DE', 'Germany', 'Deutschland');
INSERT INTO defaults (currency_id, ar_chart_id, ap_chart_id, address_country_id)
    VALUES (1, 10, 11, 1);
INSERT INTO tax_zones (id, description, sortkey) VALUES (1, 'Inland', 1);
INSERT INTO units (name, sortkey) VALUES ('Stck', 1);
INSERT INTO part_classifications (id, description) VALUES (0, 'none');
INSERT INTO project_types (id, position) VALUES (1, 1);
INSERT INTO project_statuses (id, name, description, position) VALUES
    (1, 'presales', 'Akquise', 1), (2, 'planning', 'In Planung', 2),
    (3, 'running', 'In Bearbeitung', 3), (4, 'done', 'Abgeschlossen', 4);
INSERT INTO employee (id, login, name) VALUES (100, 'demo', 'Demo Benutzer');
"""
"""Rows every tenant has."""


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
