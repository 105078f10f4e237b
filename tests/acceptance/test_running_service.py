"""A detached service with a real tenant: what kivitendo's web interface does with it (c.9)."""

from __future__ import annotations

import os
import signal

import pytest
from job_rows import Rows, add_job, execute
from kivitendo_fixture import KivitendoDir, until

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import connect

P = "kivitendo-background-jobs"

# a run that takes until the test lets it go on
LONG_WRITING = """
    CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END';
    CREATE TRIGGER wait_for_the_test BEFORE INSERT ON background_job_histories
        FOR EACH ROW EXECUTE FUNCTION wait_for_the_test();
"""


@pytest.fixture
def served(kivitendo_dir: KivitendoDir, tenant_access: DatabaseAccess) -> KivitendoDir:
    """An installation with one tenant."""
    kivitendo_dir.add_tenant("Müller & Söhne", tenant_access)
    return kivitendo_dir


def history(access: DatabaseAccess) -> Rows:
    return execute(access, "SELECT status, result FROM background_job_histories ORDER BY id")


def test_a_job_created_by_the_web_interface_runs_at_its_wake_up(
    served: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    served.run("start")
    for count in (1, 2):
        add_job(tenant_access, type="once", cron_spec="", next_run_at=None, data="result: done\n")
        os.kill(served.pid, signal.SIGALRM)
        until(lambda count=count: history(tenant_access) == [("success", "done")] * count)  # type: ignore[misc]
    status = served.run("status")
    assert "tenant Müller & Söhne: " in status.stdout
    elsewhere = served.run("status", environ=served.environment() | {"PYTHONIOENCODING": "ascii"})
    assert elsewhere.returncode == 0
    assert r"tenant M\xfcller & S\xf6hne: " in elsewhere.stdout


def test_stop_lets_a_running_job_finish(
    served: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    """Weakness 6: the original interrupts it, and nothing tells of the run."""
    blocker = connect(tenant_access, purpose="test")
    with blocker.cursor() as cursor:
        cursor.execute(LONG_WRITING)
    blocker.commit()
    with blocker.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(4711)")
    add_job(tenant_access, data="result: finished\n")
    served.run("start")
    pid = served.pid
    until(lambda: waiting_for_a_lock(tenant_access))
    stop = served.popen("stop")
    assert stop.stdout is not None
    assert [stop.stdout.readline() for _ in range(2)] == [
        f"Killing {pid}\n",
        f"Waiting for {pid} to die...\n",
    ]
    assert history(tenant_access) == []
    blocker.commit()
    assert stop.communicate(timeout=60) == (f"Process {pid} is gone\n", "")
    assert stop.returncode == 0
    assert history(tenant_access) == [("success", "finished")], served.log
    blocker.close()


def waiting_for_a_lock(access: DatabaseAccess) -> bool:
    return execute(
        access,
        "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'",
        access.name,
    ) != []  # fmt: skip


def test_run_job_runs_a_job_that_is_not_due(
    served: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    job = add_job(tenant_access, active=False, data="result: by hand\n")
    add_job(tenant_access, data="result: due\n")
    done = served.run("debug", f"--run-job={job}")
    assert done.returncode == 0
    assert f"job {job} has run in 1 tenants" in done.stderr
    assert history(tenant_access) == [("success", "by hand")]
    assert not served.pid_file.exists()


def test_run_job_respects_what_holds_back_due_jobs(
    served: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    job = add_job(tenant_access)
    lock = served.path / "users/nologin"
    lock.touch()
    locked = served.run("debug", f"--run-job={job}")
    assert "no jobs run: the installation is locked" in locked.stderr
    lock.unlink()
    scripts = served.path / "sql/Pg-upgrade2"
    scripts.mkdir(parents=True)
    (scripts / "new.sql").write_text("-- @tag: new_tag\n")
    pending = served.run("debug", f"--run-job={job}")
    assert "new_tag" in pending.stderr and "action=tenant_held" in pending.stderr
    for held in (locked, pending):
        assert held.returncode == 0
        assert f"job {job} has run in 0 tenants" in held.stderr
        assert "these tenants could not be served: Müller & Söhne" in held.stderr
    assert history(tenant_access) == []
