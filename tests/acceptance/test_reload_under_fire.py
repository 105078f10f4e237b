"""The configuration is rewritten again and again, half of the time wrongly, while jobs run."""

from __future__ import annotations

import random
import signal
import time

from job_rows import add_job, execute
from kivitendo_fixture import until
from one_tenant import OneTenant
from real_service import real_service
from test_database_trouble import add_effects, check_each_ran_once, effects


def test_two_hundred_rewrites(tenant: OneTenant) -> None:
    installation, access = tenant.installation, tenant.access
    file = installation.path / "config/kivitendo.conf"
    add_effects(access, 200, 0.02)
    chance = random.Random(4)
    with real_service(installation) as service:
        for number in range(200):
            if number % 2:
                file.write_text(f"[task_server]\nmax_parallel_tenants = no number {number}\n")
            else:
                installation.configure(
                    "task_server", node_id=f"node-{number}", max_parallel_tenants=str(number + 1)
                )
            if chance.random() < 0.1:
                service.process.send_signal(signal.SIGHUP)
            time.sleep(0.02)  # so that the service gets to see a good many of them
        assert service.process.poll() is None
        # it did hear of many of them, of both kinds, and jobs ran under several of them
        assert len(service.lines("reloaded")) > 5 and len(service.lines("reload_failed")) > 5
        nodes = tenant.execute("SELECT DISTINCT last_node FROM kivitendo_task_server.job_runs")
        assert len(nodes) > 2
        installation.configure("task_server", node_id="last-valid")

        def last_valid_is_in_force() -> bool:
            job = add_job(access, type="once", cron_spec="", next_run_at=None)
            service.wake_up()
            until(lambda: _node_of(tenant, job) is not None)
            return _node_of(tenant, job) == "last-valid"

        until(lambda: effects(access) == 200)
        until(last_valid_is_in_force)
        file.write_text("[task_server]\nmax_parallel_tenants = none at all\n")
        until(lambda: "none at all" in service.log)
        assert last_valid_is_in_force()
        refused = [line for line in service.lines("reload_failed") if "none at all" in line]
        assert len(refused) == 1  # said once, not at every look at the file
        execute(access, "DELETE FROM background_job_histories WHERE package_name = 'Test'")
        execute(access, "DELETE FROM background_jobs WHERE package_name = 'Test'")
        check_each_ran_once(access)
        assert service.stop() == 0


def _node_of(tenant: OneTenant, job: int) -> str | None:
    rows = tenant.execute(
        "SELECT last_node FROM kivitendo_task_server.job_runs WHERE job_id = %s AND runs > 0", job
    )
    return rows[0][0] if rows else None
