"""The table of deliveries: what is to be done, and what became of it.

Every change is a short transaction of its own, except :func:`enqueue`, which belongs to the
invoice's. One process at a time delivers for a tenant (:func:`exclusive`), so whatever is found in
the state ``sending`` was left by one that is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg2
import psycopg2.errors

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor
from kivitendo_task_server.jobs.periodic_invoices.model import PostedInvoice

Kind = Literal["print", "email"]
State = Literal["pending", "sending", "sent", "failed", "ambiguous", "dropped"]

MAX_ATTEMPTS = 10
"""After so many failed attempts a delivery is given up, until somebody asks for it."""

KEPT_DAYS = 100
"""So long is what was delivered remembered; kivitendo's own journal knows it for ever."""

LOCK = (0x6B747371 + 1, 1)  # beside the job queue's class ("ktsq")
LOCK_TIMEOUT = "60s"


class DeliveryBusy(TaskServerError):  # noqa: N818 - a state, not a fault
    """Another process is delivering for this tenant."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row: one invoice, one way, one recipient."""

    id: int
    ar_id: int
    config_id: int
    kind: Kind
    recipient: str
    """A mail address in lower case; empty for the printer, and for mails whose recipients have not
    been looked up yet."""
    state: State
    attempts: int
    reason: str | None
    exact: dict[str, str]
    """Columns of ar as they were computed, by name."""
    enqueued_at: datetime
    changed_at: datetime
    invnumber: str | None
    """None if the invoice has been deleted."""


def enqueue(cursor: Cursor, posted: Sequence[PostedInvoice]) -> None:
    """Remember what is to be done about these invoices; part of their transaction.

    One statement for all of them. The schema must exist (``own_schema.ensure``).
    """
    rows = [
        (one.ar_id, one.config_id, kind, json.dumps(one.exact))
        for one in posted
        for kind, wanted in (("print", one.print), ("email", one.send_email))
        if wanted
    ]
    if rows:
        cursor.execute(
            "INSERT INTO kivitendo_task_server.deliveries (ar_id, config_id, kind, exact)"
            " SELECT * FROM unnest(%s::int[], %s::int[], %s::text[], %s::jsonb[])",
            tuple([row[n] for row in rows] for n in range(4)),
        )


@contextmanager
def exclusive(connection: Connection, *, wait: bool) -> Iterator[None]:
    """Be the only one who delivers for this tenant; the lock ends with the session at the latest.

    Raises DeliveryBusy, at once or (``wait``) after a minute.
    """
    try:
        with connection, connection.cursor() as cursor:
            if wait:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                cursor.execute("SELECT pg_advisory_lock(%s, %s)", LOCK)
            else:
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", LOCK)
                row = cursor.fetchone()
                if row is None or not row[0]:
                    raise _busy()
    except psycopg2.errors.LockNotAvailable as error:
        raise _busy() from error
    try:
        yield
    finally:
        if not connection.closed:
            connection.rollback()
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", LOCK)


def _busy() -> DeliveryBusy:
    return DeliveryBusy(
        "another process is delivering invoices for this tenant",
        remedy="wait until it has finished; nothing is lost",
    )


class Queue:
    """One tenant's deliveries, seen by the process that delivers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def select(
        self,
        states: Iterable[State],
        *,
        ids: Sequence[int] | None = None,
        ar_id: int | None = None,
    ) -> list[Delivery]:
        """The deliveries in these states, in the order of their invoices."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT d.id, d.ar_id, d.config_id, d.kind, d.recipient, d.state, d.attempts,"
                "       d.reason, d.exact, d.enqueued_at, d.changed_at, ar.invnumber"
                "  FROM kivitendo_task_server.deliveries d LEFT JOIN ar ON ar.id = d.ar_id"
                " WHERE d.state = ANY(%(states)s)"
                "   AND (%(ids)s::bigint[] IS NULL OR d.id = ANY(%(ids)s))"
                "   AND (%(ar_id)s::int IS NULL OR d.ar_id = %(ar_id)s)"
                " ORDER BY d.ar_id, d.id",
                {"states": list(states), "ids": ids, "ar_id": ar_id},
            )
            return [Delivery(*row) for row in cursor]

    def recover(self) -> list[Delivery]:
        """Mark what a process left in ``sending`` when it died, and return it.

        Must be called under :func:`exclusive`.
        """
        left = self.select(["sending"])
        for delivery in left:
            self.set(
                delivery,
                "ambiguous",
                "the process ended while it was handing this over: it may have arrived or not",
            )
        return left

    def set(
        self,
        delivery: Delivery,
        state: State,
        reason: str | None = None,
        *,
        attempted: bool = False,
    ) -> None:
        """Store a new state, in a transaction of its own (or the open one, which is committed)."""
        with self._connection, self._connection.cursor() as cursor:
            set_state(cursor, delivery, state, reason, attempted=attempted)

    def attempt_failed(self, delivery: Delivery, reason: str) -> None:
        """Count a failed attempt that may succeed another time; after too many it is given up.

        What is no longer pending stays as it is: it may have been handed over.
        """
        with self._connection, self._connection.cursor() as cursor:
            set_state(cursor, delivery, "pending", reason, attempted=True, only_from="pending")

    def repeat(self, ids: Sequence[int] | None) -> list[int]:
        """Make failed (or, named by their ids, also ambiguous) deliveries pending again.

        Returns which; their attempts are counted from 0 again.
        """
        states = ["pending", "failed"] if ids is None else ["pending", "failed", "ambiguous"]
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(
                "UPDATE kivitendo_task_server.deliveries"
                "   SET state = 'pending', attempts = 0, changed_at = now()"
                " WHERE state = ANY(%(states)s)"
                "   AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s)) RETURNING id",
                {"states": states, "ids": ids},
            )
            return [row[0] for row in cursor]

    def settle_recipients(self, delivery: Delivery, recipients: Sequence[str]) -> list[Delivery]:
        """Have one row for each recipient of the mail that ``delivery`` belongs to.

        Returns those that are pending. Who is no recipient any more gets nothing any more.
        """
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM kivitendo_task_server.deliveries"
                " WHERE ar_id = %s AND kind = 'email' AND state = 'pending'"
                "   AND NOT recipient = ANY(%s)",
                (delivery.ar_id, list(recipients)),
            )
            cursor.execute(
                "INSERT INTO kivitendo_task_server.deliveries"
                "            (ar_id, config_id, kind, recipient, exact)"
                " SELECT %s, %s, 'email', recipient, %s FROM unnest(%s::text[]) recipient"
                " ON CONFLICT (ar_id, kind, recipient) DO NOTHING",
                (
                    delivery.ar_id,
                    delivery.config_id,
                    json.dumps(delivery.exact),
                    list(recipients),
                ),
            )
        return [
            one for one in self.select(["pending"], ar_id=delivery.ar_id) if one.kind == "email"
        ]

    def forget_old(self) -> None:
        """Remove what was delivered long ago."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM kivitendo_task_server.deliveries"
                " WHERE state IN ('sent', 'dropped')"
                "   AND changed_at < now() - make_interval(days => %s)",
                (KEPT_DAYS,),
            )


def set_state(
    cursor: Any,
    delivery: Delivery,
    state: State,
    reason: str | None = None,
    *,
    attempted: bool = False,
    only_from: State | None = None,
) -> None:
    """Store a delivery's state in the open transaction, if it is still ``only_from``.

    ``attempted`` counts an attempt; a ``pending`` delivery with too many of them becomes failed.
    """
    cursor.execute(
        "UPDATE kivitendo_task_server.deliveries"
        "   SET state = CASE WHEN %(state)s = 'pending' AND attempts + %(more)s >= %(most)s"
        "                    THEN 'failed' ELSE %(state)s END,"
        "       attempts = attempts + %(more)s, reason = %(reason)s, changed_at = now()"
        " WHERE id = %(id)s AND state = coalesce(%(only_from)s, state)",
        {
            "only_from": only_from,
            "id": delivery.id,
            "state": state,
            "reason": reason.replace("\0", "") if reason is not None else None,
            "more": int(attempted),
            "most": MAX_ATTEMPTS,
        },
    )
