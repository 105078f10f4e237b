"""A connection the supervisor can wait for without waiting: psycopg2's asynchronous mode.

A database that is slow, hangs or never answers holds up only the coroutine that asked it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import (
    CONNECT_TIMEOUT,
    Connection,
    one_line,
    parameters,
    unreachable,
)
from kivitendo_task_server.errors import DatabaseError

QUERY_TIMEOUT = 10.0  # seconds; our own questions are answered in milliseconds
SERVER_DELAY = 1.0  # seconds by which PostgreSQL gives up later than we do

Rows: TypeAlias = list[tuple[Any, ...]]
Query: TypeAlias = Callable[..., Awaitable[Rows]]
"""``await query(sql, parameters)``: what functions that only ask are given."""


class AsyncConnection:
    """One connection, autocommit; use :meth:`open`. Any error closes it."""

    def __init__(self, access: DatabaseAccess, raw: Connection, query_timeout: float) -> None:
        self.access = access
        self._raw = raw
        self._query_timeout = query_timeout

    @classmethod
    async def open(
        cls,
        access: DatabaseAccess,
        *,
        purpose: str,
        timeout: float = CONNECT_TIMEOUT,
        query_timeout: float = QUERY_TIMEOUT,
    ) -> AsyncConnection:
        """Connect within ``timeout`` seconds. Raises DatabaseError without the password."""
        raw: Connection | None = None
        try:
            async with asyncio.timeout(timeout):
                wanted = parameters(access, purpose) | await _addresses(access)
                # a session that waits for a lock does not notice that we have given up: without a
                # limit of its own each attempt would leave one behind
                limit = int((query_timeout + SERVER_DELAY) * 1000)
                wanted["options"] += f" -c statement_timeout={limit}"
                raw = psycopg2.connect(**wanted, async_=True)
                await _ready(raw)
        except TimeoutError as error:
            _abandon(raw)
            text = f"no answer within {timeout:g} seconds"
            raise unreachable(access, TimeoutError(text)) from error
        except (psycopg2.Error, OSError) as error:
            _abandon(raw)
            raise unreachable(access, error) from error
        except BaseException:
            _abandon(raw)
            raise
        return cls(access, raw, query_timeout)

    @property
    def server_version(self) -> int:
        """PostgreSQL's version as a number, for instance 150004."""
        return self._raw.server_version

    async def query(self, sql: str, values: Mapping[str, Any] | None = None) -> Rows:
        """Run one statement and return its rows. Raises DatabaseError; then it is closed."""
        try:
            async with asyncio.timeout(self._query_timeout):
                with self._raw.cursor() as cursor:
                    cursor.execute(sql, values)
                    await _ready(self._raw)
                    return cursor.fetchall() if cursor.description else []
        except TimeoutError as error:
            self.close()
            raise DatabaseError(
                f"no answer to a query within {self._query_timeout:g} seconds",
                where=f"database {self.access}",
                remedy="is PostgreSQL overloaded, or the table locked?",
            ) from error
        except psycopg2.Error as error:
            self.close()
            raise DatabaseError(one_line(error), where=f"database {self.access}") from error
        except BaseException:
            self.close()  # an answer may still be on its way: not for the next one
            raise

    def close(self) -> None:
        """Close it; safe to call twice."""
        _abandon(self._raw)


def _abandon(raw: Connection | None) -> None:
    if raw is not None and not raw.closed:
        raw.close()


async def _ready(raw: Connection) -> None:
    """Wait until the operation under way is over."""
    loop = asyncio.get_running_loop()
    while (state := raw.poll()) != POLL_OK:
        descriptor = raw.fileno()
        done = loop.create_future()
        add, remove = (
            (loop.add_reader, loop.remove_reader)
            if state == POLL_READ
            else (loop.add_writer, loop.remove_writer)
        )
        add(descriptor, _finish, done)
        try:
            await done
        finally:
            remove(descriptor)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


async def _addresses(access: DatabaseAccess) -> dict[str, str]:
    """The host's addresses, because libpq would look the name up without letting us go on.

    It tries one after the other, as it does with a name.
    """
    host = access.host or "localhost"
    if host == "localhost" or host.startswith("/") or _is_address(host):
        return {}
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # an empty part, as in db..example, or one that is too long
        raise OSError(f"{host!r} is not the name of a host") from error
    addresses = [str(each[4][0]) for each in found]
    return {"host": ",".join([host] * len(addresses)), "hostaddr": ",".join(addresses)}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
