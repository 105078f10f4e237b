"""``check``: whether the service could work, asked without starting it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database import auth
from kivitendo_task_server.database.upgrades import UpgradeScripts, missing, pending_text
from kivitendo_task_server.errors import DatabaseError, TaskServerError
from kivitendo_task_server.scheduling.hold import LOCK_FILE


def check(settings: Settings, kivitendo_dir: Path) -> None:
    """Read the authentication database as the service does.

    Raises ConfigurationError and DatabaseError as :mod:`database.auth` does, and a TaskServerError
    for what would hold back all jobs: a pending upgrade, kivitendo's installation lock.
    """
    asyncio.run(_read(settings, kivitendo_dir))
    lock = kivitendo_dir / LOCK_FILE
    if lock.exists():
        raise TaskServerError(
            "no jobs would run: the installation is locked",
            where=str(lock),
            remedy="unlock it in kivitendo's administration",
        )


async def _read(settings: Settings, kivitendo_dir: Path) -> None:
    connection = await auth.connect(settings)
    try:
        generation = await auth.detect(connection.query, settings)
        tags = UpgradeScripts(kivitendo_dir).tags("authentication")
        lacking = await missing(connection.query, "authentication", tags) if tags else None
        if lacking:
            raise DatabaseError(
                f"no jobs would run: {pending_text('authentication', lacking)}",
                where=f"database {settings.auth_database}",
            )
        await auth.tenants(connection.query, generation, settings)
    finally:
        connection.close()
