"""``tenant``: one configuration and one instance of the service for each of several clients."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kivitendo_task_server.cli.install import refuse, report
from kivitendo_task_server.errors import UsageError

if TYPE_CHECKING:
    from kivitendo_task_server.config.settings import DatabaseAccess
    from kivitendo_task_server.installer.site import Site, Wanted


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command with its sub-commands."""
    tenant = commands.add_parser(
        "tenant",
        help="serve clients by configurations and instances of their own",
        description="kivitendo's own configuration serves all clients. Where clients shall be"
        " started and stopped one by one, each gets a configuration file and an instance.",
    )
    tenant.set_defaults(run=run_without_action)
    actions = tenant.add_subparsers(metavar="ACTION", parser_class=type(tenant))

    add = actions.add_parser(
        "add",
        help="write config/NAME.conf, check it, enable and start its instance",
        description="Writes config/NAME.conf from kivitendo's own configuration. Without --login"
        " and --client it is for the client of that name (kivitendo 3.0: for the user of that"
        " name). A file that exists is used as it is.",
    )
    add.add_argument("name", metavar="NAME", help="of the configuration and the instance")
    add.add_argument("--login", metavar="LOGIN", help="kivitendo user whose client is served")
    add.add_argument("--client", metavar="CLIENT", help="name or id of the client")
    add.add_argument(
        "--database",
        metavar="USER@HOST[:PORT]/NAME",
        help="another authentication database (default: that of kivitendo's configuration);"
        " HOST may be the directory of a socket",
    )
    add.add_argument(
        "--database-password-file",
        metavar="FILE",
        help="its password, the first line of a file; - is the standard input (default: the"
        " present one if user and server stay the same, else none)",
    )
    add.add_argument("--no-start", action="store_true", help="only enable the instance")
    add.set_defaults(run=run_add)

    scaffold = actions.add_parser(
        "scaffold", help="add an instance for every client that has none of its own"
    )
    scaffold.add_argument("--no-start", action="store_true", help="only enable the instances")
    scaffold.set_defaults(run=run_scaffold)

    listing = actions.add_parser(
        "list", help="show state, PID, last and next run of each configuration"
    )
    listing.add_argument("--json", action="store_true", help="print it as JSON")
    listing.set_defaults(run=run_list)

    remove = actions.add_parser(
        "remove", help="stop and disable an instance; its configuration is kept as a backup"
    )
    remove.add_argument("name", metavar="NAME", help="of the configuration and the instance")
    remove.set_defaults(run=run_remove)


def run_without_action(arguments: argparse.Namespace) -> int:
    """``tenant`` alone means nothing. Raises UsageError."""
    raise UsageError("tenant needs add, scaffold, list or remove", remedy="see tenant --help")


def run_add(arguments: argparse.Namespace) -> int:
    """Add one tenant. Raises TaskServerError."""
    from kivitendo_task_server.installer import tenants

    tenants.add(
        _site_to_change(arguments), wanted_of(arguments), report, start=not arguments.no_start
    )
    return 0


def wanted_of(arguments: argparse.Namespace) -> Wanted:
    """What ``tenant add`` was told. Raises UsageError."""
    from kivitendo_task_server.installer.site import Wanted

    database = None
    if arguments.database:
        database = _database(arguments.database, _password(arguments.database_password_file))
    elif arguments.database_password_file:
        raise UsageError("--database-password-file needs --database")
    return Wanted(arguments.name, arguments.login, arguments.client, database)


def run_scaffold(arguments: argparse.Namespace) -> int:
    """Add all clients that are missing. Raises TaskServerError."""
    from kivitendo_task_server.installer import tenants

    tenants.scaffold(_site_to_change(arguments), report, start=not arguments.no_start)
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Remove one tenant. Raises TaskServerError."""
    from kivitendo_task_server.installer import tenants

    tenants.remove(_site_to_change(arguments), arguments.name, report)
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Show all configurations. Raises TaskServerError."""
    from kivitendo_task_server.installer import overview, site

    refuse(arguments, "--configfile", "--kivitendo-dir")
    rows = overview.rows(site.site(Path("/")))
    if arguments.json:
        print(overview.as_json(rows))
    else:
        for line in overview.as_table(rows):
            print(line)
    return 0


def _site_to_change(arguments: argparse.Namespace) -> Site:
    from kivitendo_task_server.installer import site, tenants

    refuse(arguments, "--configfile", "--kivitendo-dir")
    tenants.require_root()
    return site.site(Path("/"))


def _database(text: str, password: str) -> DatabaseAccess:
    from kivitendo_task_server.config.settings import DatabaseAccess

    form = r"(?P<user>[^@/:]+)@(?P<host>\[[^]]+\]|[^:]+)(:(?P<port>[0-9]+))?/(?P<name>[^/]+)"
    found = re.fullmatch(form, text)
    if not found or int(found["port"] or 1) not in range(1, 65536):
        raise UsageError(
            f"--database {text}: not of the form USER@HOST[:PORT]/NAME",
            remedy="the password comes from --database-password-file",
        )
    host = found["host"].strip("[]")
    return DatabaseAccess(host, int(found["port"] or 5432), found["name"], found["user"], password)


def _password(file: str | None) -> str:
    if file is None:
        return ""
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--database-password-file {file}: {error.strerror}") from error
    except UnicodeError as error:
        raise UsageError(f"--database-password-file {file}: not UTF-8") from error
    return (text.splitlines() or [""])[0]
