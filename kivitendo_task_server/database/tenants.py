"""A tenant (kivitendo: client, Mandant): its database, and the user its jobs run as."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kivitendo_task_server.config.settings import DatabaseAccess


@dataclass(frozen=True)
class TenantUser:
    """The task server user's settings (task-server.md, b.4), with kivitendo's defaults."""

    login: str
    name: str = ""
    email: str = ""
    countrycode: Literal["de", "en"] = "de"
    dateformat: str = "dd.mm.yy"
    numberformat: str = "1.000,00"
    timeformat: str = "hh:mm"
    signature: str = ""
    settings: dict[str, str] = field(default_factory=dict, compare=True, hash=False)


@dataclass(frozen=True)
class Tenant:
    """One row of auth.clients with its task server user; ``id`` is None for kivitendo 3.0."""

    id: int | None
    name: str
    access: DatabaseAccess
    user: TenantUser

    def __str__(self) -> str:
        return f"{self.name} (id {self.id})" if self.id is not None else self.name
