"""One tenant's coroutine: what holds it back while its database is away, or another one."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from gate import Gate
from job_rows import settings_of
from one_tenant import NOW, OneTenant

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.scheduling import tenant_loop
from kivitendo_task_server.scheduling.pool import WorkerPool
from kivitendo_task_server.scheduling.service import Service
from kivitendo_task_server.scheduling.tenant_loop import WAITING, TenantLoop

PATIENCE = 60  # seconds; it only turns a hang into a failure


@asynccontextmanager
async def served(tenant: OneTenant, port: int) -> AsyncIterator[TenantLoop]:
    """The tenant's coroutine, which never gets a job to run."""
    access = replace(tenant.access, port=port)
    with socket.socket() as nobody:
        service = Service.create(
            settings_of(tenant.installation),
            FixedClock(NOW),
            tenant.installation.path,
            WorkerPool((0, nobody)),
        )
        loop = TenantLoop(Tenant(1, "Eins", access, TenantUser("taskserver")), service)
        serving = asyncio.create_task(loop.serve())
        await asyncio.sleep(0)  # the first look has begun
        yield loop
        loop.retire()
        await asyncio.wait([serving])
        await service.notifier.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def add_script(tenant: OneTenant, tag: str) -> Path:
    script = tenant.installation.path / "sql/Pg-upgrade2" / f"{tag}.sql"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(f"-- @tag: {tag}\n")
    return script


@pytest.mark.parametrize("hold", ["lock", "upgrade"])
def test_a_tenant_held_back_while_its_database_was_away_comes_back_by_itself(
    tenant: OneTenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hold: str
) -> None:
    """As in an upgrade: the installation is locked, PostgreSQL restarted, the tables changed."""
    monkeypatch.setattr(tenant_loop, "PAUSES", (0.05,))
    caplog.set_level(logging.INFO)
    lock = tenant.installation.path / "users/nologin"
    gate = Gate((tenant.access.host, tenant.access.port), "closed")

    async def test() -> None:
        async with served(tenant, gate.port) as loop:
            await until(lambda: loop.state.startswith("failing: "))
            if hold == "lock":
                lock.touch()
            else:
                add_script(tenant, "new")
                gate.set("open")
            await until(lambda: loop.state.startswith("held back: "))
            gate.set("open")
            lock.unlink(missing_ok=True)
            tenant.execute("INSERT INTO schema_info (tag) VALUES ('new')")
            loop.tick()  # as the next minute does; nobody wakes it up besides
            await until(lambda: loop.state == WAITING)

    try:
        asyncio.run(test())
    finally:
        gate.close()
    actions = [record.fields["action"] for record in caplog.records if hasattr(record, "fields")]
    assert [action for action in actions if action.startswith("tenant_")] == (
        ["tenant_failing", "tenant_back"]
        if hold == "lock"
        else ["tenant_failing", "tenant_back", "tenant_held", "tenant_upgraded"]
    )


def test_an_older_database_put_in_its_place_is_held_back(tenant: OneTenant) -> None:
    """What was found in a database says nothing of the one that is restored in its place."""
    add_script(tenant, "new")
    tenant.execute("INSERT INTO schema_info (tag) VALUES ('new')")
    gate = Gate((tenant.access.host, tenant.access.port), "open")

    async def test() -> None:
        async with served(tenant, gate.port) as loop:
            await until(lambda: loop.idle)
            assert loop.state == WAITING
            gate.set("closed")
            tenant.execute("DELETE FROM schema_info")
            gate.set("open")
            loop.tick()
            await until(lambda: loop.state.startswith("held back: "))

    try:
        asyncio.run(test())
    finally:
        gate.close()


def test_a_locked_installation_keeps_no_connection(tenant: OneTenant) -> None:
    """Databases are restored and renamed meanwhile, which any session would prevent."""

    def sessions() -> int:
        rows = tenant.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
        return int(rows[0][0])

    async def test() -> None:
        async with served(tenant, tenant.access.port) as loop:
            await until(lambda: loop.idle)
            assert sessions() == 1
            (tenant.installation.path / "users/nologin").touch()
            loop.tick()
            await until(lambda: sessions() == 0)

    asyncio.run(test())
