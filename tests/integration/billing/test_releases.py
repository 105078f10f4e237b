"""Databases of kivitendo 3.5.4 to 4.1, with the behaviour of their releases (1.9 and 1.10)."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from orders import USER, Books, circumstances
from releases import ALL, back_to, marker

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import PeriodicInvoicesSettings, Settings
from kivitendo_task_server.database.schema import Release, existing_columns, release_name
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import JobContext, JobRow
from kivitendo_task_server.jobs.periodic_invoices.behaviour import (
    Behaviour,
    UnsupportedRelease,
    behaviour_of,
)
from kivitendo_task_server.jobs.periodic_invoices.job import (
    CreatePeriodicInvoices,
    circumstances_of,
)
from kivitendo_task_server.jobs.periodic_invoices.outcome import Outcome

MARCH = date(2026, 3, 1)


def become(books: Books, release: Release) -> None:
    """Turn the books back."""
    for text in back_to(release):
        books.rows(text)


def bill(books: Books, today: date = date(2026, 3, 15), **changes: Any) -> Outcome:
    """A run with the behaviour that the job finds for the database."""
    connection = books.second_user()
    noon = datetime(today.year, today.month, today.day, 12, tzinfo=UTC)
    found = circumstances_of(connection, USER, FixedClock(noon), PeriodicInvoicesSettings())
    connection.close()
    return books.bill(today, behaviour=found.behaviour, **changes)


def named(release: Release) -> str:
    """For the names of tests."""
    return release_name(release)


@pytest.mark.parametrize("release", ALL, ids=named)
def test_every_supported_release_is_billed(books: Books, release: Release) -> None:
    """All kinds of rows that are written, in a database that has the columns of its time."""
    simple = books.config(books.order({}, {"parts_id": 2013, "qty": "1.5"}))
    quotation = books.config(books.order(record_type="sales_quotation"))
    once = books.config(periodicity="o")
    addressed = books.order()
    books.config(addressed)
    shipto = books.value(
        "INSERT INTO shipto (trans_id, module, shiptoname) VALUES (%s, 'OE', 'Rampe 7')"
        " RETURNING shipto_id",
        addressed,
    )
    books.rows(
        "INSERT INTO custom_variables (config_id, trans_id, sub_module, text_value)"
        " SELECT 901, id, 'orderitems', 'V-7' FROM orderitems WHERE trans_id = %s;"
        "INSERT INTO custom_variables (config_id, trans_id, sub_module, text_value)"
        " VALUES (911, %s, '', 'Tor 3')",
        addressed, shipto,
    )  # fmt: skip
    become(books, release)

    outcome = bill(books)
    assert not outcome.failures, outcome.text()
    assert [one.amount for one in outcome.posted] == [279.5, 119, 119, 119]
    billed = {one.config_id: one.ar_id for one in outcome.posted}
    assert set(books.billed()) == {(config, MARCH) for config in billed}
    dates = "SELECT orddate IS NULL, quodate IS NULL FROM ar WHERE id = %s"
    assert books.rows(dates, billed[simple]) == [(False, True)]
    assert books.rows(dates, billed[quotation]) == [(True, False)]
    assert books.value("SELECT closed FROM oe WHERE id = %s", books.oe_id(once))
    assert books.rows("SELECT shiptoname FROM shipto WHERE module = 'AR'") == [("Rampe 7",)]
    cloned = books.rows(
        "SELECT text_value FROM custom_variables WHERE sub_module = 'invoice'"
        " UNION ALL SELECT text_value FROM custom_variables"
        "  WHERE trans_id = (SELECT shipto_id FROM shipto WHERE module = 'AR')"
    )
    assert cloned == [("V-7",), ("Tor 3",)]
    columns = existing_columns(books.connection, ["ar", "shipto"])
    if "tax_point" in columns["ar"]:
        assert books.value("SELECT min(tax_point) FROM ar") == date(2026, 3, 31)
    if "tax_point_start" in columns["ar"]:
        assert books.value("SELECT min(tax_point_start) FROM ar") == MARCH
    if "shiptocountry" in columns["shipto"]:
        assert books.value("SELECT shiptocountry FROM shipto WHERE module = 'AR'") == "Deutschland"
    again = bill(books)
    assert not again.posted and not again.failures


def test_a_development_checkout_counts_as_its_last_release(books: Books) -> None:
    books.rows("INSERT INTO schema_info (tag) VALUES ('release_4_1_0_upgrade'), ('release_99')")
    books.config()
    assert len(bill(books).posted) == 1


# -- releases that are not billed ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markers", "found"),
    [
        ([(3, 5, 3)], "3.5.3"),
        ([(3, 0, 0)], "3.0.0"),
        ([], "unknown"),
        ([(3, 5, 8), (4, 2, 0)], "4.2.0"),
        ([(10, 0)], "10.0"),
    ],
)
def test_other_releases_are_refused(
    books: Books, tmp_path: Path, markers: list[Release], found: str
) -> None:
    """The whole job: where kivitendo's own one cannot be run, nothing is billed half-right."""
    books.config()
    books.rows("DELETE FROM schema_info")
    for one in markers:
        books.rows("INSERT INTO schema_info (tag) VALUES (%s)", marker(one))
    connection = books.second_user()
    context = JobContext(
        tenant=Tenant(1, "books", books.access, USER),
        connection=connection,
        settings=Settings(books.access, tmp_path / "kivitendo.conf"),
        clock=FixedClock(datetime(2026, 3, 15, 12, tzinfo=UTC)),
        log=logging.getLogger("releases"),
        job=JobRow(1, "interval", "CreatePeriodicInvoices"),
        options={},
        kivitendo_dir=tmp_path,
    )
    with pytest.raises(JobFailed) as failed:
        CreatePeriodicInvoices().run(context)
    connection.close()
    message = str(failed.value)
    assert f"the database is of kivitendo release {found};" in message
    assert "supported for 3.5.4 to 4.1" in message
    assert ("trust_unknown_release = 1" in message) == (found in ("4.2.0", "10.0"))
    assert not books.billed()


def test_a_newer_release_that_is_trusted(books: Books) -> None:
    books.config()
    books.rows("INSERT INTO schema_info (tag) VALUES ('release_4_2_0')")
    connection = books.second_user()
    trusting = circumstances_of(
        connection,
        USER,
        FixedClock(datetime(2026, 3, 15, 12, tzinfo=UTC)),
        PeriodicInvoicesSettings(trust_unknown_release=True),
    )
    connection.close()
    assert trusting.behaviour == circumstances().behaviour
    assert len(books.bill(behaviour=trusting.behaviour).posted) == 1


def test_trust_is_for_newer_releases_only() -> None:
    for release in ((3, 5, 3), (2, 6, 3), None):
        with pytest.raises(UnsupportedRelease):
            behaviour_of(release, trust_unknown=True)
    assert behaviour_of((4, 1, 3), trust_unknown=False) == Behaviour()


# -- what changed from release to release (1.10) ---------------------------------------------------

BOUNDARIES = [
    # releases: the last before a change and the first with it
    ((3, 5, 5), (3, 5, 6)),
    ((3, 5, 6, 1), (3, 5, 7)),
    ((3, 5, 8), (3, 6, 0)),
    ((3, 7, 0), (3, 8, 0)),
    ((4, 0, 0), (4, 1, 0)),
]


@pytest.mark.parametrize(
    ("release", "rates"),
    [
        # period 05-01 to 05-31 billed on 07-10; period 06-20 to 07-19 billed on 06-25
        ((3, 5, 5), ("0.16", "0.19")),  # today's rate
        ((3, 5, 6), ("0.19", "0.19")),  # that of the period's start
        ((3, 5, 7), ("0.19", "0.16")),  # that of its end
    ],
    ids=str,
)
def test_the_day_of_the_tax_rate(books: Books, release: Release, rates: tuple[str, str]) -> None:
    """19 % until the end of June 2020, 16 % from July."""
    early = books.config(start_date="2020-06-20")
    late = books.config(start_date="2020-05-01", active=False)
    become(books, release)
    bill(books, date(2020, 6, 25))
    books.rows("UPDATE periodic_invoices_configs SET active = true")
    bill(books, date(2020, 7, 10))

    def rate(config: int, period: str) -> Any:
        return books.value(
            "SELECT round(amount / netamount - 1, 2)::text FROM ar JOIN periodic_invoices p"
            "    ON ar_id = ar.id WHERE config_id = %s AND period_start_date = %s",
            config, period,
        )  # fmt: skip

    assert rate(early, "2020-06-20") == rates[1]
    assert rate(late, "2020-05-01") == rates[0]


@pytest.mark.parametrize(
    ("release", "price", "end"),
    [
        ((3, 5, 6), "10.00000", "31.03.2026"),
        ((3, 5, 7), "120.00000", "31.03.2026"),
        ((3, 7, 0), "120.00000", "31.03.2026"),
        ((3, 8, 0), "120.00000", "28.02.2027"),
    ],
    ids=str,
)
def test_one_time_orders_with_a_value_period(
    books: Books, release: Release, price: str, end: str
) -> None:
    order = books.order({"sellprice": "120", "description": "<%period_end_date%>"})
    books.config(order, periodicity="o", order_value_periodicity="y")
    become(books, release)
    bill(books)
    assert books.rows("SELECT sellprice::text, description FROM invoice") == [(price, end)]


@pytest.mark.parametrize(
    ("release", "text"), [((3, 5, 8), "a 3  b"), ((3, 6, 0), "a 3 <%foo%> b")], ids=str
)
def test_unknown_variables(books: Books, release: Release, text: str) -> None:
    books.config(books.order({"description": "a <%current_month%> <%foo%> b"}))
    become(books, release)
    bill(books)
    assert books.value("SELECT description FROM invoice") == text


@pytest.mark.parametrize(
    ("release", "rows"),
    [
        # position, part, component: the first assembly's are lost, the second's follow the first
        ((4, 0, 0), [(2021, False), (2011, True), (2002, True), (2021, False)]),
        ((4, 1, 0), [(2021, False), (2011, True), (2002, True)] * 2),
    ],
    ids=str,
)
def test_components_of_assemblies(
    books: Books, release: Release, rows: list[tuple[int, bool]]
) -> None:
    books.rows("UPDATE defaults SET inventory_system = 'perpetual'")
    books.config(books.order({"parts_id": 2021}, {"parts_id": 2021}))
    become(books, release)
    bill(books)
    assert books.rows("SELECT parts_id, assemblyitem FROM invoice ORDER BY position") == rows


@pytest.mark.parametrize(
    ("release", "net"), [((4, 0, 0), "1234.00000"), ((4, 1, 0), "1234.01000")], ids=str
)
def test_digits_of_rounding(books: Books, release: Release, net: str) -> None:
    """1234.0049999999969 is less than half a cent away from 1234.01, but for 15 digits (6.2)."""
    item = {"sellprice": "9492346153.84613", "qty": "0.00013", "price_factor_id": 603}
    books.config(books.order(item))
    become(books, release)
    bill(books)
    assert books.value("SELECT netamount::text FROM ar") == net


def test_every_switch_changes_at_its_release() -> None:
    """Between these boundaries nothing does."""
    before = behaviour_of(ALL[0], trust_unknown=False)
    changes = []
    for earlier, later in pairwise(ALL):
        behaviour = behaviour_of(later, trust_unknown=False)
        if behaviour != before:
            changes.append((earlier, later))
        before = behaviour
    assert changes == BOUNDARIES
    assert before == Behaviour()
