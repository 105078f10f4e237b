"""One pass over everything that is due, with real workers: what ends up in the tables."""

from __future__ import annotations

from datetime import timedelta

import pytest
from job_rows import settings_of
from one_tenant import LOCAL_NOW, NOW, TOMORROW, OneTenant

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.scheduling.once import Summary, run_job


def test_success_and_failure_are_recorded(tenant: OneTenant) -> None:
    good = tenant.add(description="guter Test", data="result: eins")
    bad = tenant.add(description="schlechter Test", data="exception: Grüße")
    assert tenant.run() == Summary(1, 1, ())
    assert tenant.execute(
        "SELECT package_name, description, run_at, status, result, error, data"
        " FROM background_job_histories ORDER BY id",
    ) == [
        ("Test", "guter Test", LOCAL_NOW, "success", "eins", None, "result: eins"),
        (
            "Test",
            "schlechter Test",
            LOCAL_NOW,
            "failure",
            None,
            "Oh cruel world: Grüße",
            "exception: Grüße",
        ),
    ]
    assert tenant.execute(
        "SELECT id, last_run_at, next_run_at FROM background_jobs ORDER BY id"
    ) == [(good, LOCAL_NOW, TOMORROW), (bad, LOCAL_NOW, TOMORROW)]
    assert tenant.execute("SELECT * FROM kivitendo_task_server.running_jobs") == []
    assert tenant.run() == Summary(0, 0, ())


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
def test_due_rule(tenant: OneTenant, only_this_node: bool) -> None:
    tenant.installation.configure(
        "task_server", only_run_tasks_for_this_node=str(int(only_this_node))
    )
    now = LOCAL_NOW
    expected = []
    for kind, active, spec, next_run, last_run, node, due in DUE:
        job = tenant.add(
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
    assert tenant.run().succeeded == len(expected)
    ran = tenant.execute("SELECT id FROM background_jobs WHERE last_run_at = %s ORDER BY id", now)
    assert [row[0] for row in ran] == expected


def test_older_release_without_the_later_columns(tenant: OneTenant) -> None:
    tenant.execute("ALTER TABLE background_jobs DROP COLUMN node_id")
    tenant.execute("ALTER TABLE background_jobs DROP COLUMN description")
    tenant.execute("ALTER TABLE background_job_histories DROP COLUMN description")
    tenant.execute(
        "INSERT INTO background_jobs (type, package_name, active, cron_spec)"
        " VALUES ('once', 'Test', true, '')",
    )
    assert tenant.run() == Summary(1, 0, ())
    assert tenant.execute("SELECT status FROM background_job_histories") == [("success",)]


def test_run_job_runs_it_whether_due_or_not(tenant: OneTenant) -> None:
    job = tenant.add(active=False, node_id="other", next_run_at=None)
    settings = settings_of(tenant.installation)
    summary = run_job(job, settings, FixedClock(NOW), kivitendo_dir=tenant.installation.path)
    assert summary == Summary(1, 0, ())
    summary = run_job(job + 1, settings, FixedClock(NOW), kivitendo_dir=tenant.installation.path)
    assert summary == Summary(0, 0, ())
