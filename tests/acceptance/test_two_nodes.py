"""Two nodes on the same tenants: races, kills and standstills; every job runs exactly once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from database_fixture import NewDatabase
from job_rows import add_job, execute
from kivitendo_fixture import KivitendoDir, until
from real_service import RealService, real_service
from test_database_trouble import add_effects, check_each_ran_once, effects

from kivitendo_task_server.config.settings import DatabaseAccess

NODES = ("one", "two")


class Nodes:
    """Two services with configuration files of their own for one installation."""

    def __init__(self, installation: KivitendoDir, stack: ExitStack) -> None:
        self._installation = installation
        self._stack = stack
        self.running: dict[str, RealService] = {}
        for node in NODES:
            installation.configure("task_server", f"config/{node}.conf", node_id=node)

    def start(self, node: str) -> None:
        """Start a node; also again, as an init system does after a death."""
        service = real_service(self._installation, config=f"config/{node}.conf")
        self.running[node] = self._stack.enter_context(service)

    def workers(self) -> list[int]:
        """All processes of both nodes but the supervisors."""
        return [pid for service in self.running.values() for pid in service.children()]


@pytest.fixture
def tenants(kivitendo_dir: KivitendoDir, new_database: NewDatabase) -> list[DatabaseAccess]:
    """Two tenants that both nodes serve."""
    accesses = [new_database(), new_database()]
    for access in accesses:
        kivitendo_dir.add_tenant(access.name, access)
    return accesses


def done(tenants: list[DatabaseAccess]) -> int:
    return sum(effects(access) for access in tenants)


def idle(tenants: list[DatabaseAccess]) -> bool:
    """Whether nothing is due or marked as running."""
    return not any(
        execute(
            access,
            "SELECT 1 FROM background_jobs WHERE next_run_at < now()"
            " UNION ALL SELECT 1 FROM kivitendo_task_server.running_jobs",
        )
        for access in tenants
    )


def finish(nodes: Nodes, tenants: list[DatabaseAccess]) -> None:
    """Let the nodes do the rest, and see whether all is as it must be."""

    def over() -> bool:
        for service in nodes.running.values():
            service.wake_up()  # what ticks do, but a test does not wait for minutes
        return idle(tenants)

    until(over)
    for access in tenants:
        check_each_ran_once(access)


def test_killed_workers_and_supervisors(
    kivitendo_dir: KivitendoDir, tenants: list[DatabaseAccess]
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # shown if the test fails
    chance = random.Random(seed)
    for access in tenants:
        add_effects(access, 250, 0.02)
    with ExitStack() as stack:
        nodes = Nodes(kivitendo_dir, stack)
        for node in NODES:
            nodes.start(node)
        for milestone in range(25, 400, 25):
            until(_reached(tenants, milestone))
            if milestone in (100, 300) or chance.random() < 0.3:
                node = chance.choice(NODES)
                nodes.running[node].kill()
                nodes.start(node)
            elif workers := nodes.workers():
                os.kill(chance.choice(workers), signal.SIGKILL)
        finish(nodes, tenants)
        nodes_used = {
            row[0]
            for access in tenants
            for row in execute(
                access, "SELECT DISTINCT last_node FROM kivitendo_task_server.job_runs"
            )
        }
        assert nodes_used == set(NODES)


KEEPALIVES = 50  # seconds, see database/connection.py: the longest of the time-outs


def test_a_node_that_stands_still(
    kivitendo_dir: KivitendoDir, tenants: list[DatabaseAccess]
) -> None:
    """Longer than the time-outs of connections, queries, keepalives, and of the jobs themselves.

    In one tenant PostgreSQL ends idle sessions, so that the other node takes its job over; in the
    other one the claim lasts.
    """
    ending, patient = tenants
    kivitendo_dir.configure("task_server", job_timeout="3")
    for kind in ("session", "in_transaction_session"):
        execute(ending, f"ALTER DATABASE {ending.name} SET idle_{kind}_timeout = '4s'")
    for access in tenants:
        add_effects(access, 250, 0.02)
    with ExitStack() as stack:
        nodes = Nodes(kivitendo_dir, stack)
        nodes.start("one")
        until(_reached(tenants, 10))
        frozen = freeze_amid_jobs(nodes.running["one"], tenants)
        since = time.monotonic()
        nodes.start("two")
        until(_reached(tenants, 498))  # all but the jobs that the other one holds

        def taken_over() -> bool:
            nodes.running["two"].wake_up()
            return effects(ending) == 250

        until(taken_over)
        time.sleep(max(0.0, since + KEEPALIVES + 2 - time.monotonic()))
        assert effects(patient) == 249
        assert {state(pid) for pid in frozen} == {"T"}
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        finish(nodes, tenants)
        failed = [line for node in NODES for line in nodes.running[node].lines("job_failed")]
        assert all("without a record" in line for line in failed)
        assert len(failed) == 1  # in the other tenant the claim was kept, and nothing failed


def freeze_amid_jobs(service: RealService, tenants: list[DatabaseAccess]) -> list[int]:
    """Stop all processes of a node while it runs a job in each tenant; their ids."""
    frozen: list[int] = []

    def amid_jobs() -> bool:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        frozen[:] = [service.process.pid, *service.children()]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        until(lambda: all(state(pid) == "T" for pid in frozen))
        return all(
            execute(access, "SELECT 1 FROM kivitendo_task_server.running_jobs")
            for access in tenants
        )

    until(amid_jobs)
    return frozen


def state(pid: int) -> str:
    """A process's state as ps shows it."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize("how", ["SELECT pg_advisory_unlock_all()", "DISCARD ALL"])
def test_a_run_whose_claim_was_given_up_counts_once(
    kivitendo_dir: KivitendoDir, tenants: list[DatabaseAccess], tmp_path: Path, how: str
) -> None:
    """Another node may take it over meanwhile: then that one's effects are kept, and no others."""
    access = tenants[0]
    add_effects(access, 0)
    began, end = tmp_path / "began", tmp_path / "end"
    job = add_job(access, "GiveUpClaim", data=f"how: {how}\nbegan: {began}\nend: {end}")
    with ExitStack() as stack:
        nodes = Nodes(kivitendo_dir, stack)
        nodes.start("one")
        until(began.exists)
        execute(access, "UPDATE background_jobs SET package_name = 'Effect', data = ''")
        nodes.start("two")
        until(lambda: effects(access) == 1)
        end.touch()
        until(lambda: bool(nodes.running["one"].lines("claim_lost")))
        other = add_job(access, "Effect")
        nodes.running["one"].wake_up()
        until(lambda: effects(access) == 2)
        finish(nodes, [access])
    assert execute(access, "SELECT job_id FROM effects ORDER BY job_id") == [(job,), (other,)]
    history = "SELECT package_name, status FROM background_job_histories ORDER BY id"
    assert execute(access, history) == [
        ("Effect", "failure"),
        ("Effect", "success"),
        ("Effect", "success"),
    ]


def _reached(tenants: list[DatabaseAccess], count: int) -> Callable[[], bool]:
    return lambda: done(tenants) >= count
