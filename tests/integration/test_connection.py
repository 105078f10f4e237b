"""What sessions of ours are like, in both kinds of connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest
from job_rows import execute
from kivitendo_fixture import until

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.asynchronous import AsyncConnection
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.errors import AccessRefused, DatabaseError

SETTINGS = (
    "SELECT current_setting('tcp_keepalives_idle'), current_setting('tcp_keepalives_interval'),"
    " current_setting('tcp_keepalives_count'), current_setting('default_transaction_isolation'),"
    " current_setting('DateStyle') LIKE 'ISO%'"
)


Rows = list[tuple[object, ...]]


def _blocking(access: DatabaseAccess) -> Rows:
    connection = connect(access, purpose="test")
    try:
        with connection.cursor() as cursor:
            cursor.execute(SETTINGS)
            return cursor.fetchall()
    finally:
        connection.close()


def _waited_for(access: DatabaseAccess) -> Rows:
    async def ask() -> Rows:
        connection = await AsyncConnection.open(access, purpose="test")
        try:
            return await connection.query(SETTINGS)
        finally:
            connection.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [_blocking, _waited_for])
def test_postgresql_soon_notices_that_our_machine_is_gone(
    tenant_access: DatabaseAccess, ask: Callable[[DatabaseAccess], Rows]
) -> None:
    """Otherwise the claims of a machine that lost its power would hold for two hours."""
    assert ask(tenant_access) == [("20", "10", "3", "read committed", True)]


def test_what_we_have_given_up_waits_for_no_lock_any_more(
    tenant_access: DatabaseAccess, tenant_connection: Connection
) -> None:
    """Each attempt would leave a session behind, until PostgreSQL has none left for kivitendo."""
    with tenant_connection.cursor() as cursor:
        cursor.execute("LOCK TABLE background_jobs IN ACCESS EXCLUSIVE MODE")

    async def ask() -> None:
        connection = await AsyncConnection.open(tenant_access, purpose="hasty", query_timeout=0.1)
        await connection.query("SELECT count(*) FROM background_jobs")

    with pytest.raises(DatabaseError, match=r"no answer to a query within 0\.1 seconds"):
        asyncio.run(ask())
    sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '% hasty'"
    assert execute(tenant_access, sessions) == [(1,)]
    until(lambda: execute(tenant_access, sessions) == [])


def test_a_host_with_several_addresses_is_reached_by_the_one_that_answers(
    tenant_access: DatabaseAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name may stand for IPv6 first, where PostgreSQL does not listen."""

    def look_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        assert host == "db.example"
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
            for address in ("127.0.0.99", tenant_access.host)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    access = replace(tenant_access, host="db.example")
    assert _waited_for(access) == [("20", "10", "3", "read committed", True)]


@pytest.mark.parametrize("ask", [_blocking, _waited_for])
def test_a_client_without_the_name_of_its_database_gets_no_other_one(
    tenant_access: DatabaseAccess, ask: Callable[[DatabaseAccess], Rows]
) -> None:
    """PostgreSQL's library would take the one that is called like the user."""
    with pytest.raises(AccessRefused, match="no database is named"):
        ask(replace(tenant_access, name=""))
