"""The configuration read again, and what the authentication database has to say about it."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from job_rows import execute
from one_tenant import OneTenant

from kivitendo_task_server.config.current import CurrentConfiguration
from kivitendo_task_server.config.settings import Settings, load
from kivitendo_task_server.scheduling import reloading
from kivitendo_task_server.scheduling.hooks import NoHooks
from kivitendo_task_server.scheduling.reloading import Reloading

PATIENCE = 60  # seconds; it only turns a hang into a failure


class Hooks(NoHooks):
    """Keeps what it is told of the ends of reloads."""

    def __init__(self) -> None:
        self.used: list[Settings] = []
        self._told: asyncio.Queue[str | None] = asyncio.Queue()

    def reloaded(self, error: str | None, stop_timeout: int | None = None) -> None:
        self._told.put_nowait(error)

    async def next(self) -> str | None:
        """The error of the next reload that is over; None: it worked."""
        return await asyncio.wait_for(self._told.get(), PATIENCE)


def test_what_the_database_did_not_bear_out_is_tried_again(
    tenant: OneTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes the configuration first and the database then needs no second reload."""

    async def test(again: Reloading, hooks: Hooks) -> None:
        tenant.installation.configure("task_server", login="late")
        again.ask()
        assert "there is no login 'late'" in (await hooks.next() or "")
        assert hooks.used[-1].task_server.login == ""
        execute(
            tenant.installation.auth,
            "WITH late AS (INSERT INTO auth.\"user\" (login) VALUES ('late') RETURNING id)"
            " INSERT INTO auth.clients_users SELECT c.id, late.id FROM auth.clients c, late",
        )
        assert await hooks.next() is None
        assert hooks.used[-1].task_server.login == "late"

    run(test, tenant, monkeypatch)


def test_a_file_that_was_locked_is_read_when_it_is_free(
    tenant: OneTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells of the end of a lock."""
    tenant.installation.configure("task_server", stop_timeout="7")

    async def test(again: Reloading, hooks: Hooks) -> None:
        tenant.installation.configure("task_server", stop_timeout="8")
        with (tenant.installation.path / "config/kivitendo.conf").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            again.ask()
            assert "locked by another program" in (await hooks.next() or "")
            assert hooks.used[-1].task_server.stop_timeout == 7
        assert await hooks.next() is None
        assert hooks.used[-1].task_server.stop_timeout == 8

    run(test, tenant, monkeypatch)


def test_whoever_asks_during_a_reading_is_told_of_the_next_one(
    tenant: OneTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reading, of another file's change, knows nothing of what was written since."""

    async def test(again: Reloading, hooks: Hooks) -> None:
        slow, reached = asyncio.Event(), asyncio.Event()

        async def prove(settings: Settings) -> None:
            reached.set()
            await slow.wait()

        monkeypatch.setattr(again, "_prove", prove)
        again.ask()
        await reached.wait()
        tenant.installation.configure("task_server", stop_timeout="soon")
        again.ask()
        slow.set()
        assert "stop_timeout = soon" in (await hooks.next() or "")

    run(test, tenant, monkeypatch)


def run(
    test: Callable[[Reloading, Hooks], Awaitable[None]],
    tenant: OneTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run the test with reloads of the tenant's installation."""
    monkeypatch.setattr(reloading, "RETRY", 0.05)
    path = tenant.installation.path
    read = partial(load, path / "config/kivitendo.conf", kivitendo_dir=path)

    async def with_reloading() -> None:
        hooks = Hooks()
        again = Reloading(CurrentConfiguration(read), path, hooks, hooks.used.append)
        serving = asyncio.create_task(again.serve())
        await test(again, hooks)
        serving.cancel()

    asyncio.run(with_reloading())
