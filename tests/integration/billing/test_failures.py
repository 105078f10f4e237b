"""Orders that cannot be billed, databases that go away: what stops, what goes on, what is told."""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from orders import Books, periods, stopping_at

from kivitendo_task_server.errors import DatabaseError
from kivitendo_task_server.jobs.periodic_invoices.ahead import FIRST_BLOCK

MARCH = date(2026, 3, 1)


def test_nothing_due(books: Books) -> None:
    outcome = books.bill()
    assert outcome.text() == "nothing was due"
    assert outcome.error() is None


# -- orders that fail ------------------------------------------------------------------------------


def bad_orders(books: Books) -> dict[int, str]:
    """One configuration for each way to fail, and what its message has to say."""
    config, order = books.config, books.order
    never = {"start_date": None}
    return {
        config(**never): "neither start_date nor first_billing_date",
        config(order(customer_id=None)): "the order has no customer",
        config(order({"unit": None})): "an item has no unit",
        config(order({"price_factor_id": 605})): "price factor id 605 is 0",
        config(order({"parts_id": 2041})): "no income account for part id 2041",
        config(order({"parts_id": 2005})): "no account for its amount",
        config(order(payment_id=307)): "the payment terms have no number of days",
        config(order({"description": "<%current_month format=%E%>"})): "contains %E",
        config(order(notes="&lt;%current_year format=%Q%&gt;")): "contains %Q",
        config(order({"sellprice": "9999999999", "qty": "9999999999"})): "numeric field overflow",
        config(end_date="2026-03-10", extend_automatically_by=-3): "negative (-3)",
    }


def test_every_failing_order_is_told_and_none_stops_another(books: Books) -> None:
    good = [books.config(start_date="2026-02-01")]
    bad: dict[int, str] = {}
    bad = bad_orders(books)
    good += books.configs(3, start_date="2026-02-01")
    outcome = books.bill()

    assert {config for config, _ in books.billed()} == set(good)
    assert len(outcome.posted) == 8
    assert {failure.config_id for failure in outcome.failures} == set(bad)
    for failure in outcome.failures:
        assert bad[failure.config_id] in failure.message
        assert failure.ordnumber == books.ordnumber(failure.config_id)
    assert not books.faults()
    error = outcome.error()
    assert error is not None and len(error.splitlines()) == len(bad)
    # nothing of theirs was touched
    assert books.value("SELECT count(*) FROM orderitems WHERE mtime IS NOT NULL") == 0
    assert books.value("SELECT count(*) FROM oe WHERE mtime IS NOT NULL") == 0

    # and what is corrected is billed by the next run
    books.rows("UPDATE orderitems SET unit = 'Stk' WHERE unit IS NULL")
    assert len(books.bill().posted) == 1
    assert not books.faults()


def test_a_precision_of_zero_fails_all_orders_with_a_reason(books: Books) -> None:
    configs = books.configs(2)
    books.rows("UPDATE defaults SET precision = 0")
    outcome = books.bill()
    assert [failure.config_id for failure in outcome.failures] == configs
    assert "division by zero" in outcome.failures[0].message
    assert not books.billed()


def test_an_assembly_that_contains_itself(books: Books) -> None:
    books.rows("UPDATE defaults SET inventory_system = 'perpetual'")
    books.rows("INSERT INTO assembly (id, parts_id, qty, position) VALUES (2021, 2022, 1, 9)")
    bad = books.config(books.order({"parts_id": 2022}))
    good = books.config()
    outcome = books.bill()
    assert [(one.config_id, one.message) for one in outcome.failures] == [
        (bad, "the assembly with part id 2022 contains itself (correct the list of its components)")
    ]
    assert books.billed() == [(good, MARCH)]


def test_after_a_failed_period_no_later_one_is_billed(books: Books) -> None:
    """From March the tax of this account has no account of its own."""
    books.rows(
        "INSERT INTO taxkeys (chart_id, tax_id, taxkey_id, startdate)"
        " VALUES (116, 709, 25, '2026-03-05')"
    )
    bad = books.config(books.order({"parts_id": 2004}), start_date="2026-01-01")
    good = books.config(start_date="2026-01-01")
    april = date(2026, 4, 15)
    outcome = books.bill(april)
    assert periods(books.billed(bad)) == ["2026-01-01", "2026-02-01"]
    assert len(books.billed(good)) == 4
    (failure,) = outcome.failures
    assert (failure.config_id, str(failure.period)) == (bad, "2026-03-01")
    assert outcome.skipped == [
        f"order {books.ordnumber(bad)}: 2026-04-01, until 2026-03-01 is billed"
    ]
    assert not books.faults()

    again = books.bill(april)
    assert not again.posted and [str(one.period) for one in again.failures] == ["2026-03-01"]

    books.rows("DELETE FROM taxkeys WHERE startdate = '2026-03-05'")
    assert [str(one.period) for one in books.bill(april).posted] == ["2026-03-01", "2026-04-01"]
    assert not books.faults()


REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger AS $$
BEGIN
    IF NEW.description = 'refused 2' THEN
        RAISE EXCEPTION 'somebody''s trigger does not like it';
    END IF;
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER refuse BEFORE INSERT ON invoice FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize(
    ("place", "others"), [(0, 70), (30, 70), (49, 70), (50, 70), (65, 70), (FIRST_BLOCK + 70, 170)]
)
def test_a_block_that_the_database_refuses_is_repeated_singly(
    books: Books, place: int, others: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the refused period and the one after it are missing; numbers go on in order."""
    caplog.set_level("INFO", "billing")
    books.rows(REFUSE)
    before = books.configs(place)
    bad = books.config(books.order({"description": "refused <%current_month%>"}),
                       start_date="2026-01-01")  # fmt: skip
    after = books.configs(others - place)
    outcome = books.bill()
    assert books.billed() == [
        *((config, MARCH) for config in before),
        (bad, date(2026, 1, 1)),
        *((config, MARCH) for config in after),
    ]
    (failure,) = outcome.failures
    assert (failure.config_id, str(failure.period)) == (bad, "2026-02-01")
    assert "does not like it" in failure.message
    assert outcome.skipped == [f"order {failure.ordnumber}: 2026-03-01, until 2026-02-01 is billed"]
    assert [one.invnumber for one in outcome.posted] == [str(n) for n in range(1, others + 2)]
    # a block of more than the first one's size is first tried in smaller ones
    repeated = [text for text in caplog.messages if "is repeated" in text]
    assert len(repeated) == (2 if others > 2 * FIRST_BLOCK else 1)
    assert not books.faults()


def test_dates_beyond_imagination(books: Books) -> None:
    """A typing error in a year is the business of its order only."""
    good = books.configs(2)
    endless = books.config(end_date="20226-12-31")
    far = books.config(start_date="20226-01-01")
    long_ago = books.config(end_date="0044-03-15 BC")
    item = books.config(books.order({"reqdate": "20226-02-01"}, transdate="infinity"))
    outcome = books.bill()
    assert not outcome.failures, outcome.text()
    assert {config for config, _ in books.billed()} == {*good, endless, item}
    assert not books.billed(far) and not books.billed(long_ago)
    copied = books.rows(
        "SELECT orddate::text, invoice.deliverydate::text FROM ar"
        "  JOIN invoice ON trans_id = ar.id WHERE orddate = 'infinity'"
    )
    assert copied == [("infinity", "20226-02-01")]


# -- what is told ----------------------------------------------------------------------------------


def test_the_result_lists_everything_that_happened(books: Books) -> None:
    def order(ordnumber: str, /, **columns: Any) -> int:
        return books.order(columns.pop("item", {}), ordnumber=ordnumber, **columns)

    books.config(order("simple"), start_date="2026-02-01")
    books.config(order("extended"), end_date="2026-03-10", extend_automatically_by=1)
    books.config(order("lost"), start_date="2026-01-15", end_date="2026-03-14")
    books.config(order("ended"), end_date="2026-02-28")
    books.config(order("once", item={"sellprice": "10"}), periodicity="o")
    books.config(order("foreign", currency_id=2))
    books.config(order("broken", item={"unit": None}), start_date="2026-01-01")
    failing = books.value("SELECT max(id) FROM periodic_invoices_configs")
    books.rows("UPDATE defaults SET closedto = '2026-03-31'")
    outcome = books.bill()
    assert outcome.text() == (
        "5 invoices posted:\n"
        "1: order simple, period 2026-02-01, net 100.00, total 119.00\n"
        "2: order simple, period 2026-03-01, net 100.00, total 119.00\n"
        "3: order extended, period 2026-03-01, net 100.00, total 119.00\n"
        "4: order once, period 2026-03-01, net 10.00, total 11.90\n"
        "5: order foreign, period 2026-03-01, net 100.00, total 119.00\n"
        "\n"
        "1 configurations extended:\n"
        "order extended: from 2026-03-10 to 2026-04-10\n"
        "\n"
        "2 configurations deactivated:\n"
        "order lost: ended 2026-03-14; never billed: 2026-01-15, 2026-02-15\n"
        "order ended: ended 2026-02-28\n"
        "\n"
        "1 one-time orders finished:\n"
        "once\n"
        "\n"
        "1 skipped:\n"
        "order broken: 2026-02-01, 2026-03-01, until 2026-01-01 is billed\n"
        "\n"
        "1 failed:\n"
        f"order broken, period 2026-01-01 (configuration {failing}):"
        " item 1 (»Lizenz Kasse«): an item has no unit (choose a unit from the list in the order's"
        " item)\n"
        "\n"
        "3 warnings:\n"
        "order lost ended on 2026-03-14 with 2 period(s) never billed: 2026-01-15, 2026-02-15\n"
        "today lies in a closed period (until 2026-03-31)\n"
        "invoice 5 (order foreign): no exchange rate for currency id 2 on 2026-03-15: calculated"
        " with 1"
    )
    assert outcome.error() == str(outcome.failures[0])


# -- a database that goes away ---------------------------------------------------------------------

MOMENTS = {
    "in the first pass": "FOR NO KEY UPDATE NOWAIT",
    "while reading": "FROM taxkeys",
    "locking a block": "SKIP LOCKED",
    "taking numbers": "LOCK TABLE ar",
    "billing singly": "config.id = %s",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_terminated_connection(books: Books, moment: str) -> None:
    """One clear error; the next run completes what is missing."""
    books.rows(REFUSE)
    books.config(end_date="2026-03-10", extend_automatically_by=1)
    books.configs(59)
    books.config(books.order({"description": "refused 2"}))

    def terminate() -> None:
        assert books.value(
            "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE '%%billing'"
        )

    with pytest.raises(DatabaseError) as lost:
        books.bill(cursor_factory=stopping_at(MOMENTS[moment], terminate))
    posted = len(books.billed())
    assert f"the connection was lost after {posted} invoices" in str(lost.value)
    assert "the next run" in str(lost.value)
    assert not books.faults()
    outcome = books.bill()
    assert len(outcome.failures) == 1 and len(books.billed()) == 60
    assert not books.faults()


def test_an_error_of_the_whole_run_leaves_the_connection_usable(books: Books) -> None:
    books.config()
    books.rows("ALTER TABLE price_factors RENAME TO gone")
    with pytest.raises(psycopg2.errors.UndefinedTable):
        books.bill()
    books.rows("ALTER TABLE gone RENAME TO price_factors")
    assert len(books.bill().posted) == 1


# -- goods (6.9) -----------------------------------------------------------------------------------


def purchase(books: Books, qty: int, price: str) -> int:
    """Goods in stock; invoice.id."""
    return int(
        books.value(
            "INSERT INTO invoice (trans_id, parts_id, position, qty, base_qty, allocated,"
            " sellprice, discount) VALUES (1, 2011, 1, -%s, -%s, 0, %s, 0) RETURNING id",
            qty, qty, price,
        )
    )  # fmt: skip


def cost_of_goods(books: Books) -> list[str]:
    """What was posted as cost of goods, by invoice number."""
    return [
        amount
        for (amount,) in books.rows(
            "SELECT acc_trans.amount::text FROM acc_trans JOIN ar ON ar.id = acc_trans.trans_id"
            " WHERE chart_id = 131 ORDER BY invnumber"
        )
    ]


@pytest.fixture
def stock(books: Books) -> tuple[int, int]:
    """Four pieces at 5 EUR, ten at 7 EUR; and three orders of two pieces each."""
    books.rows("UPDATE defaults SET inventory_system = 'perpetual'")
    pieces: dict[str, Any] = {"parts_id": 2011, "qty": "2", "base_qty": "2"}
    for _ in range(3):
        books.config(books.order(pieces))
    return purchase(books, 4, "5"), purchase(books, 10, "7")


def test_goods_that_another_invoice_took_meanwhile(books: Books, stock: tuple[int, int]) -> None:
    def take() -> None:
        books.rows("UPDATE invoice SET allocated = 3 WHERE id = %s", stock[0])

    outcome = books.bill(cursor_factory=stopping_at("SKIP LOCKED", take))
    assert not outcome.failures, outcome.text()
    allocated = dict(books.rows("SELECT id, allocated FROM invoice WHERE base_qty < 0"))
    assert allocated == {stock[0]: 4, stock[1]: 5}
    assert cost_of_goods(books) == ["12.00000", "14.00000", "14.00000"]


def test_goods_that_are_taken_again_and_again(books: Books) -> None:
    """Others come to an end with theirs at last."""
    books.rows("UPDATE defaults SET inventory_system = 'perpetual'")
    bought = purchase(books, 40, "5")
    books.config(books.order({"parts_id": 2011, "qty": "2", "base_qty": "2"}))
    takes = [bought] * 6

    class Outrun(psycopg2.extensions.cursor):
        """Somebody takes a piece just before the run locks the goods, again and again."""

        def execute(self, query: Any, vars: Any = None) -> None:
            if takes and "FROM invoice WHERE id = ANY" in str(query):
                books.rows(
                    "UPDATE invoice SET allocated = allocated + 1 WHERE id = %s", takes.pop()
                )
            super().execute(query, vars)

    outcome = books.bill(cursor_factory=Outrun)
    assert not takes and not outcome.failures, outcome.text()
    assert cost_of_goods(books) == ["10.00000"]
    assert books.value("SELECT allocated FROM invoice WHERE id = %s", bought) == 6 + 2


@pytest.mark.parametrize("repeated", [False, True])
def test_goods_come_from_the_same_purchases_singly(
    books: Books, stock: tuple[int, int], repeated: bool
) -> None:
    """A purchase that was used goes behind the others, also when a block is repeated."""
    if repeated:
        books.rows(REFUSE)
        books.config(books.order({"description": "refused 2"}), start_date="2026-02-15")
    outcome = books.bill()
    assert len(outcome.failures) == repeated
    allocated = dict(books.rows("SELECT id, allocated FROM invoice WHERE base_qty < 0"))
    assert allocated == {stock[0]: 4, stock[1]: 2}
    assert cost_of_goods(books) == ["10.00000", "14.00000", "10.00000"]


def test_goods_of_a_configuration_that_goes_on_in_the_next_block(books: Books) -> None:
    """Its second period is billed singly, with the block that failed, and is not planned again."""
    books.rows("UPDATE defaults SET inventory_system = 'perpetual'")
    books.rows(REFUSE)
    bought = purchase(books, 4, "5"), purchase(books, 10, "7")
    books.config(books.order({"description": "refused 2"}))
    books.configs(FIRST_BLOCK - 2)
    pieces = {"parts_id": 2011, "qty": "2", "base_qty": "2"}
    twice = books.config(books.order(pieces), start_date="2026-02-01")
    after = books.config(books.order(pieces))
    outcome = books.bill()
    assert len(outcome.failures) == 1
    assert [config for config, _ in books.billed()][-3:] == [twice, twice, after]
    assert cost_of_goods(books) == ["10.00000", "14.00000", "10.00000"]
    allocated = dict(books.rows("SELECT id, allocated FROM invoice WHERE base_qty < 0"))
    assert allocated == {bought[0]: 4, bought[1]: 2}


def test_goods_that_a_failed_invoice_did_not_take(books: Books) -> None:
    """They are there for the others, however far behind in its block."""
    books.rows("UPDATE defaults SET inventory_system = 'perpetual'")
    books.rows(REFUSE)
    bought = purchase(books, 2, "5"), purchase(books, 10, "7")
    pieces = {"parts_id": 2011, "qty": "2", "base_qty": "2"}
    books.configs(FIRST_BLOCK)
    books.config(books.order(pieces | {"description": "refused 2"}))
    books.configs(FIRST_BLOCK)
    books.config(books.order(pieces))
    outcome = books.bill()
    assert len(outcome.failures) == 1
    assert cost_of_goods(books) == ["10.00000"]
    allocated = dict(books.rows("SELECT id, allocated FROM invoice WHERE base_qty < 0"))
    assert allocated == {bought[0]: 2, bought[1]: 0}
