"""What sessions of ours are like, in both kinds of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.asynchronous import AsyncConnection
from kivitendo_task_server.database.connection import connect

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
