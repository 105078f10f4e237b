"""A directory that looks like a kivitendo installation to the service."""

from __future__ import annotations

import os
from pathlib import Path

from kivitendo_task_server.config.settings import DatabaseAccess

DEFAULTS = """\
# The defaults, as kivitendo ships them in this place. Own values belong into kivitendo.conf.
[authentication]
session_timeout = 480

[authentication/database]
host     = localhost
port     = 5432
db       = kivitendo_auth
user     = postgres
password =

[system]
language = de

[mail_delivery]
method = smtp
host   = localhost

[periodic_invoices]
send_email_to =

[task_server]
login  =
client =
run_as =
debug  = 0

[task_server/notify_on_failure]
send_email_to =

[debug]
file_name    = users/kivitendo-debug.log
global_level =
"""

LOCAL = """\
# Written by kivitendo-task-server demo.
[authentication/database]
host     = {access.host}
port     = {access.port}
db       = {access.name}
user     = {access.user}
password = {access.password}
"""


def write_kivitendo_folder(folder: Path, auth: DatabaseAccess) -> Path:
    """Make the directory and return the path of its configuration file.

    ``SL/System/TaskServer.pm`` is what an installation is known by (task-server.md, a.1).
    """
    for part in ("config", "users", "SL/System"):
        (folder / part).mkdir(parents=True)
    (folder / "SL/System/TaskServer.pm").write_text("# stands for kivitendo's program; demo only\n")
    (folder / "config/kivitendo.conf.default").write_text(DEFAULTS)
    configuration = folder / "config/kivitendo.conf"
    write_private(configuration, LOCAL.format(access=auth))
    return configuration


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner may read, from its first moment on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
