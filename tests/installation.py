"""A kivitendo installation as the service sees it: directory, configuration, databases."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kivitendo_task_server.config.settings import DatabaseAccess, Loaded, load
from kivitendo_task_server.database.connection import Connection, connect

Rows = list[tuple[Any, ...]]


def execute(access: DatabaseAccess, sql: str, *values: Any) -> Rows:
    """Run one statement in a transaction of its own; its rows."""
    connection = connect(access, purpose="test")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@dataclass
class Installation:
    """Directory, authentication database and tenants of one kivitendo."""

    directory: Path
    auth: DatabaseAccess
    tenants: dict[str, DatabaseAccess] = field(default_factory=dict)

    @property
    def config_file(self) -> Path:
        """The local configuration file."""
        return self.directory / "config" / "kivitendo.conf"

    def create(self) -> None:
        """Make the directory and the task server's user."""
        (self.directory / "config").mkdir(parents=True)
        (self.directory / "users").mkdir()
        (self.directory / "config" / "kivitendo.conf.default").write_text(
            "[task_server]\nlogin =\nclient =\n[authentication/database]\n"
        )
        self.configure()
        execute(self.auth, "INSERT INTO auth.\"user\" (login) VALUES ('service')")

    def configure(self, task_server: str = "", more: str = "") -> None:
        """Write the configuration file; ``task_server`` are lines of that section."""
        access = self.auth
        self.config_file.write_text(
            f"[authentication/database]\nhost = {access.host}\nport = {access.port}\n"
            f"db = {access.name}\nuser = {access.user}\npassword = {access.password}\n"
            f"[task_server]\n{task_server}\n{more}\n"
        )

    def load(self) -> Loaded:
        """The settings, as the command reads them."""
        return load(self.config_file, kivitendo_dir=self.directory)

    def add_tenant(self, name: str, access: DatabaseAccess, *, enabled: bool = True) -> None:
        """Register a tenant's database in the authentication database."""
        self.tenants[name] = access
        execute(
            self.auth,
            "INSERT INTO auth.clients (name, dbhost, dbport, dbname, dbuser, dbpasswd,"
            " task_server_user_id) SELECT %s, %s, %s, %s, %s, %s, CASE WHEN %s THEN id END"
            " FROM auth.\"user\" WHERE login = 'service'",
            name,
            access.host,
            access.port,
            access.name,
            access.user,
            access.password,
            enabled,
        )

    def connection(self, name: str) -> Connection:
        """A new connection to a tenant's database."""
        return connect(self.tenants[name], purpose="test")

    def execute(self, name: str, sql: str, *values: Any) -> Rows:
        """Run one statement in a tenant's database."""
        return execute(self.tenants[name], sql, *values)


def add_job(
    access: DatabaseAccess,
    package_name: str = "Test",
    *,
    type: str | None = "interval",
    active: bool | None = True,
    cron_spec: str | None = "0 3 * * *",
    next_run_at: Any = "2020-01-01 03:00:00",
    last_run_at: Any = None,
    data: str | None = None,
    node_id: str | None = None,
    description: str | None = None,
) -> int:
    """Insert a row of background_jobs, by default a due one; its id."""
    rows = execute(
        access,
        "INSERT INTO background_jobs (type, package_name, active, cron_spec, next_run_at,"
        " last_run_at, data, node_id, description)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        type, package_name, active, cron_spec, next_run_at, last_run_at, data, node_id,
        description,
    )  # fmt: skip
    return int(rows[0][0])
