"""What the administrator of several clients asks: which there are, when their jobs run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kivitendo_task_server.database.asynchronous import Query
from kivitendo_task_server.database.auth import Generation


@dataclass(frozen=True)
class Client:
    """A client of the authentication database; in kivitendo 3.0 a database of some user."""

    id: int | None
    name: str
    login: str | None
    """Its task server user (3.4 or later), or the user whose settings name the database (3.0)."""


@dataclass(frozen=True)
class Runs:
    """When a tenant's active jobs ran last and will run next, in kivitendo's local time."""

    last: datetime | None
    next: datetime | None


async def clients(query: Query, generation: Generation) -> list[Client]:
    """All clients, by name, served or not."""
    if generation is Generation.USER_SETTINGS:
        rows = await query(
            "SELECT DISTINCT ON (d.cfg_value) NULL, d.cfg_value, u.login"
            ' FROM auth.user_config d JOIN auth."user" u ON u.id = d.user_id'
            " WHERE d.cfg_key = 'dbname' AND d.cfg_value <> '' ORDER BY d.cfg_value, u.id"
        )
    elif generation is Generation.ONE_CLIENT:
        rows = await query("SELECT id, name, NULL FROM auth.clients ORDER BY name, id")
    else:
        rows = await query(
            "SELECT c.id, c.name, u.login FROM auth.clients c"
            ' LEFT JOIN auth."user" u ON u.id = c.task_server_user_id ORDER BY c.name, c.id'
        )
    return [Client(*row) for row in rows]


async def runs(query: Query) -> Runs:
    """The last and the next run among the jobs of one tenant's database."""
    rows = await query(
        "SELECT max(last_run_at), min(next_run_at) FILTER (WHERE active AND type = 'interval')"
        " FROM background_jobs"
    )
    return Runs(*rows[0])
