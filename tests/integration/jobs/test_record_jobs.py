"""Jobs that change masses of records: the scenarios of jobs.md, 1.6 to 1.9."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from jobs_bench import Bench

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.close_projects import CloseProjectsBelongingToClosedSalesOrders
from kivitendo_task_server.jobs.close_quotations import CloseQuotations
from kivitendo_task_server.jobs.set_closed_to import SetClosedTo
from kivitendo_task_server.jobs.update_employee_base_data import UpdateEmployeeBaseData

# 1.6 UpdateEmployeeBaseData


def test_employees(bench: Bench, auth: Connection) -> None:
    with auth.cursor() as cursor:
        cursor.execute(
            """INSERT INTO auth.clients (id, name, dbhost, dbname, dbuser, dbpasswd)
                   VALUES (1, 'Demo', '', 'a', '', ''), (2, 'Andere', '', 'b', '', '');
               INSERT INTO auth."user" (id, login) VALUES
                   (1, 'demo'), (2, 'neu'), (3, 'ohne'), (4, 'fremd');
               INSERT INTO auth.user_config (user_id, cfg_key, cfg_value) VALUES
                   (1, 'name', 'Demo Benutzer'), (1, 'email', 'x@y'),
                   (2, 'name', 'Neue Nutzerin'), (4, 'name', 'Fremd');
               INSERT INTO auth.clients_users (client_id, user_id) VALUES
                   (1, 1), (1, 2), (1, 3), (2, 4)"""
        )
    bench.execute("UPDATE employee SET name = 'falsch', deleted = true WHERE login = 'demo'")
    bench.insert(
        "employee",
        [
            {"id": 101, "login": "ohne", "name": "Alter Name", "deleted": True},
            {"id": 102, "login": "weg", "name": "Weg", "deleted": True},
            {"id": 103, "login": "Neu", "name": "Groß geschrieben", "deleted": False},
        ],
    )
    assert bench.run(UpdateEmployeeBaseData).text == "1"
    assert bench.rows('SELECT login, name, deleted FROM employee ORDER BY login COLLATE "C"') == [
        ("Neu", "Groß geschrieben", False),
        ("demo", "Demo Benutzer", False),
        ("neu", "Neue Nutzerin", False),
        ("ohne", None, False),
        ("weg", "Weg", True),
    ]
    assert bench.value(
        "SELECT sales AND startdate = current_date FROM employee WHERE login = 'neu'"
    )

    versions = bench.column("SELECT ctid::text FROM employee ORDER BY login")
    bench.run(UpdateEmployeeBaseData)  # every five minutes: what is right is not written again
    assert bench.column("SELECT ctid::text FROM employee ORDER BY login") == versions


def test_employees_of_a_release_without_tenants(bench: Bench) -> None:
    context = bench.context(UpdateEmployeeBaseData, None)
    context.tenant = replace(context.tenant, id=None)
    with pytest.raises(JobFailed, match="does not record which users belong to a tenant"):
        UpdateEmployeeBaseData().run(context)


# 1.7 CloseProjectsBelongingToClosedSalesOrders


@pytest.fixture
def projects(bench: Bench) -> Bench:
    """Projects 1 to 5 of the scenarios, each with its orders."""
    statuses = {1: (3, True), 2: (4, True), 3: (3, True), 4: (3, True), 5: (1, False)}
    bench.insert(
        "project",
        [
            {"id": i, "projectnumber": f"p{i}", "project_type_id": 1, "project_status_id": status,
             "active": active}
            for i, (status, active) in statuses.items()
        ],
    )  # fmt: skip
    orders = [
        (1, "sales_order", True), (1, "sales_order", False), (2, "sales_order", True),
        (3, "sales_order", False), (4, "sales_quotation", True), (5, "sales_order", True),
    ]  # fmt: skip
    bench.insert(
        "oe",
        [
            {"id": 100 + i, "ordnumber": str(i), "taxzone_id": 1, "currency_id": 1,
             "globalproject_id": project, "record_type": kind, "closed": closed}
            for i, (project, kind, closed) in enumerate(orders)
        ],
    )  # fmt: skip
    return bench


def _projects(bench: Bench) -> dict[int, tuple[int, bool]]:
    rows = bench.rows("SELECT id, project_status_id, active FROM project ORDER BY id")
    return {number: (status, active) for number, status, active in rows}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, {1: (4, False), 2: (4, True), 3: (3, True), 4: (3, True), 5: (4, False)}),
        (
            "new_status: planning\nset_inactive: 0\n",
            {1: (2, True), 2: (2, True), 3: (3, True), 4: (3, True), 5: (2, False)},
        ),
        (
            "set_inactive:\n",
            {1: (4, True), 2: (4, True), 3: (3, True), 4: (3, True), 5: (4, False)},
        ),
        (
            "set_inactive: no\n",  # on in the original
            {1: (4, True), 2: (4, True), 3: (3, True), 4: (3, True), 5: (4, False)},
        ),
    ],
)
def test_projects(projects: Bench, data: str | None, expected: dict[int, Any]) -> None:
    assert projects.run(CloseProjectsBelongingToClosedSalesOrders, data).text == "1"
    assert _projects(projects) == expected


def test_projects_of_releases_without_record_types(projects: Bench) -> None:
    """Up to 3.8 a boolean told quotations from orders, and the customer sales from purchases."""
    projects.insert(
        "customer",
        [{"id": 9, "name": "K", "taxzone_id": 1, "currency_id": 1, "country_id": 1}],
    )
    projects.execute(
        """ALTER TABLE oe ADD quotation boolean;
           UPDATE oe SET quotation = record_type = 'sales_quotation', customer_id = 9
            WHERE globalproject_id <> 5;
           ALTER TABLE oe DROP record_type"""
    )
    projects.run(CloseProjectsBelongingToClosedSalesOrders)
    closed = _projects(projects)
    assert closed == {1: (4, False), 2: (4, True), 3: (3, True), 4: (3, True), 5: (1, False)}


def test_projects_unknown_status(projects: Bench) -> None:
    before = _projects(projects)
    with pytest.raises(JobFailed) as caught:
        projects.run(CloseProjectsBelongingToClosedSalesOrders, "new_status: nix\n")
    assert str(caught.value).startswith("No project status named 'nix' found!")
    assert "presales, planning, running, done" in str(caught.value)
    assert _projects(projects) == before


# 1.8 CloseQuotations


@pytest.fixture
def quotations(bench: Bench) -> Bench:
    """The rows 7001 to 7010."""
    rows = [
        ("sales_quotation", "A-1", date(2025, 11, 22), False),
        ("sales_quotation", "A-2", date(2025, 11, 23), False),
        ("sales_quotation", "A-3", date(2023, 11, 22), None),
        ("sales_quotation", "A-4", date(2023, 11, 22), True),
        ("request_quotation", "P-5", date(2024, 11, 22), False),
        ("sales_order", "", date(2024, 11, 22), False),
        ("sales_quotation", "", date(2024, 11, 22), False),
        ("request_quotation", None, date(2024, 11, 22), False),
        ("sales_quotation", "A-9", None, False),
        ("purchase_quotation_intake", "P-10", date(2024, 11, 22), False),
    ]
    bench.execute("UPDATE defaults SET sqnumber = 'A-100', rfqnumber = 'P-100'")
    bench.insert(
        "oe",
        [
            {"id": i, "ordnumber": "", "taxzone_id": 1, "currency_id": 1, "record_type": kind,
             "quonumber": number, "transdate": day, "closed": closed}
            for i, (kind, number, day, closed) in enumerate(rows, 7001)
        ],
    )  # fmt: skip
    bench.insert("notes", [{"id": 1, "subject": "x", "created_by": 100}])
    bench.insert(
        "follow_ups", [{"id": 1, "follow_up_date": "2026-01-01", "note_id": 1, "created_by": 100}]
    )
    bench.insert(
        "follow_up_links",
        [{"follow_up_id": 1, "trans_id": 7001, "trans_type": "sales_quotation"}],
    )
    return bench


def _closed(bench: Bench) -> set[int]:
    return set(bench.column("SELECT id FROM oe WHERE closed AND id <> 7004"))


@pytest.mark.parametrize(
    ("data", "closed"),
    [
        ("dry_run: 1", set()),
        (None, {7001, 7003, 7005, 7007, 7008}),
        ("years: 0", {7001, 7002, 7003, 7005, 7007, 7008}),
        ("years: 3", {7003}),
        ("years: ~\ndry_run: 1", set()),
        # scenario 6 has 'no', which is on in the original
        ("years: ~\ndry_run: no", {7001, 7003, 7005, 7007, 7008}),
    ],
)
def test_quotations(quotations: Bench, data: str | None, closed: set[int]) -> None:
    quotations.run(CloseQuotations, data)
    assert _closed(quotations) == closed


def test_quotations_results(quotations: Bench) -> None:
    dry = quotations.run(CloseQuotations, "dry_run: 1").text
    assert dry == (
        "Preisanfragen noch nicht geschlossen: P-5,  Angebote noch nicht geschlossen: A-1, A-3, "
    )
    quotations.user = replace(quotations.user, countrycode="en")
    assert quotations.run(CloseQuotations, "years: 3").text == (
        "Request quotations closed:  Sales quotations closed: A-3"
    )
    quotations.user = replace(quotations.user, countrycode="de")
    assert quotations.run(CloseQuotations).text == (
        "Preisanfragen geschlossen: P-5,  Angebote geschlossen: A-1, "
    )


def test_quotations_side_effects(quotations: Bench) -> None:
    quotations.run(CloseQuotations)
    assert quotations.column("SELECT follow_up_id FROM follow_up_done") == [1]
    assert quotations.value("SELECT mtime IS NOT NULL FROM oe WHERE id = 7001")
    # unlike in the original no new numbers
    assert quotations.rows("SELECT quonumber FROM oe WHERE id IN (7007, 7008) ORDER BY id") == [
        ("",),
        (None,),
    ]
    assert quotations.rows("SELECT sqnumber, rfqnumber FROM defaults") == [("A-100", "P-100")]


@pytest.mark.parametrize("data", ["years: abc", "years: -1", "years: 0.5", "dry_run: 2"])
def test_quotations_refuse(quotations: Bench, data: str) -> None:
    with pytest.raises(JobFailed, match="the job's options are wrong"):
        quotations.run(CloseQuotations, data)
    assert _closed(quotations) == set()


def test_quotations_on_29_february(quotations: Bench) -> None:
    quotations.on("2028-02-29")
    quotations.execute("UPDATE oe SET transdate = '2027-02-28' WHERE id = 7001")
    quotations.execute("UPDATE oe SET transdate = '2027-03-01' WHERE id = 7002")
    quotations.run(CloseQuotations)
    assert {7001, 7002} & _closed(quotations) == {7001}


# 1.9 SetClosedTo


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        ("2026-11-22", "2026-10-12"),
        ("2026-03-10", "2026-01-31"),
        ("2026-03-31", "2026-02-21"),
        ("2026-03-01", "2026-01-19"),
        ("2026-02-28", "2026-01-18"),
        ("2026-01-31", "2025-12-21"),
        ("2028-02-29", "2028-01-19"),
        ("2026-12-31", "2026-11-21"),
    ],
)
def test_closed_to_by_default(bench: Bench, today: str, expected: str) -> None:
    bench.on(today)
    assert bench.run(SetClosedTo).text == "1"
    assert bench.value("SELECT closedto::text FROM defaults") == expected


@pytest.mark.parametrize(
    ("before", "data", "after"),
    [
        (None, None, "2026-10-12"),
        ("2026-10-12", None, "2026-10-12"),
        ("2026-10-13", None, "2026-10-13"),
        ("2020-01-01", "subtract_month: 2\nsubtract_days: 1", "2026-09-21"),
        ("2026-09-21", "subtract_month: 0\nsubtract_days: 0", "2026-10-12"),
    ],
)
def test_closed_to(bench: Bench, before: str | None, data: str | None, after: str) -> None:
    bench.execute("UPDATE defaults SET closedto = %s", before)
    assert bench.run(SetClosedTo, data).text == "1"
    assert bench.value("SELECT closedto::text FROM defaults") == after


@pytest.mark.parametrize("data", ["subtract_days: x", "subtract_month: -1", "subtract_days: 1.5"])
def test_closed_to_refuses(bench: Bench, data: str) -> None:
    with pytest.raises(JobFailed, match="must be a whole number"):
        bench.run(SetClosedTo, data)
    assert bench.value("SELECT closedto FROM defaults") is None
