"""Users and other programs that hold or change rows while a run wants them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg2
import pytest
from database_fixture import statement
from orders import Books, counting, periods, stopping_at
from processes import eventually

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.demo.postgres import EmbeddedPostgres
from kivitendo_task_server.jobs.periodic_invoices.ahead import FIRST_BLOCK
from kivitendo_task_server.jobs.periodic_invoices.outcome import Outcome
from kivitendo_task_server.jobs.periodic_invoices.transaction import Patience

SHORT = Patience(lock="200ms")
LONG = Patience(lock="60s")
MARCH = date(2026, 3, 1)
LOCKING = "SKIP LOCKED"  # the statement that locks a block


class User:
    """Somebody with a transaction of his own."""

    def __init__(self, books: Books) -> None:
        self._connection = books.second_user()
        self._cursor = self._connection.cursor()

    def __enter__(self) -> User:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def does(self, sql: str, *values: Any) -> User:
        """One statement; the transaction stays open."""
        self._cursor.execute(sql, values or None)
        return self

    def commits(self) -> None:
        """What was done is done."""
        self._connection.commit()

    def bills(self, books: Books, config: int, period: date = MARCH) -> User:
        """An invoice as another program would write it: its number, ar, periodic_invoices."""
        self.does("LOCK TABLE ar IN ROW EXCLUSIVE MODE; SELECT 1 FROM defaults FOR UPDATE")
        self.does(
            "INSERT INTO ar (id, invnumber, customer_id, taxzone_id, currency_id)"
            " VALUES (%s, 'other', 1001, 401, 1);"
            "INSERT INTO periodic_invoices (config_id, ar_id, period_start_date)"
            " VALUES (%s, %s, %s)",
            config, config, config, period,
        )  # fmt: skip
        # other rows take their ids from the same sequence, many of them
        return self.does("SELECT setval('id', last_value + 5000) FROM id")


@contextmanager
def running(books: Books, **how: Any) -> Iterator[Future[Outcome]]:
    """A run beside the test, once it waits for somebody."""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(books.bill, **how)
        assert eventually(lambda: run.done() or waits(books)) and not run.done(), run
        yield run


def waits(books: Books) -> bool:
    """Whether the run waits for a lock."""
    return bool(
        books.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND application_name LIKE '%%billing'"
        )
    )


# -- a user with an order --------------------------------------------------------------------------

HOLDS = {
    "locks the order": "SELECT 1 FROM oe WHERE id = %(order)s FOR UPDATE",
    "saves the order": "UPDATE oe SET notes = 'new' WHERE id = %(order)s",
    "locks the configuration":
        "SELECT 1 FROM periodic_invoices_configs WHERE id = %(config)s FOR UPDATE",
    "saves the configuration":
        "UPDATE periodic_invoices_configs SET print = false WHERE id = %(config)s",
    "deletes the order": "DELETE FROM oe WHERE id = %(order)s",
}  # fmt: skip


@pytest.mark.parametrize("what", HOLDS)
def test_a_held_order_delays_only_itself(books: Books, what: str) -> None:
    first, held, last = books.configs(3, start_date="2026-02-01")
    with User(books) as user:
        user.does(HOLDS[what] % {"order": books.oe_id(held), "config": held})
        outcome = books.bill(patience=SHORT)
    assert periods(books.billed(first)) == periods(books.billed(last)) == [
        "2026-02-01", "2026-03-01",
    ]  # fmt: skip
    assert not books.billed(held)
    (failure,) = outcome.failures
    assert (failure.config_id, failure.ordnumber) == (held, books.ordnumber(held))
    assert "somebody is editing it" in failure.message
    assert not books.faults()

    again = books.bill()
    assert not again.failures and len(again.posted) == 2
    assert not books.faults()


def test_a_held_order_with_two_configurations_is_tried_at_the_end(books: Books) -> None:
    shared = books.order()
    first, second = books.config(shared), books.config(shared)
    last = books.config()
    with User(books) as user:
        user.does("UPDATE oe SET notes = 'new' WHERE id = %s", shared)
        with running(books, patience=LONG) as run:
            assert [config for config, _ in books.billed()] == [last]
            user.commits()
    assert not run.result().failures and not run.result().skipped
    assert [config for config, _ in books.billed()] == [last, first, second]
    assert books.value("SELECT count(*) FROM ar WHERE notes = 'new'") == 2
    assert not books.faults()


@pytest.mark.parametrize("between", [0, FIRST_BLOCK - 1])
def test_goods_of_a_held_order_are_there_for_the_others(books: Books, between: int) -> None:
    """In its own block, and in the next."""
    books.rows(
        "UPDATE defaults SET inventory_system = 'perpetual';"
        "INSERT INTO invoice (trans_id, parts_id, position, qty, base_qty, allocated, sellprice,"
        " discount) VALUES (1, 2011, 1, -2, -2, 0, 5, 0)"
    )
    pieces = {"parts_id": 2011, "qty": "2", "base_qty": "2"}
    held = books.config(books.order(pieces))
    books.configs(between)
    other = books.config(books.order(pieces))
    with User(books) as user:
        user.does("UPDATE oe SET notes = 'new' WHERE id = %s", books.oe_id(held))
        outcome = books.bill(patience=SHORT)
    assert [failure.config_id for failure in outcome.failures] == [held]
    (posted,) = (one for one in outcome.posted if one.config_id == other)
    assert books.value("SELECT allocated FROM invoice WHERE trans_id = %s", posted.ar_id) == -2


def test_a_user_who_commits_in_time_is_billed_with_the_new_values(books: Books) -> None:
    held, *others = books.configs(60)
    with User(books) as user:
        user.does("UPDATE oe SET intnotes = 'neu' WHERE id = %s", books.oe_id(held))
        user.does("UPDATE orderitems SET sellprice = 250 WHERE trans_id = %s", books.oe_id(held))
        with running(books, patience=LONG) as run:
            assert {config for config, _ in books.billed()} == set(others)
            user.commits()
    outcome = run.result()
    assert not outcome.failures
    assert outcome.posted[-1].config_id == held
    assert outcome.posted[-1].netamount == 250
    assert books.value("SELECT intnotes FROM ar WHERE invnumber = '60'").startswith("neu\n")
    assert not books.faults()


def test_saving_an_order_does_not_end_in_a_deadlock(books: Books) -> None:
    """kivitendo writes the order, then its configuration; a run that waits has neither."""
    config = books.config()
    books.rows(f"ALTER DATABASE {books.access.name} SET deadlock_timeout = '600s'")
    with User(books) as user:
        user.does("SET deadlock_timeout = '10ms'")  # the user would be the one who notices
        user.does("UPDATE oe SET notes = 'new' WHERE id = %s", books.oe_id(config))
        with running(books, patience=LONG) as run:
            user.does("UPDATE periodic_invoices_configs SET copies = 2 WHERE id = %s", config)
            user.commits()
    assert not run.result().failures
    assert periods(books.billed()) == ["2026-03-01"]


CHANGES = {
    "the price": (
        "UPDATE oe SET notes = 'new' WHERE id = %(order)s;"
        "UPDATE orderitems SET sellprice = 250 WHERE trans_id = %(order)s",
        ["250.00000"],
    ),
    "the start": (
        "UPDATE periodic_invoices_configs SET start_date = '2026-02-01' WHERE id = %(config)s",
        ["100.00000", "100.00000"],
    ),
    "the start, to later": (
        "UPDATE periodic_invoices_configs SET start_date = '2026-04-01' WHERE id = %(config)s",
        [],
    ),
    "active": (
        "UPDATE periodic_invoices_configs SET active = false WHERE id = %(config)s",
        [],
    ),
    "the end": (
        "UPDATE periodic_invoices_configs SET end_date = '2026-02-28', terminated = true"
        " WHERE id = %(config)s",
        [],
    ),
    "everything": ("DELETE FROM oe WHERE id = %(order)s", []),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_after_the_reading_counts(books: Books, what: str) -> None:
    """A user commits after we have read and planned, just before we lock."""
    before, config, after = books.configs(3)
    change, expected = CHANGES[what]
    change %= {"order": books.oe_id(config), "config": config}
    ordnumber = books.ordnumber(config)
    outcome = books.bill(cursor_factory=stopping_at(LOCKING, lambda: books.rows(change)))
    assert not outcome.failures
    found = books.rows("SELECT netamount::text FROM ar WHERE ordnumber = %s", ordnumber)
    assert [net for (net,) in found] == expected
    assert len(books.billed(before)) == len(books.billed(after)) == 1
    if expected:
        assert not outcome.skipped
    else:
        (skipped,) = outcome.skipped
        assert str(config) in skipped and "nothing is due any more" in skipped
    assert not books.faults()


# -- other programs that bill ----------------------------------------------------------------------


def test_what_another_program_billed_after_the_reading_is_not_billed_again(books: Books) -> None:
    config, other = books.configs(2)

    def billed_by_another() -> None:
        with User(books) as user:
            user.bills(books, config).commits()

    outcome = books.bill(cursor_factory=stopping_at(LOCKING, billed_by_another))
    assert not outcome.failures and len(outcome.skipped) == 1
    assert sorted(books.billed()) == [(config, MARCH), (other, MARCH)]


@pytest.mark.parametrize("ends", ["commits", "fails"])
def test_a_run_waits_for_another_programs_long_transaction(books: Books, ends: str) -> None:
    """The original bills everything in one transaction; nothing of it is seen before its end."""
    config, other = books.configs(2)
    with User(books) as user:
        user.bills(books, config)
        with running(books, patience=LONG) as run:
            if ends == "commits":
                user.commits()
            else:
                user.__exit__()
    outcome = run.result()
    assert not outcome.failures and not outcome.skipped
    assert sorted(books.billed()) == [(config, MARCH), (other, MARCH)]
    assert len(outcome.posted) == (1 if ends == "commits" else 2)


def test_another_program_that_does_not_end(books: Books) -> None:
    """It holds the number range, too; so nothing can be billed, and the run says so."""
    config, other = books.configs(2)
    with User(books) as user:
        user.bills(books, config)
        outcome = books.bill(patience=SHORT)
    assert [failure.config_id for failure in outcome.failures] == [config, other]
    assert "the number range for invoices is locked" in outcome.failures[1].message
    assert not books.billed()
    assert len(books.bill().posted) == 2
    assert not books.faults()


def test_a_user_who_deletes_an_invoice_delays_only_its_order(books: Books) -> None:
    config, other = books.configs(2)
    books.bill()
    (newest,) = books.rows("SELECT ar_id FROM periodic_invoices WHERE config_id = %s", config)
    april = date(2026, 4, 15)
    with User(books) as user:
        user.does("DELETE FROM ar WHERE id = %s", newest)
        outcome = books.bill(april, patience=SHORT)
    assert periods(books.billed(config)) == periods(books.billed(other)) == [
        "2026-03-01", "2026-04-01",
    ]  # fmt: skip
    assert not outcome.failures


# -- a role with few rights ------------------------------------------------------------------------

GRANTS = """
GRANT SELECT ON ALL TABLES IN SCHEMA public TO few;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO few;
GRANT INSERT ON ar, invoice, acc_trans, record_links, periodic_invoices, custom_variables, shipto,
    follow_up_done, project TO few;
GRANT UPDATE (invnumber) ON defaults TO few;
GRANT UPDATE ON periodic_invoices_configs, orderitems, oe TO few;
GRANT UPDATE (allocated) ON invoice TO few;
"""


@pytest.fixture
def few_rights(cluster: EmbeddedPostgres, books: Books) -> Iterator[Books]:
    """The same books, opened by a role that has no more than section 9 lists."""
    statement(cluster, "CREATE ROLE few LOGIN PASSWORD 'few'")
    books.rows(GRANTS)
    has = books.access
    theirs = Books(DatabaseAccess(has.host, has.port, has.name, "few", "few"))
    yield theirs
    theirs.close()
    books.rows("DROP OWNED BY few")
    statement(cluster, "DROP ROLE few")


def test_few_rights_are_enough(books: Books, few_rights: Books) -> None:
    with User(few_rights) as user, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        user.does("LOCK TABLE periodic_invoices IN SHARE MODE")
    books.configs(2)
    extended = books.config(end_date="2026-03-10", extend_automatically_by=1)
    once = books.config(periodicity="o")
    books.rows("UPDATE orderitems SET recurring_billing_mode = 'once'")
    outcome = few_rights.bill()
    assert not outcome.failures, outcome.text()
    assert len(books.billed()) == 4
    assert [one.config_id for one in outcome.extended] == [extended]
    assert books.value("SELECT closed FROM oe WHERE id = %s", books.oe_id(once))
    assert not books.faults()


@pytest.mark.parametrize("moment", ["while it is locked", "before it is locked"])
def test_no_double_invoice_with_few_rights(books: Books, few_rights: Books, moment: str) -> None:
    """Such a role cannot wait for the other program before it reads."""
    config, other = books.configs(2)
    with User(books) as user:
        user.bills(books, config)
        if moment == "before it is locked":
            outcome = few_rights.bill(cursor_factory=stopping_at(LOCKING, user.commits))
        else:
            with running(few_rights, patience=LONG) as run:
                user.commits()
            outcome = run.result()
    assert not outcome.failures and len(outcome.skipped) == 1, outcome.text()
    assert sorted(books.billed()) == [(config, MARCH), (other, MARCH)]


# -- the number range ------------------------------------------------------------------------------


def test_a_held_number_range_ends_the_run_at_once(books: Books) -> None:
    configs = books.configs(70, start_date="2026-02-01")
    sent: list[str] = []
    with User(books) as user:
        user.does("SELECT 1 FROM defaults FOR UPDATE")
        outcome = books.bill(patience=SHORT, cursor_factory=counting(sent))
    assert not books.billed() and not outcome.posted
    assert [failure.config_id for failure in outcome.failures] == configs
    assert {str(failure.period) for failure in outcome.failures} == {"2026-02-01"}
    assert "the number range for invoices is locked" in outcome.failures[0].message
    assert len(outcome.skipped) == 70 and "2026-03-01" in outcome.skipped[0]
    assert sum("LOCK TABLE ar" in text for text in sent) == 1  # waited once, not 70 times
    assert books.value("SELECT invnumber FROM defaults") == "0"

    assert len(books.bill().posted) == 140
    assert not books.faults()


def test_a_number_range_that_is_taken_during_the_run(books: Books) -> None:
    configs = books.configs(70)
    with User(books) as user:
        outcome = books.bill(
            patience=SHORT,
            progress=lambda text: user.does("SELECT 1 FROM defaults FOR UPDATE"),
        )
    assert [one.config_id for one in outcome.posted] == configs[:50]
    assert [failure.config_id for failure in outcome.failures] == configs[50:]
    assert not books.faults()
    assert len(books.bill().posted) == 20
    assert not books.faults()


def test_a_number_taken_by_a_user_during_the_run(books: Books) -> None:
    books.configs(70)

    def post(text: str) -> None:
        with User(books) as user:
            user.does("LOCK TABLE ar IN ROW EXCLUSIVE MODE; SELECT 1 FROM defaults FOR UPDATE")
            user.does(
                "INSERT INTO ar (invnumber, customer_id, taxzone_id, currency_id)"
                " VALUES ('51', 1001, 401, 1), ('53', 1001, 401, 1);"
                "UPDATE defaults SET invnumber = '51'"
            )
            user.commits()

    outcome = books.bill(progress=post)
    expected = [str(n) for n in range(1, 73) if n not in (51, 53)]
    assert [one.invnumber for one in outcome.posted] == expected


# -- deadlocks -------------------------------------------------------------------------------------


def test_a_deadlock_is_tried_again(books: Books) -> None:
    """A user has the number range and wants an order that we hold, while we want the range."""
    configs = books.configs(3)
    books.rows(
        f"ALTER DATABASE {books.access.name} SET deadlock_timeout = '50ms'"  # our run notices it
    )
    with User(books) as user, ThreadPoolExecutor(1) as pool:
        user.does("SET deadlock_timeout = '600s'").does("SELECT 1 FROM defaults FOR UPDATE")
        wanted: list[Future[Any]] = []

        def user_wants_the_order() -> None:
            save = "UPDATE oe SET notes = 'new' WHERE id = %s"
            wanted.append(pool.submit(user.does, save, books.oe_id(configs[1])))
            assert eventually(
                lambda: books.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database() AND application_name LIKE '%%user'"
                )
            )

        sent: list[str] = []

        class Cursor(counting(sent), stopping_at("LOCK TABLE ar", user_wants_the_order)):  # type: ignore[misc]
            pass

        run = pool_run(books, Cursor)
        wanted_done = eventually(lambda: bool(wanted) and wanted[0].done())
        assert wanted_done and wanted[0].exception() is None  # we gave way, the user did not
        user.commits()
        outcome = run.result()
    assert not outcome.failures, outcome.text()
    assert [one.config_id for one in outcome.posted] == configs
    assert not books.faults()
    # the block, and then each of them
    assert sum("LOCK TABLE ar" in text for text in sent) == 4


def pool_run(books: Books, cursor_factory: Any) -> Future[Outcome]:
    """A run in a thread that nobody waits for."""
    pool = ThreadPoolExecutor(1)
    run = pool.submit(books.bill, cursor_factory=cursor_factory, patience=LONG)
    pool.shutdown(wait=False)
    return run


# -- the first pass --------------------------------------------------------------------------------


def test_a_held_configuration_does_not_hold_up_the_first_pass(books: Books) -> None:
    held = books.config(end_date="2026-03-10", extend_automatically_by=1)
    other = books.config()
    with User(books) as user:
        user.does("UPDATE periodic_invoices_configs SET copies = 2 WHERE id = %s", held)
        with running(books, patience=LONG) as run:
            assert books.billed() == [(other, MARCH)]
            user.commits()
    outcome = run.result()
    assert not outcome.failures
    assert sorted(books.billed()) == [(held, MARCH), (other, MARCH)]
    assert [(one.config_id, str(one.new_end)) for one in outcome.extended] == [(held, "2026-04-10")]


def test_a_configuration_that_stays_held_is_ended_by_the_next_run(books: Books) -> None:
    held = books.config(end_date="2026-03-10")
    other = books.config()
    with User(books) as user:
        user.does("SELECT 1 FROM periodic_invoices_configs WHERE id = %s FOR UPDATE", held)
        outcome = books.bill(patience=SHORT)
    assert [failure.config_id for failure in outcome.failures] == [held]
    assert books.billed() == [(other, MARCH)] and not outcome.deactivated
    again = books.bill()
    assert not again.failures
    (ended,) = again.deactivated
    assert (ended.config_id, ended.lost) == (held, (MARCH,))
    assert books.billed() == [(other, MARCH)]
