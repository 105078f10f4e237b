"""How a worker deals with what others do: interrupted runs, other nodes, locked tables."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
from job_rows import settings_of
from one_tenant import NOW, OneTenant

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.database import own_schema, queue
from kivitendo_task_server.database.connection import application_name, connect
from kivitendo_task_server.database.due import LOCK_CLASS, DueRule, TableShape
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.scheduling import worker
from kivitendo_task_server.scheduling.messages import Batch, Interruption
from kivitendo_task_server.scheduling.reports import Reports

pytestmark = pytest.mark.usefixtures("kept_directory")

GONE = 2**22  # no process has that id


def _batch(tenant: OneTenant, node: str, jobs: tuple[int, ...], *interrupted: int) -> Batch:
    settings, clock = settings_of(tenant.installation), FixedClock(NOW)
    return Batch(
        Tenant(1, "Eins", tenant.access, TenantUser("taskserver")),
        settings,
        clock,
        tenant.installation.path,
        DueRule(clock.now().replace(tzinfo=None), node, False, TableShape(), None),
        jobs,
        interrupted=dict.fromkeys(
            interrupted, Interruption(GONE, "interrupted: for the test", False)
        ),
    )


@pytest.fixture
def kept_directory() -> Iterator[None]:
    """A worker goes to kivitendo's directory; the tests stay where they are."""
    before = Path.cwd()
    yield
    os.chdir(before)


def _run(tenant: OneTenant, node: str, jobs: tuple[int, ...], interrupted: int) -> list[str]:
    """Have a worker in this process do a batch; the events it reported."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker.Worker(_batch(tenant, node, jobs, interrupted), Reports(theirs)).run()
        theirs.shutdown(socket.SHUT_WR)
        with ours.makefile() as lines:
            return [json.loads(line)["event"] for line in lines]


def test_a_run_that_another_node_took_over_is_not_waited_for(
    tenant: OneTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each tick would wait in vain, before the jobs that are due."""
    monkeypatch.setattr(worker, "LOCK_PATIENCE", 10.0**6)
    taken, due = tenant.add(next_run_at="2099-01-01"), tenant.add()
    other = connect(tenant.access, purpose="the other node")
    own_schema.ensure(other)
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, taken))
        cursor.execute(
            "INSERT INTO kivitendo_task_server.running_jobs VALUES (%s, 'Test', 'other', 1, now())",
            (taken,),
        )
    other.commit()
    assert _run(tenant, "vm", (due,), taken) == ["settled", "started", "recorded", "done"]
    assert tenant.marks() == [(taken,)]
    other.close()


@pytest.mark.parametrize("node", ["vm", "Büro", "ein sehr langer Name für einen Knoten " * 2])
def test_the_session_of_a_dead_worker_is_ended_whatever_its_node_is_called(
    tenant: OneTenant, monkeypatch: pytest.MonkeyPatch, node: str
) -> None:
    monkeypatch.setattr(worker, "LOCK_PATIENCE", 10.0**6)
    job = tenant.add()
    dead = connect(tenant.access, purpose=worker.session_name(node, GONE))
    own_schema.ensure(dead)
    with dead.cursor() as cursor:
        cursor.execute("SELECT current_setting('application_name')")
        assert cursor.fetchall() == [(application_name(worker.session_name(node, GONE)),)]
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, job))
        cursor.execute(
            "INSERT INTO kivitendo_task_server.running_jobs VALUES (%s, 'Test', %s, %s, now())",
            (job, node, GONE),
        )
    dead.commit()
    events = _run(tenant, node, (job,), job)
    assert events == ["recorded", "settled", "started", "recorded", "done"]
    assert [row[1::2] for row in tenant.history()] == [
        ("failure", "interrupted: for the test"),
        ("success", None),
    ]
    with pytest.raises(psycopg2.OperationalError), dead.cursor() as cursor:
        cursor.execute("SELECT 1")


@pytest.mark.parametrize("begun", [False, True])
def test_a_locked_table_does_not_keep_a_worker(
    tenant: OneTenant, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """Its place among the busy tenants is wanted by others."""
    monkeypatch.setattr(queue, "LOCK_PATIENCE", "100ms")
    batch = _batch(tenant, "vm", (tenant.add(),))
    ours, theirs = socket.socketpair()
    with ours, theirs, closing(connect(tenant.access, purpose="somebody")) as somebody:
        own_schema.ensure(somebody)
        with somebody.cursor() as cursor:
            first = worker.Worker(batch, Reports(theirs)) if begun else None
            cursor.execute("LOCK TABLE background_jobs IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                (first or worker.Worker(batch, Reports(theirs))).run()
        somebody.rollback()
    assert tenant.history() == tenant.marks() == []
