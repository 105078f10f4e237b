"""Which tenants a command works for: all that are served, or those of ``--tenant``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kivitendo_task_server.config.settings import Settings
    from kivitendo_task_server.database.tenants import Tenant


@dataclass(frozen=True)
class Served:
    """The settings of one configuration file, and the tenants it serves."""

    settings: Settings
    kivitendo_dir: Path
    tenants: list[Tenant]


def add_tenant_option(parser: argparse.ArgumentParser) -> None:
    """``--tenant``: a tenant's name or id; may be given several times."""
    parser.add_argument(
        "--tenant",
        metavar="TENANT",
        action="append",
        default=[],
        help="only this tenant (name or id); may be repeated (default: all that are served)",
    )


def served(arguments: argparse.Namespace) -> Served:
    """Read configuration and authentication database; choose by ``--tenant``.

    Raises ConfigurationError or DatabaseError as these do, and UsageError for an unknown tenant.
    """
    import asyncio

    from kivitendo_task_server.cli.target import target
    from kivitendo_task_server.config.settings import load
    from kivitendo_task_server.database.auth import read_tenants

    found = target(arguments)
    settings = load(found.config_file, kivitendo_dir=found.kivitendo_dir).settings
    tenants = asyncio.run(read_tenants(settings))
    return Served(settings, found.kivitendo_dir, _chosen(tenants, arguments.tenant))


def _chosen(tenants: list[Tenant], wanted: list[str]) -> list[Tenant]:
    from kivitendo_task_server.errors import UsageError

    by_name = {name: tenant for tenant in tenants for name in (str(tenant.id), tenant.name)}
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise UsageError(
            f"no such tenant: {', '.join(unknown)}",
            remedy="choices: " + (", ".join(map(str, tenants)) or "none is served"),
        )
    if not wanted:
        return tenants
    chosen = {by_name[name].id: by_name[name] for name in wanted}
    return list(chosen.values())
