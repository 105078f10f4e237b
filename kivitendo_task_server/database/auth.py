"""kivitendo's authentication database: which tenants there are, and their users' settings.

The generations of its tables (task-server.md, b.1 to b.4) are told apart by what is there:

* 3.0: no table ``clients``; the database is among the settings of the user ``login``.
* 3.1 to 3.3: ``clients``; the configuration's ``client`` and ``login`` choose one.
* from 3.4: ``clients.task_server_user_id``; every client that has one is served. Beyond the
  original, ``login`` and ``client`` restrict a configuration file to one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from kivitendo_task_server.config.settings import DatabaseAccess, Settings
from kivitendo_task_server.database.asynchronous import AsyncConnection, Query
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.errors import AccessRefused, ConfigurationError, DatabaseError


class Generation(Enum):
    """The shape of an authentication database, by kivitendo's releases."""

    USER_SETTINGS = "3.0"
    ONE_CLIENT = "3.1 to 3.3"
    TASK_SERVER_USERS = "3.4 or later"


async def read_tenants(settings: Settings) -> list[Tenant]:
    """Connect, read the tenants, disconnect; for callers without a connection of their own.

    Raises DatabaseError and ConfigurationError like :func:`connect` and :func:`tenants`.
    """
    connection = await connect(settings)
    try:
        generation = await detect(connection.query, settings)
        return await tenants(connection.query, generation, settings)
    finally:
        connection.close()


async def connect(settings: Settings) -> AsyncConnection:
    """Open the authentication database; errors name the configuration file and section.

    Raises ConfigurationError if only another configuration helps (password, name of the database
    or user), and DatabaseError if waiting may.
    """
    try:
        return await AsyncConnection.open(settings.auth_database, purpose="supervisor")
    except AccessRefused as error:
        raise ConfigurationError(
            error.what, where=_section(settings), remedy="check host, port, db, user and password"
        ) from error
    except DatabaseError as error:
        raise DatabaseError(
            error.what,
            where=_section(settings),
            remedy="check host and port, and that PostgreSQL runs",
        ) from error


async def detect(query: Query, settings: Settings) -> Generation:
    """Tell the generation. Raises ConfigurationError if kivitendo's tables are not there."""
    rows = await query(
        "SELECT table_name::text, column_name::text FROM information_schema.columns"
        " WHERE table_schema = 'auth'"
        " AND table_name IN ('user', 'user_config', 'clients')"
    )
    columns = set(rows)
    if not {("user", "login"), ("user_config", "cfg_key")} <= columns:
        raise ConfigurationError(
            f"the database {settings.auth_database.name} has no tables of kivitendo's user"
            " administration, or this user may not read them",
            where=_section(settings),
            remedy="name kivitendo's authentication database under db, or create it in"
            " kivitendo's administration",
        )
    if ("clients", "task_server_user_id") in columns:
        return Generation.TASK_SERVER_USERS
    return Generation.ONE_CLIENT if ("clients", "id") in columns else Generation.USER_SETTINGS


async def tenants(query: Query, generation: Generation, settings: Settings) -> list[Tenant]:
    """The tenants to serve, by id.

    Raises ConfigurationError if ``login`` and ``client`` do not lead to exactly one tenant; the
    message lists the choices.
    """
    if generation is Generation.TASK_SERVER_USERS:
        if settings.task_server.login or settings.task_server.client:
            return [await _restricted(query, settings)]
        rows = await query(
            f'{_CLIENTS} JOIN auth."user" u ON u.id = c.task_server_user_id ORDER BY c.id'
        )
        return [_tenant(row, settings) for row in rows]
    if generation is Generation.ONE_CLIENT:
        return [await _configured_client(query, settings)]
    return [await _database_of_login(query, settings)]


_CLIENT_COLUMNS = "SELECT c.id, c.name, c.dbhost, c.dbport, c.dbname, c.dbuser, c.dbpasswd"
_USER_COLUMNS = """, u.login,
    ARRAY(SELECT k.cfg_key FROM auth.user_config k WHERE k.user_id = u.id ORDER BY k.cfg_key),
    ARRAY(SELECT k.cfg_value FROM auth.user_config k WHERE k.user_id = u.id ORDER BY k.cfg_key)"""
_CLIENTS = f"{_CLIENT_COLUMNS}{_USER_COLUMNS} FROM auth.clients c"


async def _restricted(query: Query, settings: Settings) -> Tenant:
    """From 3.4: the one tenant that login and client stand for."""
    login, client = settings.task_server.login, settings.task_server.client
    candidates = await query("SELECT id, name, task_server_user_id FROM auth.clients ORDER BY id")
    user_id = await _user_id(query, settings) if login else None
    if client:
        candidates = [_chosen(client, candidates, settings)]
    elif user_id is not None:
        of_login = await _clients_of(query, user_id, candidates)
        if len(of_login) != 1:
            raise _ambiguous(login, of_login, candidates, settings)
        candidates = of_login
    client_id, name, task_server_user_id = candidates[0]
    if user_id is None and task_server_user_id is None:
        raise ConfigurationError(
            f"the client {name!r} has no task server user",
            where=_key(settings, "client"),
            remedy="choose one in kivitendo's administration, or set login as well",
        )
    rows = await query(
        f'{_CLIENTS} JOIN auth."user" u ON u.id = %(user)s WHERE c.id = %(client)s',
        {"client": client_id, "user": user_id or task_server_user_id},
    )
    return _tenant(rows[0], settings)


async def _clients_of(
    query: Query, user_id: int, candidates: list[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """The clients whose task server user this is; if there is none, those it is a member of."""
    own = [row for row in candidates if row[2] == user_id]
    if own:
        return own
    rows = await query(
        "SELECT client_id FROM auth.clients_users WHERE user_id = %(user)s", {"user": user_id}
    )
    members = {row[0] for row in rows}
    return [row for row in candidates if row[0] in members]


async def _configured_client(query: Query, settings: Settings) -> Tenant:
    """3.1 to 3.3: both keys are needed."""
    for key in ("login", "client"):
        if not getattr(settings.task_server, key):
            raise ConfigurationError(
                f"this release of kivitendo (3.1 to 3.3) needs {key}, which is not set",
                where=_key(settings, key),
                remedy="choices: " + (await _choices(query, key) or "none yet"),
            )
    clients = await query("SELECT id, name FROM auth.clients ORDER BY id")
    client_id = _chosen(settings.task_server.client, clients, settings)[0]
    rows = await query(
        f'{_CLIENTS} JOIN auth."user" u ON u.id = %(user)s WHERE c.id = %(client)s',
        {"client": client_id, "user": await _user_id(query, settings)},
    )
    return _tenant(rows[0], settings)


async def _database_of_login(query: Query, settings: Settings) -> Tenant:
    """3.0: the settings of the user name the database (b.2)."""
    login = settings.task_server.login
    if not login:
        raise ConfigurationError(
            "this release of kivitendo (3.0) needs login, which is not set",
            where=_key(settings, "login"),
            remedy="choices: " + (await _choices(query, "login") or "none yet"),
        )
    rows = await query(
        "SELECT k.cfg_key, k.cfg_value FROM auth.user_config k WHERE k.user_id = %(user)s",
        {"user": await _user_id(query, settings)},
    )
    values = {key: value for key, value in rows if value is not None}
    if not values.get("dbname"):
        raise ConfigurationError(
            f"the user {login!r} has no database (setting dbname)",
            where=_key(settings, "login"),
            remedy="complete the user in kivitendo's administration, or name another one",
        )
    port = values.get("dbport") or "5432"
    access = DatabaseAccess(
        values.get("dbhost") or "localhost",
        int(port) if port.isascii() and port.isdigit() else 5432,
        values["dbname"],
        values.get("dbuser", ""),
        values.get("dbpasswd", ""),
    )
    return Tenant(None, values["dbname"], access, _user(login, values, settings))


def _tenant(row: tuple[Any, ...], settings: Settings) -> Tenant:
    client_id, name, host, port, database, user, password, login, keys, values = row
    access = DatabaseAccess(
        host or "localhost", port or 5432, database or "", user or "", password or ""
    )
    config = {k: v for k, v in zip(keys, values, strict=True) if v is not None}
    return Tenant(client_id, name, access, _user(login, config, settings))


def _user(login: str, values: Mapping[str, str], settings: Settings) -> TenantUser:
    """A user with kivitendo's defaults for what is not set (b.4)."""
    languages: dict[str, Any] = {"de": "de", "en": "en"}
    country = values.get("countrycode", "")
    language = languages.get(country) or languages.get(settings.system.language, "de")
    return TenantUser(
        login=login,
        name=values.get("name", ""),
        email=values.get("email", ""),
        countrycode=language,
        dateformat=values.get("dateformat") or TenantUser.dateformat,
        numberformat=values.get("numberformat") or TenantUser.numberformat,
        timeformat=values.get("timeformat") or TenantUser.timeformat,
        signature=values.get("signature", ""),
        settings=dict(values),
    )


async def _user_id(query: Query, settings: Settings) -> int:
    login = settings.task_server.login
    rows = await query('SELECT id FROM auth."user" WHERE login = %(login)s', {"login": login})
    if not rows:
        raise ConfigurationError(
            f"there is no login {login!r}",
            where=_key(settings, "login"),
            remedy="choices: " + (await _choices(query, "login") or "none yet"),
        )
    return int(rows[0][0])


async def _choices(query: Query, key: str) -> str:
    column = 'login FROM auth."user"' if key == "login" else "name FROM auth.clients"
    rows = await query(f"SELECT {column} ORDER BY 1")
    return _list(str(row[0]) for row in rows)


def _chosen(client: str, clients: list[tuple[Any, ...]], settings: Settings) -> tuple[Any, ...]:
    """The client by id (all digits) or by name (b.3)."""
    by_id = client.isascii() and client.isdigit()
    for row in clients:
        if (row[0] == int(client)) if by_id else (row[1] == client):
            return row
    raise ConfigurationError(
        f"there is no client with the name or id {client!r}",
        where=_key(settings, "client"),
        remedy="choices: " + (_names(clients) or "none yet"),
    )


def _ambiguous(
    login: str, clients: list[tuple[Any, ...]], others: list[tuple[Any, ...]], settings: Settings
) -> Exception:
    """The error for a login that has not one client, but no or several of all that there are."""
    if not clients:
        return ConfigurationError(
            f"the login {login!r} belongs to no client",
            where=_key(settings, "login"),
            remedy="make it a client's task server user in kivitendo's administration,"
            f" or set client as well; choices: {_names(others) or 'none yet'}",
        )
    return ConfigurationError(
        f"the login {login!r} belongs to several clients",
        where=_key(settings, "login"),
        remedy=f"set client as well; choices: {_names(clients)}",
    )


def _names(clients: list[tuple[Any, ...]]) -> str:
    return _list(f"{row[1]} (id {row[0]})" for row in clients)


def _list(choices: Any) -> str:
    return ", ".join(choices)


def _section(settings: Settings) -> str:
    return f"{settings.config_file}: [authentication/database]"


def _key(settings: Settings, key: str) -> str:
    return f"{settings.config_file}: [task_server] {key}"
