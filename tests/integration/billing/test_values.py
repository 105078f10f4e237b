"""Values on their way to and from a real database: texts through COPY, and the type ``real``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2.extensions
import pytest
from database_fixture import create_database
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kivitendo_task_server.database.connection import connect
from kivitendo_task_server.demo.postgres import EmbeddedPostgres
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import as_real, real_sum
from kivitendo_task_server.jobs.periodic_invoices.copying import copy_rows
from kivitendo_task_server.jobs.periodic_invoices.master_data import text_cursor

Cursor = psycopg2.extensions.cursor


@pytest.fixture(scope="module")
def cursor(cluster: EmbeddedPostgres) -> Iterator[Cursor]:
    """One connection for all examples, as the job opens it."""
    access = create_database(cluster, "values_only", "template1")
    with closing(connect(access, purpose="test")) as connection:
        yield text_cursor(connection)


# all that PostgreSQL can hold: no NUL, no lone surrogates
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
nasty = st.lists(
    st.sampled_from(["\\", "\t", "\n", "\r", "\x01", "\\N", "\\.", "\\x41", "N", "", "ä", "None"]),
    max_size=6,
).map("".join)
cells = st.one_of(st.none(), texts, nasty)


@given(st.lists(st.tuples(cells, cells, st.none() | st.booleans(), cells), max_size=8))
@example([("\\.", None, True, ""), (None, "None", None, "None\n"), ("\t\t\t", "", False, "\\N")])
@settings(max_examples=150)
def test_any_text_survives_copy(cursor: Cursor, rows: list[tuple[object, ...]]) -> None:
    cursor.execute(
        "CREATE TEMP TABLE IF NOT EXISTS copied"
        " (n serial, a text, b text, flag boolean, c text, rest text DEFAULT 'default');"
        " DELETE FROM copied"
    )
    copy_rows(cursor, "copied", ("a", "b", "flag", "c"), rows)
    cursor.execute("SELECT a, b, flag, c, rest FROM copied ORDER BY n")
    assert cursor.fetchall() == [(*row, "default") for row in rows]


def test_a_statement_hidden_in_a_text_stays_text(cursor: Cursor) -> None:
    text = "\\.\n'); DROP TABLE copied; --"
    cursor.execute("CREATE TEMP TABLE quoted (a text)")
    copy_rows(cursor, "quoted", ("a",), [(text,), (None,), (text,)])
    cursor.execute("SELECT a FROM quoted")
    assert cursor.fetchall() == [(text,), (None,), (text,)]


# quantities; of some powers of two far beyond, PostgreSQL shows one digit less
powers = [sign * 2.0**exponent for exponent in range(-40, 41) for sign in (1, -1)]
reals = st.one_of(
    st.floats(-1e12, 1e12, allow_nan=False),
    st.floats(-1e9, 1e9, width=32),
    st.integers(-(10**9), 10**9).map(lambda n: n / 1000),
    st.sampled_from(powers),
).map(lambda value: value if abs(value) >= 1e-12 else 0.0)


@given(st.lists(reals, min_size=1, max_size=60))
@example(powers)
@settings(max_examples=60)
def test_real_is_what_the_column_gives_back(cursor: Cursor, values: list[float]) -> None:
    """``as_real`` stands for writing into a column of type real and reading its text again."""
    cursor.execute("SELECT v::real FROM unnest(%s::text[]) v", ([repr(v) for v in values],))
    assert [as_real(value) for value in values] == [float(text) for (text,) in cursor]


# quantities as they are taken from stock: hundredths, thirds
taken = st.one_of(
    st.integers(0, 10**6).map(lambda n: n / 100), st.integers(1, 10**4).map(lambda n: n / 3)
)


@given(st.lists(st.tuples(taken, taken), min_size=1, max_size=60))
@example([(529.94, 2021.0)])
@settings(max_examples=60)
def test_sums_of_reals_are_the_databases(cursor: Cursor, values: list[tuple[float, float]]) -> None:
    """Stock that is taken in memory is what the database then says, or the plan is thrown away."""
    ones, others = ([repr(pair[n]) for pair in values] for n in (0, 1))
    cursor.execute(
        "SELECT a::real + b::real FROM unnest(%s::text[], %s::text[]) v (a, b)", (ones, others)
    )
    assert [real_sum(*pair) for pair in values] == [float(text) for (text,) in cursor]
