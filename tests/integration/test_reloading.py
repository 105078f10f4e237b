"""The configuration read again, and what the authentication database has to say about it."""

from __future__ import annotations

import asyncio
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
        self.told: asyncio.Queue[str | None] = asyncio.Queue()

    def reloaded(self, error: str | None, stop_timeout: int | None = None) -> None:
        self.told.put_nowait(error)


def test_what_the_database_did_not_bear_out_is_tried_again(
    tenant: OneTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes the configuration first and the database then needs no second reload."""
    monkeypatch.setattr(reloading, "RETRY", 0.05)
    installation = tenant.installation
    read = partial(
        load, installation.path / "config/kivitendo.conf", kivitendo_dir=installation.path
    )

    async def test() -> list[Settings]:
        hooks, used = Hooks(), list[Settings]()
        again = Reloading(CurrentConfiguration(read), installation.path, hooks, used.append)
        serving = asyncio.create_task(again.serve())
        installation.configure("task_server", login="late")
        again.ask()
        error = await asyncio.wait_for(hooks.told.get(), PATIENCE)
        assert "there is no login 'late'" in (error or "")
        assert used[-1].task_server.login == ""
        execute(
            installation.auth,
            "WITH late AS (INSERT INTO auth.\"user\" (login) VALUES ('late') RETURNING id)"
            " INSERT INTO auth.clients_users SELECT c.id, late.id FROM auth.clients c, late",
        )
        assert await asyncio.wait_for(hooks.told.get(), PATIENCE) is None
        serving.cancel()
        return used

    assert asyncio.run(test())[-1].task_server.login == "late"
