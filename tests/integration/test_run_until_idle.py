"""One pass over everything that is due, with real workers: what ends up in the tables."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from conftest import NewDatabase
from installation import Installation, add_job

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.scheduling.supervisor import Summary, run_job, run_until_idle

NOW = datetime(2026, 11, 22, 15, 22, 10, tzinfo=ZoneInfo("Europe/Berlin"))


def run(installation: Installation) -> Summary:
    settings = installation.load().settings
    return run_until_idle(settings, FixedClock(NOW), kivitendo_dir=installation.directory)


@pytest.fixture
def one_tenant(installation: Installation, new_database: NewDatabase) -> Installation:
    installation.configure("node_id = vm")
    installation.add_tenant("Eins", new_database())
    return installation


def test_success_and_failure_are_recorded(one_tenant: Installation) -> None:
    access = one_tenant.tenants["Eins"]
    good = add_job(access, description="guter Test", data="result: eins")
    bad = add_job(access, description="schlechter Test", data="exception: Grüße")
    assert run(one_tenant) == Summary(1, 1, ())
    assert one_tenant.execute(
        "Eins",
        "SELECT package_name, description, run_at, status, result, error, data"
        " FROM background_job_histories ORDER BY id",
    ) == [
        ("Test", "guter Test", NOW.replace(tzinfo=None), "success", "eins", None, "result: eins"),
        (
            "Test",
            "schlechter Test",
            NOW.replace(tzinfo=None),
            "failure",
            None,
            "Oh cruel world: Grüße",
            "exception: Grüße",
        ),
    ]
    tomorrow = datetime(2026, 11, 23, 3, 0)
    assert one_tenant.execute(
        "Eins", "SELECT id, last_run_at, next_run_at FROM background_jobs ORDER BY id"
    ) == [(good, NOW.replace(tzinfo=None), tomorrow), (bad, NOW.replace(tzinfo=None), tomorrow)]
    assert one_tenant.execute("Eins", "SELECT * FROM kivitendo_task_server.running_jobs") == []
    assert run(one_tenant) == Summary(0, 0, ())


# task-server.md, d.1: type, active, cron_spec, next_run_at, last_run_at, node_id, due?
DAY = timedelta(days=1)
DUE = [
    ("interval", True, "0 3 * * *", -DAY, None, None, True),
    ("interval", None, "0 3 * * *", -DAY, None, None, False),
    (None, True, "0 3 * * *", -DAY, None, None, False),
    ("interval", True, "0 3 * * *", None, None, None, False),
    ("interval", True, "", -DAY, None, None, True),
    ("interval", True, None, -DAY, None, None, True),
    ("once", True, "0 3 * * *", None, None, None, True),
    ("once", True, "", DAY, None, None, True),
    ("once", True, None, DAY, None, None, True),
    ("once", True, "0 3 * * *", DAY, None, None, False),
    ("once", True, "0 3 * * *", -DAY, -2 * DAY, None, False),
    ("once", False, "", None, None, None, False),
    ("interval", True, "0 3 * * *", -DAY, None, "", True),
    ("interval", True, "0 3 * * *", -DAY, None, "vm", True),
    ("interval", True, "0 3 * * *", -DAY, None, "other", False),
    # the borders of the rule
    ("interval", True, "0 3 * * *", timedelta(0), None, None, True),
    ("interval", True, "0 3 * * *", timedelta(seconds=1), None, None, False),
    ("once", True, "0", DAY, None, None, False),
    ("interval", True, "0 3 * * *", -DAY, None, "VM", False),
]


@pytest.mark.parametrize("only_this_node", [False, True])
def test_due_rule(one_tenant: Installation, only_this_node: bool) -> None:
    one_tenant.configure(f"node_id = vm\nonly_run_tasks_for_this_node = {int(only_this_node)}")
    now = NOW.replace(tzinfo=None)
    expected = []
    for kind, active, spec, next_run, last_run, node, due in DUE:
        job = add_job(
            one_tenant.tenants["Eins"],
            type=kind,
            active=active,
            cron_spec=spec,
            next_run_at=None if next_run is None else now + next_run,
            last_run_at=None if last_run is None else now + last_run,
            node_id=node,
            data=f"result: {len(expected)}",
        )
        if due and (node == "vm" or not only_this_node):
            expected.append(job)
    assert run(one_tenant).succeeded == len(expected)
    ran = one_tenant.execute(
        "Eins", "SELECT id FROM background_jobs WHERE last_run_at = %s ORDER BY id", now
    )
    assert [row[0] for row in ran] == expected


def test_older_release_without_the_later_columns(one_tenant: Installation) -> None:
    one_tenant.execute("Eins", "ALTER TABLE background_jobs DROP COLUMN node_id")
    one_tenant.execute("Eins", "ALTER TABLE background_jobs DROP COLUMN description")
    one_tenant.execute("Eins", "ALTER TABLE background_job_histories DROP COLUMN description")
    one_tenant.execute(
        "Eins",
        "INSERT INTO background_jobs (type, package_name, active, cron_spec)"
        " VALUES ('once', 'Test', true, '')",
    )
    assert run(one_tenant) == Summary(1, 0, ())
    assert one_tenant.execute("Eins", "SELECT status FROM background_job_histories") == [
        ("success",)
    ]


def test_run_job_runs_it_whether_due_or_not(one_tenant: Installation) -> None:
    job = add_job(one_tenant.tenants["Eins"], active=False, node_id="other", next_run_at=None)
    settings = one_tenant.load().settings
    summary = run_job(job, settings, FixedClock(NOW), kivitendo_dir=one_tenant.directory)
    assert summary == Summary(1, 0, ())
    summary = run_job(job + 1, settings, FixedClock(NOW), kivitendo_dir=one_tenant.directory)
    assert summary == Summary(0, 0, ())
