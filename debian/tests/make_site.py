"""Makes a kivitendo of this machine: a directory, databases on the local PostgreSQL, due orders.

Run as root where the package is installed, with python3; the argument is the directory. The rows
are those of "kivitendo-task-server demo", so CreatePeriodicInvoices is due at once.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import connect
from kivitendo_task_server.demo import kivitendo_folder, tenant_data
from kivitendo_task_server.demo.scenario import COMPANIES

ROLE = "kivitendo"
AUTH = "kivitendo_auth"
SCHEMAS = Path(kivitendo_folder.__file__).parent


def main() -> None:
    """Databases first, then the directory that names them."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "/var/www/kivitendo-erp")
    owner = pwd.getpwnam("www-data")
    password = secrets.token_urlsafe(16)
    as_postgres(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'")
    names = [AUTH, *(company.database for company in COMPANIES)]
    for name in names:
        as_postgres(f"CREATE DATABASE {name} OWNER {ROLE} ENCODING 'UTF8' TEMPLATE template0")
    auth, *databases = (
        DatabaseAccess("localhost", 5432, name, ROLE, password) for name in names
    )
    now = datetime.now().replace(microsecond=0)
    for company, access in zip(COMPANIES, databases, strict=True):
        connection = with_tables(access, "tenant_schema.sql")
        tenant_data.write_tenant(connection, company, now)
        connection.close()
    connection = with_tables(auth, "auth_schema.sql")
    tenant_data.write_auth(connection, tuple(zip(COMPANIES, databases, strict=True)))
    connection.close()
    configuration = kivitendo_folder.write_kivitendo_folder(folder, auth)
    shutil.chown(configuration, "root", "www-data")
    configuration.chmod(0o640)
    for place in (folder / "users", folder / "config"):
        os.chown(place, owner.pw_uid, owner.pw_gid)


def as_postgres(statement: str) -> None:
    """Run one statement as PostgreSQL's superuser."""
    subprocess.run(
        ["runuser", "-u", "postgres", "--", "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1",
         "-c", statement],
        check=True, cwd="/",
    )  # fmt: skip


def with_tables(access: DatabaseAccess, schema: str):
    """A connection to a database that has just got kivitendo's tables."""
    connection = connect(access, purpose="test")
    with connection, connection.cursor() as cursor:
        cursor.execute((SCHEMAS / schema).read_text())
    return connection


if __name__ == "__main__":
    main()
