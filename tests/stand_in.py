"""A stand-in kivitendo directory with real databases behind it, for tests of the Perl bridge."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from database_fixture import create_database, statement
from kivitendo_fixture import DEFAULTS

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import DatabaseAccess, Settings
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.demo.postgres import EmbeddedPostgres
from kivitendo_task_server.jobs.interface import JobContext, JobRow

STAND_IN = Path(__file__).parent / "stand_in_kivitendo"
USER = TenantUser("buchhaltung", email="buchhaltung@musterfirma.example")


@dataclass
class Kivitendo:
    """One tenant of the stand-in installation."""

    directory: Path
    tenant: Tenant
    settings: Settings
    connection: Connection

    def add_job(self, package_name: str, data: str | None = None) -> int:
        """A row of background_jobs; its id."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO background_jobs (type, package_name, active, data, cron_spec,"
                " description) VALUES ('interval', %s, true, %s, '0 3 * * *', 'a job')"
                " RETURNING id",
                (package_name, data),
            )
            row = cursor.fetchone()
            assert row is not None
            return int(row[0])

    def column(self, job: int, name: str) -> Any:
        """One column of a job's row as it is now in the database."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(f'SELECT "{name}" FROM background_jobs WHERE id = %s', (job,))  # noqa: S608
            row = cursor.fetchone()
            assert row is not None
            return row[0]

    def another_connection(self) -> Connection:
        """A second session in the tenant's database."""
        return connect(self.tenant.access, purpose="test, beside")

    def reconnect(self) -> None:
        """A session of its own for a forked process, which must not use its parent's."""
        self.connection = self.another_connection()

    def context(
        self, job: int, package_name: str, data: str | None = None, *, time_limit: int = 60
    ) -> JobContext:
        """What a worker passes to a job."""
        return JobContext(
            tenant=self.tenant,
            connection=self.connection,
            settings=self.settings,
            clock=FixedClock(datetime(2026, 3, 15, 12, tzinfo=ZoneInfo("Europe/Berlin"))),
            log=logging.getLogger("kivitendo_task_server.test"),
            job=JobRow(job, "interval", package_name, data=data),
            options={},
            kivitendo_dir=self.directory,
            time_limit=time_limit,
        )


@pytest.fixture(scope="module")
def kivitendo_databases(
    cluster: EmbeddedPostgres, templates: dict[str, str]
) -> Iterator[tuple[DatabaseAccess, DatabaseAccess]]:
    """An authentication database with one client and its task server user, and a tenant's one.

    Made once for a module: making a database costs more than a run of the bridge.
    """
    auth_access, tenant_access = (
        create_database(cluster, f"bridge_{kind}_{os.getpid()}", templates[kind])
        for kind in ("auth", "tenant")
    )
    auth = connect(auth_access, purpose="test")
    with auth, auth.cursor() as cursor:
        cursor.execute('INSERT INTO auth."user" (id, login) VALUES (1, %s)', (USER.login,))
        cursor.execute(
            "INSERT INTO auth.user_config VALUES (1, 'email', %s), (1, 'countrycode', 'de')",
            (USER.email,),
        )
        cursor.execute(
            "INSERT INTO auth.clients (id, name, dbhost, dbport, dbname, dbuser, dbpasswd,"
            " task_server_user_id) VALUES (7, 'Musterfirma', %s, %s, %s, %s, %s, 1)",
            (
                tenant_access.host, tenant_access.port, tenant_access.name,
                tenant_access.user, tenant_access.password,
            ),
        )  # fmt: skip
    auth.close()
    yield auth_access, tenant_access
    for access in (auth_access, tenant_access):
        statement(cluster, f"DROP DATABASE {access.name} WITH (FORCE)")


@pytest.fixture
def kivitendo(
    tmp_path: Path,
    cluster: EmbeddedPostgres,
    kivitendo_databases: tuple[DatabaseAccess, DatabaseAccess],
) -> Iterator[Kivitendo]:
    """A copy of the stand-in directory with its configuration file, and one tenant."""
    auth_access, tenant_access = kivitendo_databases
    directory = tmp_path / "kivitendo"
    shutil.copytree(STAND_IN, directory)
    (directory / "users" / "session_files").mkdir(parents=True)
    config_file = directory / "config" / "kivitendo.conf"
    config_file.parent.mkdir()
    (config_file.parent / "kivitendo.conf.default").write_text(DEFAULTS)
    config_file.write_text(
        "[authentication/database]\n"
        f"host = {auth_access.host}\nport = {auth_access.port}\ndb = {auth_access.name}\n"
        f"user = {auth_access.user}\npassword = {auth_access.password}\n"
        "[system]\nlanguage = en\n"
    )
    settings = Settings(
        auth_database=auth_access,
        config_file=config_file,
        environment={"STAND_IN_PSQL": str(cluster.programs / "psql")},
    )
    connection = connect(tenant_access, purpose="test")
    yield Kivitendo(directory, Tenant(7, "Musterfirma", tenant_access, USER), settings, connection)
    connection.close()
