"""The work is done on sets: what is sent does not depend on the number of orders."""

from __future__ import annotations

import pytest
from database_fixture import NewDatabase
from orders import Books, counting

from kivitendo_task_server.jobs.periodic_invoices.ahead import FIRST_BLOCK


def sent_for(books: Books, orders: int) -> tuple[list[str], int]:
    """The statements that read, and how many there are all in all."""
    for _ in range(orders):
        books.config(books.order({}, {"parts_id": 2013}, {"parts_id": 2011}))
    sent: list[str] = []
    outcome = books.bill(cursor_factory=counting(sent))
    assert len(outcome.posted) == orders
    # a block begins with its time-outs, then come its locks
    reading = next(n for n, text in enumerate(sent) if "SKIP LOCKED" in text) - 1
    return sent[:reading], len(sent)


@pytest.fixture
def more_books(new_database: NewDatabase, books_template: str) -> Books:
    """A second tenant's."""
    return Books(new_database(books_template))


def test_reading_takes_the_same_statements_for_few_and_for_many(
    books: Books, more_books: Books
) -> None:
    few, few_in_all = sent_for(books, 10)
    many, many_in_all = sent_for(more_books, 3 * FIRST_BLOCK)
    assert few == many
    a_block = few_in_all - len(few)
    # the first block and one of twice its size
    assert many_in_all - len(many) == a_block * 2
    more_books.close()


def test_existing_numbers_are_asked_for_by_candidate(books: Books) -> None:
    """Thousands of invoices that are there already are never read."""
    books.rows(
        "INSERT INTO ar (invnumber, customer_id, taxzone_id, currency_id)"
        " SELECT 'R' || n, 1001, 401, 1 FROM generate_series(1, 5000) n;"
        "INSERT INTO ar (invnumber, customer_id, taxzone_id, currency_id)"
        " SELECT n, 1001, 401, 1 FROM generate_series(3, 202) n;"
        "UPDATE defaults SET invnumber = '0'"
    )
    books.configs(5)
    sent: list[str] = []
    outcome = books.bill(cursor_factory=counting(sent))
    assert [one.invnumber for one in outcome.posted] == ["1", "2", "203", "204", "205"]
    asking = [text for text in sent if "FROM ar" in text]
    assert all("WHERE lower(invnumber)" in text for text in asking)
    assert len(asking) < 8  # each time for twice as many


@pytest.mark.parametrize(
    ("last", "taken", "expected"),
    [
        (None, [], ["1", "2"]),
        ("RE", ["re1", "RE2"], ["RE1", "RE3"]),  # another case is another number
        ("R26-009", ["R26-011", "R26-012"], ["R26-010", "R26-013"]),
        ("99", ["100"], ["101", "102"]),
        ("a%_1", ["a%_2", "ab_3"], ["a%_3", "a%_4"]),
        ("99999999999999999999", [], ["100000000000000000000", "100000000000000000001"]),
        ("Ä-9", ["ä-10"], ["Ä-10", "Ä-11"]),
    ],
)
def test_number_ranges(
    books: Books, last: str | None, taken: list[str], expected: list[str]
) -> None:
    books.rows("UPDATE defaults SET invnumber = %s", last)
    for number in taken:
        books.rows(
            "INSERT INTO ar (invnumber, customer_id, taxzone_id, currency_id)"
            " VALUES (%s, 1001, 401, 1)",
            number,
        )
    books.configs(2)
    assert [one.invnumber for one in books.bill().posted] == expected
    assert books.value("SELECT invnumber FROM defaults") == expected[-1]
