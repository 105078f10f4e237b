"""Rules of the specification that no golden vector shows; what is expected follows its words."""

from __future__ import annotations

from contextlib import closing
from datetime import date

import pytest
from orders import TODAY, Books, circumstances

from kivitendo_task_server.jobs.periodic_invoices.ahead import FIRST_BLOCK
from kivitendo_task_server.jobs.periodic_invoices.preview import preview


def test_a_saved_configuration_gets_its_defaults(books: Books) -> None:
    """kivitendo gives NULL columns their defaults when it saves a row, as vector a24 shows it."""
    ended = books.config(end_date="2026-03-10", terminated=None, print=None)
    extended = books.config(
        end_date="2026-03-10", extend_automatically_by=1, terminated=None, print=None
    )
    once = books.config(periodicity="o", terminated=None, print=None)
    untouched = books.config(terminated=None, print=None)
    books.bill()
    saved = "SELECT active, terminated, print FROM periodic_invoices_configs WHERE id = %s"
    assert books.rows(saved, ended) == books.rows(saved, once) == [(False, False, False)]
    assert books.rows(saved, extended) == [(True, False, False)]
    assert books.rows(saved, untouched) == [(True, None, None)]


def test_a_closed_order_gets_its_defaults(books: Books) -> None:
    blank = {"transdate": None, "closed": None, "delivered": None, "proforma": None}
    closed, open_one, finished = (books.order(**blank) for _ in range(3))
    books.rows("UPDATE oe SET closed = true WHERE id = %s", finished)
    intake = books.order(record_type="sales_order_intake", **blank)
    books.rows(
        "INSERT INTO record_links (from_table, from_id, to_table, to_id)"
        " VALUES ('oe', %s, 'oe', %s)",
        intake, closed,
    )  # fmt: skip
    for order in (closed, finished):
        books.config(order, periodicity="o")
    books.config(open_one)
    books.bill()
    saved = "SELECT transdate = current_date, closed, delivered, proforma FROM oe WHERE id = %s"
    for order in (closed, finished, intake):
        assert books.rows(saved, order) == [(True, True, False, False)]
    assert books.rows(saved, open_one) == [(None, None, None, None)]
    assert books.rows("SELECT DISTINCT orddate = current_date FROM ar") == [(True,)]


# -- the worked examples of section 6.7 -----------------------------------------------------------

INCOME, REDUCED, TAX, REDUCED_TAX, RECEIVABLES, GAIN, LOSS = 111, 113, 121, 122, 101, 151, 152


def line(qty: str, price: str, discount: str = "0", *, part: int = 2003) -> dict[str, str | int]:
    """An item with a cost of 40; part 2003 is taxed with 19 %, 2013 with 7 %."""
    return {"parts_id": part, "qty": qty, "sellprice": price, "discount": discount,
            "lastcost": "40"}  # fmt: skip


EXAMPLES = {
    # items, gross, precision, postings, (netamount, amount), (marge_total, marge_percent)
    "net": (
        [line("1", "100")], False, "0.01",
        {INCOME: "100.00000", TAX: "19.00000", RECEIVABLES: "-119.00000"},
        ("100.00000", "119.00000"), ("60.00000", "60.00000"),
    ),
    "tax rounded once": (
        [line("1", "0.13")] * 5, False, "0.01",
        {INCOME: "0.65000", TAX: "0.12000", RECEIVABLES: "-0.77000"},
        ("0.65000", "0.77000"), ("-199.35000", "-30669.23077"),
    ),
    "net, two rates": (
        [line("3", "33.335"), line("7", "9.995", "0.03", part=2013), line("1.5", "0.005")],
        False, "0.01",
        {INCOME: "100.02000", REDUCED: "67.87000", TAX: "19.00000", REDUCED_TAX: "4.75000",
         RECEIVABLES: "-191.64000"},
        ("167.89000", "191.64000"), ("-292.11000", "-173.98892"),
    ),
    "gross": (
        [line("1", "100")], True, "0.01",
        {INCOME: "84.03361", TAX: "15.97000", RECEIVABLES: "-100.00000"},
        ("84.03000", "100.00000"), ("44.03361", "52.39795"),
    ),
    "gross, two rates": (
        [line("3", "33.33"), line("7", "9.99", "0.03", part=2013)], True, "0.01",
        {INCOME: "84.02521", REDUCED: "63.39462", TAX: "15.96000", REDUCED_TAX: "4.44000",
         RECEIVABLES: "-167.82000"},
        ("147.42000", "167.82000"), ("-252.58227", "-171.33360"),
    ),
    "rounded down": (
        [line("1", "100.01")], False, "0.05",
        {INCOME: "100.01000", TAX: "19.00000", RECEIVABLES: "-119.00000", LOSS: "-0.01000"},
        ("100.01000", "119.00000"), ("60.01000", "60.00400"),
    ),
    "rounded up": (
        [line("1", "100.03")], False, "0.05",
        {INCOME: "100.03000", TAX: "19.01000", RECEIVABLES: "-119.05000", GAIN: "0.01000"},
        ("100.03000", "119.05000"), ("60.03000", "60.01200"),
    ),
    "credits and nothing": (
        [line("-2", "10"), line("1", "5"), line("0", "7"), line("1", "0")], False, "0.01",
        {INCOME: "-15.00000", TAX: "-2.85000", RECEIVABLES: "17.85000"},
        ("-15.00000", "-17.85000"), ("25.00000", "-166.66667"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_examples(books: Books, name: str) -> None:
    items, gross, precision, postings, amounts, margin = EXAMPLES[name]
    books.rows("UPDATE defaults SET precision = %s", precision)
    books.config(books.order(*items, taxincluded=gross))
    books.bill()
    found = books.rows("SELECT chart_id, amount::text FROM acc_trans WHERE amount <> 0")
    assert len(found) == len(postings) and dict(found) == postings
    assert books.rows("SELECT netamount::text, amount::text FROM ar") == [amounts]
    assert books.rows("SELECT marge_total::text, marge_percent::text FROM ar") == [margin]


def test_worked_example_of_price_factors(books: Books) -> None:
    """250 at 33.33 for a hundred; part 2014 costs 12.00 for a hundred."""
    item = {"parts_id": 2014, "qty": "250", "sellprice": "33.33", "price_factor_id": 602}
    books.config(books.order(item))
    books.bill()
    assert books.value("SELECT netamount::text FROM ar") == "83.33000"
    margin = "SELECT marge_total::text, marge_percent::text FROM invoice"
    assert books.rows(margin) == [("53.33000", "63.99856")]


def test_margins_of_items_without_a_price(books: Books) -> None:
    items = [line("-2", "10"), line("1", "5"), line("0", "7"), line("1", "0")]
    books.config(books.order(*items))
    books.bill()
    margins = books.rows("SELECT marge_total::text FROM invoice ORDER BY position")
    assert margins == [("60.00000",), ("-35.00000",), ("0.00000",), ("0.00000",)]


# -- units (6.3) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "base_qty"),
    [("Pak", "24"), ("Pal", "960"), ("Kiste", "2"), ("Wagen", "14"), ("Fass", "2")],
)
def test_units_upon_units(books: Books, unit: str, base_qty: str) -> None:
    """A factor that comes to 0 counts as 1, also within another one; NULL ends the chain."""
    for name, base, factor in (
        ("Kiste", "Pak", 0), ("Wagen", "Kiste", 7), ("Fass", "Pak", None),
    ):  # fmt: skip
        books.rows(
            "INSERT INTO units (name, base_unit, factor, type, sortkey)"
            " VALUES (%s, %s, %s, 'dimension', 20)",
            name, base, factor,
        )  # fmt: skip
    books.config(books.order({"qty": "2", "unit": unit}))
    books.bill()
    assert books.value("SELECT base_qty::text FROM invoice") == base_qty


def test_a_price_factor_without_a_value_is_one(books: Books) -> None:
    books.rows(
        "INSERT INTO price_factors (id, description, factor, sortkey) VALUES (699, 'je', NULL, 9)"
    )
    books.rows("UPDATE parts SET price_factor_id = 699 WHERE id = 2003")
    books.config(books.order({"price_factor_id": 699, "lastcost": "40"}))
    books.bill()
    factors = "SELECT price_factor::text, marge_price_factor::text, marge_total::text FROM invoice"
    assert books.rows(factors) == [("1.00000", "1.00000", "60.00000")]


# -- what is not looked at (2.1), and what is remembered (2.4) -------------------------------------


def test_what_is_not_looked_at(books: Books) -> None:
    books.rows("UPDATE customer SET obsolete = true; UPDATE parts SET obsolete = true")
    books.config(books.order(closed=True, delivered=True))
    books.config(books.order(record_type="sales_order_intake"))
    assert len(books.bill().posted) == 2


def test_a_cancelled_invoice_stays_billed(books: Books) -> None:
    books.config()
    books.bill()
    books.rows("UPDATE ar SET storno = true")
    assert not books.bill().posted


# -- the end of one-time orders (2.6) --------------------------------------------------------------


def test_intakes_are_closed_however_far_back(books: Books) -> None:
    """Two intakes, a quotation between them and the order; an unrelated and a later one."""
    first, second, unrelated, later = (
        books.order(record_type="sales_order_intake") for _ in range(4)
    )
    quotation = books.order(record_type="sales_quotation")
    order = books.order()
    for earlier, its_successor in (
        (first, second), (second, quotation), (quotation, order), (order, later), (order, order),
    ):  # fmt: skip
        books.rows(
            "INSERT INTO record_links (from_table, from_id, to_table, to_id)"
            " VALUES ('oe', %s, 'oe', %s)",
            earlier, its_successor,
        )  # fmt: skip
    books.config(order, periodicity="o")
    books.bill()
    closed = {key for (key,) in books.rows("SELECT id FROM oe WHERE closed")}
    assert closed == {first, second, order}
    assert not {unrelated, later, quotation} & closed


def test_a_project_number_that_is_taken(books: Books) -> None:
    """The order fails, is not changed and uses up no number; the others are billed.

    All of it is foreseen by a preview.
    """
    books.rows(
        "UPDATE defaults SET order_always_project = true;"
        "INSERT INTO project (projectnumber, project_type_id, project_status_id)"
        " VALUES ('AB-1', 1, 1)"
    )
    taken = books.config(books.order(), periodicity="o")
    free = books.config(books.order(), periodicity="o")
    quotation = books.config(books.order(record_type="sales_quotation"), periodicity="o")
    monthly = books.config(books.order())
    with closing(books.second_user()) as reader:
        foreseen = preview(reader, circumstances(), TODAY)
    outcome = books.bill()
    (failure,) = outcome.failures
    assert foreseen.failures == [failure]
    assert [one.ordnumber for one in foreseen.invoices] == [one.ordnumber for one in outcome.posted]
    assert failure.config_id == taken and "a project with number" in failure.message
    assert [one.config_id for one in outcome.posted] == [free, quotation, monthly]
    assert not books.faults()
    assert books.rows(
        "SELECT oe.ordnumber, oe.closed, project.projectnumber FROM oe"
        "  LEFT JOIN project ON project.id = globalproject_id ORDER BY oe.id"
    ) == [
        (books.ordnumber(taken), False, None),
        (books.ordnumber(free), True, books.ordnumber(free)),
        (books.ordnumber(quotation), True, None),
        (books.ordnumber(monthly), False, None),
    ]


# -- addresses and custom variables (5.2.3, 5.4) ---------------------------------------------------


def test_an_order_with_two_addresses_keeps_the_customers(books: Books) -> None:
    shipto = books.value(
        "INSERT INTO shipto (trans_id, module, shiptoname) VALUES (1001, 'CT', 'Lager')"
        " RETURNING shipto_id"
    )
    order = books.order(shipto_id=shipto)
    books.rows(
        "INSERT INTO shipto (trans_id, module, shiptoname) VALUES (%s, 'OE', 'Rampe 7')", order
    )
    books.config(order)
    books.bill()
    assert books.rows("SELECT shipto_id FROM ar") == [(shipto,)]
    assert books.value("SELECT count(*) FROM shipto WHERE module = 'AR'") == 0


def test_only_the_variables_of_items_are_cloned(books: Books) -> None:
    """Those of other modules and other records with the same id are not; twice is twice."""
    order = books.order()
    (item,) = (key for (key,) in books.rows("SELECT id FROM orderitems"))
    for config, sub_module, text in (
        (901, "orderitems", "eins"), (901, "orderitems", "eins"), (903, "orderitems", None),
        (921, "orderitems", "anderes Modul"), (901, "", "Artikel"), (901, "invoice", "Rechnung"),
    ):  # fmt: skip
        books.rows(
            "INSERT INTO custom_variables (config_id, trans_id, sub_module, text_value)"
            " VALUES (%s, %s, %s, %s)",
            config, item, sub_module, text,
        )  # fmt: skip
    books.config(order)
    books.bill()
    assert books.rows(
        "SELECT config_id, text_value, bool_value FROM custom_variables"
        "  JOIN invoice ON invoice.id = custom_variables.trans_id"
        " WHERE sub_module = 'invoice' ORDER BY config_id"
    ) == [(901, "eins", False), (901, "eins", False), (903, None, False)]


# -- numbers (5.8) ---------------------------------------------------------------------------------


def test_numbers_differ_by_case_and_patterns_are_text(books: Books) -> None:
    books.rows("UPDATE defaults SET invnumber = 'RE<%current_year%>-009'")
    for present in ("re<%current_year%>-010", "RE<%current_year%>-011", "RE<%current_year%>-12"):
        books.rows(
            "INSERT INTO ar (invnumber, customer_id, taxzone_id, currency_id)"
            " VALUES (%s, 1001, 401, 1)",
            present,
        )
    books.configs(2)
    outcome = books.bill()
    assert [one.invnumber for one in outcome.posted] == [
        "RE<%current_year%>-010", "RE<%current_year%>-012",
    ]  # fmt: skip


# -- cycles (4) ------------------------------------------------------------------------------------


def test_four_years_from_a_leap_day_have_no_last_invoice(books: Books) -> None:
    from_leap_day = books.order({"sellprice": "99.99"})
    books.config(
        from_leap_day, periodicity="y", order_value_periodicity="4", start_date="2024-02-29"
    )
    books.bill(date(2029, 3, 15))
    assert [str(period) for _, period in books.billed()] == [
        "2024-02-29", "2025-03-01", "2026-03-01", "2027-03-01", "2028-03-01", "2029-03-01",
    ]  # fmt: skip
    assert books.rows("SELECT DISTINCT sellprice::text FROM invoice") == [("25.00000",)]


# -- goods (6.9) -----------------------------------------------------------------------------------


def test_fractions_of_goods_are_planned_as_the_database_adds_them(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    """Two blocks of invoices take from one purchase; the second is as it was planned."""
    caplog.set_level("INFO", "billing")
    books.rows("UPDATE defaults SET inventory_system = 'perpetual'")
    books.rows(
        "INSERT INTO invoice (trans_id, parts_id, position, qty, base_qty, allocated, sellprice,"
        " discount) VALUES (1, 2011, 1, -1000, -1000, 0, 5, 0)"
    )
    for _ in range(70):
        books.config(books.order({"parts_id": 2011, "qty": "0.1"}))
    outcome = books.bill()
    assert len(outcome.posted) == 70
    assert "repeated" not in caplog.text
    (taken,) = books.rows("SELECT allocated FROM invoice WHERE base_qty < 0")
    assert taken[0] != 7 and abs(taken[0] - 7) < 1e-4


# -- several configurations of one order -----------------------------------------------------------


def described(books: Books, *configs: int) -> list[tuple[int, str, list[str]]]:
    """Configuration, period and items of these configurations' invoices, by invoice number."""
    return books.rows(
        "SELECT config_id, period_start_date::text, array_agg(item.description ORDER BY position)"
        "  FROM periodic_invoices JOIN ar ON ar.id = ar_id"
        "  JOIN invoice item ON item.trans_id = ar.id WHERE config_id = ANY(%s)"
        " GROUP BY config_id, period_start_date, invnumber ORDER BY lpad(invnumber, 20)",
        list(configs),
    )


ONCE = {"description": "einmal", "recurring_billing_mode": "once"}
PLACES = [0, FIRST_BLOCK - 2, FIRST_BLOCK - 1]
"""So many invoices come before: in one block, or with the border of two between them."""


@pytest.mark.parametrize("before", PLACES)
def test_once_is_once_for_all_configurations(books: Books, before: int) -> None:
    books.configs(before)
    order = books.order({"description": "immer"}, ONCE)
    first, second = (books.config(order, start_date="2026-02-01") for _ in range(2))
    last = books.config()
    books.bill()
    assert described(books, first, second) == [
        (first, "2026-02-01", ["immer", "einmal"]),
        (first, "2026-03-01", ["immer"]),
        (second, "2026-02-01", ["immer"]),
        (second, "2026-03-01", ["immer"]),
    ]
    assert [config for config, _ in books.billed()][-5:] == [first, first, second, second, last]


@pytest.mark.parametrize("before", PLACES)
def test_what_one_configuration_did_not_bill_is_left_for_the_other(
    books: Books, before: int
) -> None:
    """The database refuses the first one's invoice."""
    books.configs(before)
    order = books.order({"sellprice": "9999999999", "qty": "-1"}, {"sellprice": "9999999999"}, ONCE)
    first = books.config(order, order_value_periodicity="m", periodicity="y")
    second = books.config(order)
    (failure,) = books.bill().failures
    assert failure.config_id == first
    [(config, _, items)] = described(books, first, second)
    assert config == second and "einmal" in items


@pytest.mark.parametrize("before", PLACES)
def test_the_project_of_a_closed_order_is_known_to_its_other_configuration(
    books: Books, before: int
) -> None:
    books.rows("UPDATE defaults SET order_always_project = true")
    books.configs(before)
    order = books.order()
    once, monthly = books.config(order, periodicity="o"), books.config(order)
    last = books.config()
    books.bill()
    found = books.rows(
        "SELECT config_id, projectnumber FROM periodic_invoices JOIN ar ON ar.id = ar_id"
        "  LEFT JOIN project ON project.id = globalproject_id WHERE config_id >= %s"
        " ORDER BY lpad(invnumber, 20)",
        once,
    )
    assert found == [(once, None), (monthly, books.ordnumber(monthly)), (last, None)]
