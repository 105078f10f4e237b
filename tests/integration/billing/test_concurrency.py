"""Two workers at the same moment, and workers that are killed: every period billed exactly once."""

from __future__ import annotations

import os
import random
import signal
from datetime import date
from typing import Any

import psycopg2.extensions
from orders import Books, bill, circumstances, in_child

from kivitendo_task_server.jobs.periodic_invoices.periods import add_months

ROUNDS = 20
DUE = 100  # periods in a round


def test_two_workers_at_the_same_moment(books: Books) -> None:
    configs = books.configs(DUE, start_date="2026-01-01")
    for month in range(ROUNDS):
        posted = _two_workers(books, add_months(date(2026, 1, 1), month))
        assert sum(posted) == DUE, posted
    assert not books.faults()
    assert sorted(books.billed()) == sorted(
        (config, add_months(date(2026, 1, 1), month))
        for config in configs
        for month in range(ROUNDS)
    )


def test_two_workers_with_the_same_goods(books: Books) -> None:
    """Nothing is taken twice, and being outrun is no failure."""
    books.rows("UPDATE defaults SET inventory_system = 'perpetual'")
    for number in range(30):
        books.rows(
            "INSERT INTO invoice (trans_id, parts_id, position, qty, base_qty, allocated,"
            " sellprice, discount) VALUES (1, 2011, 1, -7, -7, 0, %s, 0)",
            5 + number % 3,
        )
    pieces = {"parts_id": 2011, "unit": "Stk"}
    for number in range(60):
        # every seventh order brings some back
        quantity = "-3" if number % 7 == 0 else "2"
        books.config(books.order(pieces | {"qty": quantity}), start_date="2026-01-01")
    for month in range(4):
        posted = _two_workers(books, add_months(date(2026, 1, 1), month))
        assert sum(posted) == 60, posted
        assert not books.rows("SELECT id FROM invoice WHERE base_qty < 0 AND allocated > -base_qty")
        taken, given = books.rows(
            "SELECT sum(abs(allocated)) FROM invoice GROUP BY base_qty < 0 ORDER BY 1"
        )
        assert taken == given
        assert books.value("SELECT sum(amount) FROM acc_trans WHERE chart_id IN (131, 141)") == 0
    assert books.numbers() == [str(n) for n in range(1, 241)]


def _two_workers(books: Books, today: date) -> list[int]:
    """How many invoices each of two workers posts that start at the same moment."""
    ready, start = os.pipe(), os.pipe()

    def worker() -> int:
        os.close(start[1])
        os.write(ready[1], b".")
        os.read(start[0], 1)  # returns in both workers when the other end is closed
        outcome = bill(books.access, circumstances(today))
        assert not outcome.failures, outcome.text()
        return len(outcome.posted)

    workers = [in_child(worker), in_child(worker)]
    for _ in workers:
        os.read(ready[0], 1)
    for end in (start[1], start[0], *ready):
        os.close(end)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in workers]


def test_kill_at_random_moments(books: Books) -> None:
    configs = books.configs(DUE, start_date="2026-01-01")
    statements = _statements_of(books, date(2026, 1, 1))
    chance = random.Random(20261122)
    killed = interrupted = 0
    for month in range(1, ROUNDS + 1):
        today = add_months(date(2026, 1, 1), month)
        before = len(books.billed())
        killed += _kill_after(books, today, chance.randrange(statements))
        interrupted += len(books.billed()) < before + DUE
        outcome = books.bill(today)
        assert not outcome.failures, outcome.text()
        assert len(books.billed()) == before + DUE
        assert not books.faults()
    assert len(books.billed()) == DUE * (ROUNDS + 1) and len(configs) == DUE
    assert killed > ROUNDS / 2 and interrupted > ROUNDS / 2


def _statements_of(books: Books, today: date) -> int:
    """How many statements a run for DUE periods sends."""
    seen: list[None] = []
    books.bill(today, cursor_factory=_announcing(lambda: seen.append(None)))
    return len(seen)


def _kill_after(books: Books, today: date, statements: int) -> bool:
    """Start a worker and kill it while it does that statement; whether the signal ended it."""
    reader, writer = os.pipe()

    def worker() -> int:
        announce = _announcing(lambda: os.write(writer, b"."))
        bill(books.access, circumstances(today), cursor_factory=announce)
        return 0

    child = in_child(worker)
    os.close(writer)
    seen = 0
    while seen <= statements and (read := os.read(reader, statements + 1 - seen)):
        seen += len(read)
    os.kill(child, signal.SIGKILL)
    os.close(reader)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _announcing(announce: Any) -> type[psycopg2.extensions.cursor]:
    """A cursor that tells of each statement just before sending it."""

    class Announcing(psycopg2.extensions.cursor):
        def execute(self, query: Any, vars: Any = None) -> None:
            announce()
            super().execute(query, vars)

        def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
            announce()
            super().copy_expert(sql, file, size)

    return Announcing
