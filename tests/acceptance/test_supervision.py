"""The real service: wake-ups, tenants side by side, graceful and other ends, holds, new tenants."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from database_fixture import NewDatabase
from job_rows import add_job, execute
from kivitendo_fixture import KivitendoDir, until
from one_tenant import OneTenant
from real_service import real_service

from kivitendo_task_server.config.settings import DatabaseAccess


def finished(access: DatabaseAccess, job: int) -> bool:
    """Whether the job has run."""
    rows = execute(access, "SELECT last_run_at IS NOT NULL FROM background_jobs WHERE id = %s", job)
    return bool(rows[0][0])


def statuses(access: DatabaseAccess) -> list[str]:
    return [
        row[0] for row in execute(access, "SELECT status FROM background_job_histories ORDER BY id")
    ]


def sleeping_job(access: DatabaseAccess, began: Path, seconds: float) -> int:
    return add_job(access, "Sleep", data=f"seconds: {seconds}\nbegan: {began}")


@pytest.fixture
def second(kivitendo_dir: KivitendoDir, new_database: NewDatabase) -> DatabaseAccess:
    """A second tenant of the installation."""
    access = new_database()
    kivitendo_dir.add_tenant("Zwei", access)
    return access


def test_a_busy_tenant_holds_up_nobody_and_wake_ups_are_not_lost(
    tenant: OneTenant, second: DatabaseAccess, tmp_path: Path
) -> None:
    began = tmp_path / "began"
    sleeping = sleeping_job(tenant.access, began, 4)
    with real_service(tenant.installation) as service:
        until(began.exists)
        other = add_job(second)
        same = tenant.add()
        service.wake_up()
        until(lambda: finished(second, other))
        assert not finished(tenant.access, sleeping)
        # the wake-up came while the tenant's job ran: no minute has to pass for the other one
        until(lambda: finished(tenant.access, same))
        assert service.stop() == 0


def test_an_idle_service_has_loaded_nothing_for_encryption(tenant: OneTenant) -> None:
    """Python's ssl and its libcrypto are memory for nothing: libpq brings its own."""
    tenant.add()
    with real_service(tenant.installation) as service:
        until(lambda: statuses(tenant.access) == ["success"])
        until(lambda: len(service.children()) == 1)  # the worker has gone
        for pid in (service.process.pid, *service.children()):
            loaded = Path(f"/proc/{pid}/maps").read_text()
            assert "/_psycopg." in loaded
            assert not re.search(r"/_(ssl|hashlib)\.", loaded)
        assert service.stop() == 0


def test_stop_finishes_the_running_job_and_begins_no_other(
    tenant: OneTenant, tmp_path: Path
) -> None:
    began = tmp_path / "began"
    sleeping = sleeping_job(tenant.access, began, 2)
    waiting = tenant.add(next_run_at="2021-01-01")
    with real_service(tenant.installation) as service:
        until(began.exists)
        assert service.stop() == 0
    assert finished(tenant.access, sleeping)
    assert not finished(tenant.access, waiting)
    assert statuses(tenant.access) == ["success"]


def test_start_does_not_take_a_service_that_is_ending_for_a_running_one(
    tenant: OneTenant, tmp_path: Path
) -> None:
    """Weakness 4: success would be reported, and a moment later nothing runs."""
    began = tmp_path / "began"
    sleeping_job(tenant.access, began, 3)
    with real_service(tenant.installation) as service:
        until(began.exists)
        service.process.terminate()
        until(lambda: "stopping" in tenant.installation.run("status").stdout)
        start = tenant.installation.run("start")
        assert (start.returncode, start.stdout) == (7, "")
        assert f"(pid {service.process.pid}) was told to end" in start.stderr
        assert service.process.wait(60) == 0
    assert statuses(tenant.access) == ["success"]
    assert tenant.installation.run("start").returncode == 0


def test_a_running_job_is_finished_under_the_old_configuration(
    tenant: OneTenant, tmp_path: Path
) -> None:
    began = tmp_path / "began"
    sleeping = sleeping_job(tenant.access, began, 2)
    waiting = tenant.add(next_run_at="2021-01-01")  # due as well, and of the same batch
    with real_service(tenant.installation) as service:
        until(began.exists)
        tenant.installation.configure("task_server", node_id="other")
        assert tenant.installation.run("reload").returncode == 0
        until(lambda: finished(tenant.access, waiting))
        assert service.stop() == 0
    assert statuses(tenant.access) == ["success", "success"]
    nodes = tenant.execute("SELECT job_id, last_node FROM kivitendo_task_server.job_runs")
    assert dict(nodes) == {sleeping: "vm", waiting: "other"}


@pytest.mark.parametrize("second_signal", [False, True])
def test_an_interrupted_job_is_recorded_and_runs_again(
    tenant: OneTenant, tmp_path: Path, second_signal: bool
) -> None:
    began = tmp_path / "began"
    sleeping = sleeping_job(tenant.access, began, 600)
    tenant.installation.configure("task_server", stop_timeout="600" if second_signal else "1")
    with real_service(tenant.installation) as service:
        until(began.exists)
        service.process.terminate()
        if second_signal:
            until(lambda: "action=stopping" in service.log)
            service.process.send_signal(signal.SIGINT)
        assert service.process.wait(60) == 0
    ((_, status, _, error),) = tenant.history()
    assert status == "failure"
    expected = "told to stop at once" if second_signal else "did not end within 1 s (stop_timeout)"
    assert error.startswith("interrupted: the service was ") and expected in error
    assert not finished(tenant.access, sleeping)
    tenant.execute("UPDATE background_jobs SET data = 'seconds: 0'")
    with real_service(tenant.installation):
        until(lambda: finished(tenant.access, sleeping))
    assert statuses(tenant.access) == ["failure", "success"]
    assert tenant.marks() == []


def test_a_killed_service_leaves_nothing_behind_and_the_next_one_finds_its_job(
    tenant: OneTenant, tmp_path: Path
) -> None:
    began = tmp_path / "began"
    sleeping = sleeping_job(tenant.access, began, 600)
    with real_service(tenant.installation) as service:
        until(began.exists)
        pids = service.children()
        assert len(pids) == 2  # the spawner and one worker
        service.kill()
    tenant.execute("UPDATE background_jobs SET data = 'seconds: 0'")
    with real_service(tenant.installation):
        until(lambda: finished(tenant.access, sleeping))
    (_, status, _, error), success = tenant.history()
    assert (status, success[1]) == ("failure", "success")
    assert "on node vm ended without a record (killed, or the machine went down)" in error


def test_the_process_that_starts_workers_may_die(tenant: OneTenant, tmp_path: Path) -> None:
    began = tmp_path / "began"
    sleeping_job(tenant.access, began, 600)
    with real_service(tenant.installation) as service:
        until(began.exists)
        tenant.execute("UPDATE background_jobs SET data = 'seconds: 0'")
        parents = {pid: _parent(pid) for pid in service.children()}
        (spawner,) = [pid for pid, parent in parents.items() if parent == service.process.pid]
        os.kill(spawner, signal.SIGKILL)
        until(lambda: statuses(tenant.access) == ["failure", "success"])
        assert len(service.lines("spawner_gone")) == 1
        assert service.stop() == 0


def test_tenants_come_and_go_without_a_restart(
    kivitendo_dir: KivitendoDir, new_database: NewDatabase
) -> None:
    access = new_database()
    job = add_job(access)
    with real_service(kivitendo_dir) as service:
        client = kivitendo_dir.add_tenant("Neu", access)
        service.wake_up()
        until(lambda: finished(access, job))
        assert len(service.lines("tenant_new")) == 1
        execute(
            kivitendo_dir.auth,
            "UPDATE auth.clients SET task_server_user_id = NULL WHERE id = %s",
            client,
        )
        service.wake_up()
        until(lambda: len(service.lines("tenant_gone")) == 1)
        assert service.stop() == 0


def test_the_installation_lock_holds_everything_back(tenant: OneTenant) -> None:
    lock = tenant.installation.path / "users/nologin"
    lock.touch()
    job = tenant.add()
    with real_service(tenant.installation) as service:
        for _ in range(3):
            service.wake_up()
        until(lambda: len(service.lines("wake_up")) == 0 and "action=hold" in service.log)
        assert not finished(tenant.access, job)
        lock.unlink()
        service.wake_up()
        until(lambda: finished(tenant.access, job))
        assert len(service.lines("hold")) == 1
        assert len(service.lines("hold_over")) == 1
        assert service.stop() == 0


def test_pending_upgrades_hold_back_whom_they_concern(
    tenant: OneTenant, second: DatabaseAccess
) -> None:
    path = tenant.installation.path
    for kind, script in (("-auth", "auth_one.sql"), ("", "one.sql"), ("", "two.pl")):
        folder = path / f"sql/Pg-upgrade2{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / script).write_text(f"-- @tag: {script}_tag\n# @description: something\n")
    (path / "sql/Pg-upgrade2/old.sql").write_text("-- @tag: old\n-- @ignore: 1\n")
    auth = tenant.installation.auth
    for access in (tenant.access, second):
        execute(access, "INSERT INTO schema_info (tag) VALUES ('one.sql_tag')")
    execute(second, "INSERT INTO schema_info (tag) VALUES ('two.pl_tag'), ('of_an_add_on')")
    held, good = tenant.add(), add_job(second)
    with real_service(tenant.installation) as service:
        until(lambda: len(service.lines("hold")) == 1)
        assert "auth_one.sql_tag" in service.lines("hold")[0]
        service.wake_up()
        execute(auth, "INSERT INTO auth.schema_info (tag) VALUES ('auth_one.sql_tag')")
        service.wake_up()
        until(lambda: finished(second, good))
        until(lambda: len(service.lines("tenant_held")) == 1)
        assert "two.pl_tag" in service.lines("tenant_held")[0]
        assert not finished(tenant.access, held)
        tenant.execute("INSERT INTO schema_info (tag) VALUES ('two.pl_tag')")
        service.wake_up()
        until(lambda: finished(tenant.access, held))
        assert len(service.lines("hold")) == 1
        assert len(service.lines("tenant_held")) == 1
        assert service.stop() == 0


@pytest.mark.parametrize("others", [(), ("base",)])
@pytest.mark.parametrize(
    ("folder", "held", "over"),
    [("Pg-upgrade2", "tenant_held", "tenant_upgraded"), ("Pg-upgrade2-auth", "hold", "hold_over")],
)
def test_an_older_kivitendo_that_is_put_back_ends_the_hold(
    tenant: OneTenant, folder: str, held: str, over: str, others: tuple[str, ...]
) -> None:
    script = tenant.installation.path / "sql" / folder / "new.sql"
    script.parent.mkdir(parents=True)
    for tag in others:
        script.with_stem(tag).write_text(f"-- @tag: {tag}\n")
        tenant.execute("INSERT INTO schema_info (tag) VALUES (%s)", tag)
        execute(tenant.installation.auth, "INSERT INTO auth.schema_info (tag) VALUES (%s)", tag)
    with real_service(tenant.installation) as service:

        def woken_until(condition: Callable[[], bool]) -> None:
            """The list of tenants may be read after they were looked at."""

            def met() -> bool:
                service.wake_up()
                return condition()

            until(met)

        for round_number in (1, 2):
            script.write_text("-- @tag: new_tag\n")
            woken_until(lambda: len(service.lines(held)) == round_number)  # noqa: B023
            script.unlink()
            job = tenant.add()
            woken_until(lambda: finished(tenant.access, job))  # noqa: B023
            assert len(service.lines(over)) == round_number
        assert service.stop() == 0


def test_a_tenant_changed_while_its_job_runs_does_not_repeat_what_ended_for_its_own_fault(
    tenant: OneTenant, tmp_path: Path
) -> None:
    began = tmp_path / "began"
    job = tenant.add("Sleep", data=f"seconds: 600\nbegan: {began}\njob_timeout: 2")
    with real_service(tenant.installation) as service:
        until(began.exists)
        execute(tenant.installation.auth, "UPDATE auth.clients SET name = 'Umbenannt'")
        service.wake_up()
        until(lambda: len(service.lines("tenant_new")) == 2)

        def recorded() -> bool:
            service.wake_up()
            return bool(tenant.history())

        until(recorded)
        until(lambda: len(service.lines("job_failed")) == 1)
        service.wake_up()
        assert service.stop() == 0
        assert service.lines("internal_error") == []
    assert tenant.history() == [
        ("Sleep", "failure", None, "the job exceeded its time limit of 2 s")
    ]
    assert finished(tenant.access, job)
    assert tenant.marks() == []


@pytest.mark.parametrize("kind", ["rss", "vsz"])
def test_memory_limit_of_the_supervisor_ends_it_in_good_order(tenant: OneTenant, kind: str) -> None:
    tenant.installation.configure("system", **{f"memory_limit_{kind}": "1 MB"})
    with real_service(tenant.installation) as service:
        assert service.process.wait(90) == 1
        (line,) = service.lines("memory_limit")
        assert f"reached for type '{kind}': limit 1048576 bytes, usage " in line
        assert not tenant.installation.pid_file.exists()
        assert len(service.lines("service_ended")) == 1


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
