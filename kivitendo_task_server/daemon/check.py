"""``check``: whether the service could work, asked without starting it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database import auth, own_schema
from kivitendo_task_server.database.asynchronous import AsyncConnection
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.database.upgrades import UpgradeScripts, missing, pending_text
from kivitendo_task_server.errors import DatabaseError, TaskServerError
from kivitendo_task_server.scheduling.hold import LOCK_FILE

AT_A_TIME = 20
"""Tenants that are asked side by side."""


def check(settings: Settings, kivitendo_dir: Path) -> list[str]:
    """Read the databases as the service does; what is wrong with single tenants.

    Raises ConfigurationError and DatabaseError as :mod:`database.auth` does, and a TaskServerError
    for what would hold back all jobs: a pending upgrade, kivitendo's installation lock.
    """
    scripts = UpgradeScripts(kivitendo_dir)
    troubles = asyncio.run(_troubles(settings, scripts))
    lock = kivitendo_dir / LOCK_FILE
    if lock.exists():
        raise TaskServerError(
            "no jobs would run: the installation is locked",
            where=str(lock),
            remedy="unlock it in kivitendo's administration",
        )
    return troubles


async def read_tenants(settings: Settings, scripts: UpgradeScripts) -> list[Tenant]:
    """The tenants as a service that starts reads them: a pending upgrade comes first.

    Raises DatabaseError for what it would wait for, ConfigurationError for what it would not.
    """
    connection = await auth.connect(settings)
    try:
        generation = await auth.detect(connection.query, settings)
        tags = scripts.tags("authentication")
        lacking = await missing(connection.query, "authentication", tags) if tags else None
        if lacking:
            raise DatabaseError(
                f"no jobs would run: {pending_text('authentication', lacking)}",
                where=f"database {settings.auth_database}",
            )
        return await auth.tenants(connection.query, generation, settings)
    finally:
        connection.close()


async def _troubles(settings: Settings, scripts: UpgradeScripts) -> list[str]:
    """What would hold back single tenants, in their order."""
    tenants = await read_tenants(settings, scripts)
    tags = scripts.tags("tenant")
    slots = asyncio.Semaphore(AT_A_TIME)

    async def trouble(tenant: Tenant) -> str | None:
        try:
            async with slots:
                await _check_tenant(tenant, tags)
        except DatabaseError as error:
            return f"tenant {tenant}: {error}"
        return None

    found = await asyncio.gather(*(trouble(tenant) for tenant in tenants))
    return [text for text in found if text is not None]


async def _check_tenant(tenant: Tenant, tags: frozenset[str]) -> None:
    """Raise DatabaseError for what would hold back this tenant's jobs."""
    connection = await AsyncConnection.open(tenant.access, purpose="check")
    try:
        ((is_kivitendos, may_create),) = await connection.query(
            "SELECT to_regclass('public.background_jobs') IS NOT NULL,"
            " has_database_privilege(current_database(), 'CREATE')"
            " OR to_regnamespace(%(schema)s) IS NOT NULL",
            {"schema": own_schema.SCHEMA},
        )
        if not is_kivitendos:
            raise DatabaseError(
                "it has no table background_jobs",
                where=f"database {tenant.access}",
                remedy="is this the client's database in kivitendo's administration?",
            )
        lacking = await missing(connection.query, "tenant", tags) if tags else None
        if lacking:
            raise DatabaseError(pending_text("tenant", lacking), where=f"database {tenant.access}")
        if not may_create:
            raise own_schema.not_allowed(tenant.access)
    finally:
        connection.close()
