"""Foreign currency, as kivitendo posts it and posted once (6.6 [W]); warnings about amounts."""

from __future__ import annotations

from decimal import Decimal

import pytest
from orders import TODAY, Books

from kivitendo_task_server.config.settings import PeriodicInvoicesSettings
from kivitendo_task_server.jobs.periodic_invoices.outcome import Outcome

ONCE = PeriodicInvoicesSettings(currency_conversion="once")


@pytest.fixture
def dollars(books: Books) -> Books:
    """Books with a rate of 0.9 for today."""
    books.rows(
        "INSERT INTO exchangerate (currency_id, transdate, buy, sell) VALUES (2, %s, 0.9, 7)",
        TODAY,
    )
    return books


def posted(books: Books) -> dict[int, str]:
    """Account -> amount of the only invoice."""
    return dict(books.rows("SELECT chart_id, amount::text FROM acc_trans"))


def head(books: Books) -> tuple[str, str]:
    """Net and total amount of the only invoice."""
    net, amount = books.rows("SELECT netamount::text, amount::text FROM ar")[0]
    return net, amount


def balance(books: Books) -> Decimal:
    """The sum of all postings."""
    return Decimal(books.value("SELECT sum(amount) FROM acc_trans"))


def warning(outcome: Outcome) -> str:
    """The only one."""
    (text,) = outcome.warnings
    return text


def test_net_as_kivitendo_does_it(dollars: Books) -> None:
    dollars.config(dollars.order(currency_id=2))
    outcome = dollars.bill()
    assert posted(dollars) == {111: "90.00000", 121: "15.39000", 101: "-96.39000"}
    assert head(dollars) == ("81.00000", "96.39000")
    assert "invoice 1 (order AB-1): the postings do not balance: their sum is 9.00000" in (
        warning(outcome)
    )


def test_net_once(dollars: Books) -> None:
    dollars.config(dollars.order(currency_id=2))
    outcome = dollars.bill(settings=ONCE)
    assert posted(dollars) == {111: "90.00000", 121: "17.10000", 101: "-107.10000"}
    assert head(dollars) == ("90.00000", "107.10000")
    assert balance(dollars) == 0
    assert not outcome.warnings


def test_gross_as_kivitendo_does_it(dollars: Books) -> None:
    dollars.config(dollars.order(currency_id=2, taxincluded=True))
    outcome = dollars.bill()
    assert posted(dollars) == {111: "75.63053", 121: "12.93000", 101: "-81.00000"}
    assert head(dollars) == ("68.07000", "81.00000")
    assert "their sum is 7.56053" in warning(outcome)


def test_gross_once(dollars: Books) -> None:
    dollars.config(dollars.order(currency_id=2, taxincluded=True))
    outcome = dollars.bill(settings=ONCE)
    assert head(dollars) == ("75.63000", "90.00000")
    assert posted(dollars)[121] == "14.37000"
    # income keeps its fractions of a cent, as in every gross invoice of kivitendo's
    assert abs(balance(dollars)) < Decimal("0.005")
    assert not outcome.warnings


@pytest.mark.parametrize("gross", [False, True])
def test_the_own_currency_is_the_same_either_way(dollars: Books, gross: bool) -> None:
    item = {"sellprice": "33.335", "qty": "3", "discount": "0.03"}
    dollars.config(dollars.order(item, {"parts_id": 2013}, taxincluded=gross))
    dollars.config(dollars.order(item, {"parts_id": 2013}, taxincluded=gross), start_date=TODAY)
    first = dollars.bill()
    rows = "SELECT chart_id, amount FROM acc_trans ORDER BY trans_id, 1, 2"
    before = dollars.rows(rows)
    dollars.rows("DELETE FROM acc_trans; DELETE FROM ar; UPDATE defaults SET invnumber = 0")
    second = dollars.bill(settings=ONCE)
    assert dollars.rows(rows) == before
    assert first.text() == second.text()


def test_whatever_the_rate_once_balances(dollars: Books) -> None:
    """A rate of 1/3, odd prices, two tax rates, many orders: not one of them is off."""
    dollars.rows("UPDATE exchangerate SET buy = 0.33333")
    for cents in range(1, 60):
        dollars.config(
            dollars.order(
                {"sellprice": f"{cents * 7.13:.3f}", "qty": "1.7"},
                {"parts_id": 2013, "sellprice": f"{cents / 9:.5f}", "discount": "0.07"},
                currency_id=2,
            )
        )
    outcome = dollars.bill(settings=ONCE)
    assert len(outcome.posted) == 59 and not outcome.warnings
    assert not dollars.rows(
        "SELECT invnumber FROM ar JOIN acc_trans ON trans_id = ar.id GROUP BY ar.id"
        " HAVING sum(acc_trans.amount) <> 0"
    )


def test_a_missing_rate_is_told_and_counts_as_one(books: Books) -> None:
    books.rows("INSERT INTO exchangerate (currency_id, transdate, buy) VALUES (2, %s, NULL)", TODAY)
    books.rows("INSERT INTO exchangerate (currency_id, transdate, buy) VALUES (3, '2026-03-14', 2)")
    for currency in (2, 3):
        books.config(books.order(currency_id=currency))
    outcome = books.bill()
    assert [one.amount for one in outcome.posted] == [119, 119]
    assert [f"currency id {n} on 2026-03-15: calculated with 1" in text
            for n, text in zip((2, 3), outcome.warnings, strict=True)] == [True, True]  # fmt: skip


def test_a_rate_of_zero_counts(dollars: Books) -> None:
    dollars.rows("UPDATE exchangerate SET buy = 0")
    dollars.config(dollars.order(currency_id=2))
    outcome = dollars.bill()
    assert head(dollars) == ("0.00000", "0.00000")
    assert not outcome.warnings


def test_an_empty_invoice_is_made_and_told(books: Books) -> None:
    books.config(books.order({"recurring_billing_mode": "never"}))
    outcome = books.bill()
    assert head(books) == ("0.00000", "0.00000")
    assert warning(outcome) == "invoice 1 (order AB-1): the invoice has no items"
    assert not posted(books)


@pytest.mark.parametrize(("closed", "told"), [("2026-03-14", False), ("2026-03-15", True)])
def test_a_closed_period_is_told(books: Books, closed: str, told: bool) -> None:
    books.rows("UPDATE defaults SET closedto = %s", closed)
    assert not books.bill().warnings  # nothing was due
    books.config()
    outcome = books.bill()
    assert len(outcome.posted) == 1
    expected = [f"today lies in a closed period (until {closed})"] if told else []
    assert outcome.warnings == expected


def test_gross_invoices_with_many_fractions_are_told(books: Books) -> None:
    """Eight lines of 0.4 cents each: kivitendo's gross rows are off by more than half a cent."""
    books.config(books.order(*[{"sellprice": "0.014"}] * 8, taxincluded=True))
    outcome = books.bill()
    assert abs(balance(books)) > Decimal("0.005")
    assert f"their sum is {balance(books)}" in warning(outcome)
