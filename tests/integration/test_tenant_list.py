"""The list of tenants, read again and again by the supervisor."""

from __future__ import annotations

import asyncio
import socket

from gate import Gate
from job_rows import settings_of
from one_tenant import NOW, OneTenant

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.scheduling.pool import WorkerPool
from kivitendo_task_server.scheduling.service import Service
from kivitendo_task_server.scheduling.tenant_list import TenantList

PATIENCE = 60  # seconds; it only turns a hang into a failure


def test_a_problem_and_its_end_are_told_when_they_come(tenant: OneTenant) -> None:
    """Not only when the next tick comes, or something else changes: status and systemd show it."""
    installation = tenant.installation
    gate = Gate((installation.auth.host, installation.auth.port), "open")
    installation.configure("authentication/database", port=str(gate.port))

    async def test() -> None:
        told: asyncio.Queue[str | None] = asyncio.Queue()
        with socket.socket() as nobody:
            service = Service.create(
                settings_of(installation),
                FixedClock(NOW),
                installation.path,
                WorkerPool((0, nobody)),
            )
            tenants = TenantList(service.settings, service, lambda tenants: None)
            service.state_changed = lambda: told.put_nowait(tenants.problem)

            async def until_told(problem: bool) -> None:
                while (await asyncio.wait_for(told.get(), PATIENCE) is not None) != problem:
                    pass

            serving = asyncio.create_task(tenants.serve())
            for away in (True, False, True, False):
                gate.set("closed" if away else "open")
                tenants.wake_up()
                await until_told(away)
            serving.cancel()
            await service.notifier.close()

    try:
        asyncio.run(test())
    finally:
        gate.close()
