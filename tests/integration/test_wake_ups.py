"""A wake-up (SIGALRM) while the tenant's job runs, in a service without ticks.

With ticks a lost wake-up would be made up for within a minute, and no test would see it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from job_rows import settings_of
from one_tenant import OneTenant

from kivitendo_task_server.clock import SystemClock
from kivitendo_task_server.scheduling import signals
from kivitendo_task_server.scheduling.spawner import fork_spawner
from kivitendo_task_server.scheduling.supervisor import Supervisor

PATIENCE = 60  # seconds; it only turns a hang into a failure


class NoTicks:
    """A pace that waits for ever."""

    async def next_tick(self) -> None:
        await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


def test_a_wake_up_during_a_job_is_not_lost(add_on: OneTenant, tmp_path: Path) -> None:
    """Weakness 19."""
    began = tmp_path / "began"
    sleeping = add_on.add("Sleep", data=f"seconds: 3\nbegan: {began}")

    def finished(job: int) -> bool:
        return add_on.times(job)[0] is not None

    async def scenario() -> None:
        supervisor = Supervisor(
            settings_of(add_on.installation),
            clock=SystemClock(),
            kivitendo_dir=add_on.installation.path,
            spawner=spawner,
            pace=NoTicks(),
        )
        service = asyncio.create_task(supervisor.run())
        await until(began.exists)
        created = add_on.add()
        os.kill(os.getpid(), signal.SIGALRM)
        await asyncio.sleep(0)  # the signal is heard
        assert not finished(sleeping)
        await until(lambda: finished(created))
        os.kill(os.getpid(), signal.SIGTERM)
        assert await service == 0

    spawner = fork_spawner()
    with signals.deferred():
        asyncio.run(scenario())
