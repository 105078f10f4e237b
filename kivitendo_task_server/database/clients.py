"""What the administrator of several clients asks: which there are, when their jobs run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kivitendo_task_server.database.asynchronous import Query
from kivitendo_task_server.database.auth import Generation
from kivitendo_task_server.database.due import representable


@dataclass(frozen=True)
class Client:
    """A client of the authentication database; in kivitendo 3.0 a database of some user."""

    id: int | None
    name: str
    login: str | None
    """Its task server user (3.4 or later), or a user whose settings name the database (3.0)."""
    place: tuple[str, int, str]
    """Host, port and name of its database; no two clients share one."""


@dataclass(frozen=True)
class Runs:
    """When a tenant's active jobs ran last and will run next, in kivitendo's local time."""

    last: datetime | None
    next: datetime | None


async def clients(query: Query, generation: Generation) -> list[Client]:
    """All clients, by name, served or not.

    In kivitendo 3.0 these are the databases in the users' settings (task-server.md, b.2).
    """
    found: dict[tuple[str, int, str], Client] = {}
    for client_id, name, login, host, port, database in await query(_CLIENTS[generation]):
        number = int(port) if port and port.isdigit() else 5432
        place = (host or "localhost", number, database)
        found.setdefault(place, Client(client_id, name, login, place))
    return list(found.values())


_CLIENTS = {
    Generation.USER_SETTINGS: """
        SELECT NULL, d.cfg_value, u.login, h.cfg_value, p.cfg_value, d.cfg_value
        FROM auth."user" u
        JOIN auth.user_config d ON d.user_id = u.id AND d.cfg_key = 'dbname'
        LEFT JOIN auth.user_config h ON h.user_id = u.id AND h.cfg_key = 'dbhost'
        LEFT JOIN auth.user_config p ON p.user_id = u.id AND p.cfg_key = 'dbport'
        WHERE d.cfg_value <> '' ORDER BY d.cfg_value, u.id
        """,
    Generation.ONE_CLIENT: """
        SELECT id, name, NULL, dbhost, dbport::text, dbname FROM auth.clients ORDER BY name, id
        """,
    Generation.TASK_SERVER_USERS: """
        SELECT c.id, c.name, u.login, c.dbhost, c.dbport::text, c.dbname FROM auth.clients c
        LEFT JOIN auth."user" u ON u.id = c.task_server_user_id ORDER BY c.name, c.id
        """,
}


async def clients_of(query: Query, login: str) -> list[tuple[int, str]]:
    """Id and name of the clients a user is a member of (kivitendo 3.1 or later), by name."""
    rows = await query(
        "SELECT c.id, c.name FROM auth.clients c JOIN auth.clients_users m ON m.client_id = c.id"
        ' JOIN auth."user" u ON u.id = m.user_id WHERE u.login = %(login)s ORDER BY c.name, c.id',
        {"login": login},
    )
    return [(client_id, name) for client_id, name in rows]


def config_value(client_id: int, name: str) -> str:
    """What ``[task_server] client`` must be: the name, or the id where that is not unmistakable.

    A name of digits would be taken as an id, and blanks around it would be lost.
    """
    return str(client_id) if name.isdigit() or name != name.strip() else name


async def runs(query: Query) -> Runs:
    """The last and the next run among the jobs of one tenant's database."""
    rows = await query(
        f"SELECT {representable('last')}, {representable('next')} FROM"  # noqa: S608 - constants
        " (SELECT max(last_run_at) AS last,"
        " min(next_run_at) FILTER (WHERE active AND (type = 'interval'"
        " OR type = 'once' AND last_run_at IS NULL AND cron_spec <> '')) AS next"
        " FROM background_jobs) runs"
    )
    return Runs(*rows[0])
