"""One configuration file and one instance of the service for each of several tenants.

``config/NAME.conf`` is kivitendo's own configuration with another ``[task_server]``; it is checked
against the authentication database before anything is written or enabled.
"""

from __future__ import annotations

import asyncio
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kivitendo_task_server.config.files import merged, read_file
from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database import auth
from kivitendo_task_server.database.auth import Generation
from kivitendo_task_server.database.clients import Client, clients, config_value
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.errors import (
    ConfigurationError,
    PrivilegeError,
    TaskServerError,
)
from kivitendo_task_server.installer import host as hosts
from kivitendo_task_server.installer import registration, remembered
from kivitendo_task_server.installer.commands import Commands, Report
from kivitendo_task_server.installer.site import (
    Site,
    Wanted,
    derived,
    own_settings,
    read_as,
    served_tenants,
    settings_of,
    site,
)
from kivitendo_task_server.installer.writing import Plan


def add(at: Site, wanted: Wanted, report: Report, *, start: bool = True) -> Tenant:
    """Write ``config/NAME.conf``, check it, enable its instance and start it.

    A file that exists already is taken as it is. Raises TaskServerError; then nothing is changed.
    """
    name = remembered.check_name(wanted.name)
    plan = Plan(at.tree, at.manifest, at.host.family.value)
    if at.tree.is_missing(at.config_path(name)):
        content = asyncio.run(derived(at, wanted))
        owner = (at.user.uid, at.user.gid)
        assert owner[0] is not None and owner[1] is not None
        plan.file(
            at.config_path(name), content, mode=0o640,
            owner=(owner[0], owner[1]) if os.geteuid() == 0 else None, kind="configuration",
        )  # fmt: skip
    else:
        if wanted.login is not None or wanted.client is not None or wanted.database is not None:
            raise ConfigurationError(
                "the configuration exists already",
                where=str(at.config_file(name)),
                remedy="edit it, or leave out the options to use it as it is",
            )
        content = read_as(at.user, at.config_file(name))
        report(f"{at.config_file(name)} exists and is used as it is")
    tenants = asyncio.run(served_tenants(at, name, content))
    for tenant in tenants:
        report(f"{name}: client {tenant}, database {tenant.access}, user {tenant.user.login}")
    instances = tuple(dict.fromkeys((*at.settings.instances, name)))
    plan.settings(replace(at.settings, instances=instances))
    for line in plan.lines():
        report(line)
    plan.apply()
    runner = Commands(at.host, report)
    registration.enable_instance(runner, name)
    if start:
        _control(at, runner, "start", name)
    return tenants[0]


def scaffold(at: Site, report: Report, *, start: bool = True) -> list[str]:
    """Add an instance for every client that has none of its own; returns their names.

    A client that cannot be added does not keep the others from it. Raises TaskServerError at the
    end if there were such, or if the authentication database cannot be read.
    """
    settings = own_settings(at)
    generation, found = asyncio.run(_all_clients(settings))
    if generation is Generation.ONE_CLIENT and not settings.task_server.login:
        raise ConfigurationError(
            "this release of kivitendo (3.1 to 3.3) needs a user to run jobs as",
            where=f"{settings.config_file}: [task_server] login",
            remedy="set it: the new configurations take it from here",
        )
    served = _served(at)
    added: list[str] = []
    failed: list[str] = []
    for client in found:
        if client.place in served:
            continue
        if generation is Generation.TASK_SERVER_USERS and client.login is None:
            report(f"left out: client {client.name} has no task server user")
            continue
        name = _free_name(at, client.name, added)
        try:
            add(site(at.tree.root), _wanted(name, client), report, start=start)
            added.append(name)
        except TaskServerError as error:
            failed.append(f"{client.name}: {error}")
    if failed:
        raise TaskServerError(f"{len(failed)} clients were not added: {'; '.join(failed)}")
    if not added:
        report("every client has an instance of its own")
    _remind_of_own(at, generation, settings, report)
    return added


def _remind_of_own(at: Site, generation: Generation, settings: Settings, report: Report) -> None:
    """kivitendo's own configuration goes on serving all clients, which may not be what is meant."""
    own = settings.config_file.stem
    restricted = settings.task_server.login or settings.task_server.client
    if generation is not Generation.TASK_SERVER_USERS or restricted:
        return
    if registration.is_enabled(at.host, own, at.settings.instances):
        report(
            f"{own} serves all clients as well; to leave them to their own instances:"
            f" kivitendo-task-server tenant remove {own}"
        )


def remove(at: Site, name: str, report: Report) -> None:
    """Stop and disable an instance; a configuration that we wrote is kept as a backup.

    Raises ConfigurationError if there is no such instance.
    """
    remembered.check_name(name)
    enabled = registration.is_enabled(at.host, name, at.settings.instances)
    path = at.config_path(name)
    if not enabled and name not in at.settings.instances and not at.manifest.is_ours(path):
        raise ConfigurationError(
            f"there is no tenant {name}",
            where=str(at.config_file(name)),
            remedy="kivitendo-task-server tenant list shows them",
        )
    # planned first: what cannot be written is refused while all still runs
    plan = Plan(at.tree, at.manifest, at.host.family.value)
    if at.manifest.is_ours(path) and not at.tree.is_missing(path):
        plan.back_up(path, _backup_path(at, path))
    elif not at.tree.is_missing(path):
        report(f"{at.config_file(name)} was not made by us and stays")
    instances = tuple(each for each in at.settings.instances if each != name)
    plan.settings(replace(at.settings, instances=instances))
    runner = Commands(at.host, report)
    _control(at, runner, "stop", name)
    if enabled:
        registration.disable_instance(runner, name)
    for line in plan.lines():
        report(line)
    plan.apply()


def names(at: Site) -> list[str]:
    """The configurations of task servers: enabled ones, and those with a ``[task_server]``."""
    found = dict.fromkeys(at.settings.instances)
    if at.host.init.value == "systemd":
        for unit in registration.enabled_units(at.host):
            if "@" in unit and unit.endswith(".service"):
                found.setdefault(unit.partition("@")[2].removesuffix(".service"))
    for file in sorted((at.place / "config").glob("*.conf")):
        if remembered.is_name(file.stem) and "task_server" in _sections(file):
            found.setdefault(file.stem)
    return list(found)


async def _all_clients(settings: Settings) -> tuple[Generation, list[Client]]:
    connection = await auth.connect(settings)
    try:
        generation = await auth.detect(connection.query, settings)
        return generation, await clients(connection.query, generation)
    finally:
        connection.close()


def _served(at: Site) -> set[tuple[str, int, str]]:
    """The databases of the clients that have a configuration of their own."""
    served: set[tuple[str, int, str]] = set()
    for name in names(at):
        if not at.tree.is_missing(at.config_path(name)):
            settings = settings_of(at, name, read_as(at.user, at.config_file(name)))
            served |= {tenant.access.place for tenant in asyncio.run(_named(settings))}
    return served


async def _named(settings: Settings) -> list[Tenant]:
    """The tenants that a configuration names, unlike one that serves whatever there is."""
    keys = settings.task_server
    if not keys.login and not keys.client:
        return []
    connection = await auth.connect(settings)
    try:
        generation = await auth.detect(connection.query, settings)
        if generation is Generation.ONE_CLIENT and not keys.client:
            return []  # kivitendo's own, with the login that the others take from it
        return await auth.tenants(connection.query, generation, settings)
    finally:
        connection.close()


def _wanted(name: str, client: Client) -> Wanted:
    if client.id is None:
        return Wanted(name, login=client.login)
    return Wanted(name, client=config_value(client.id, client.name))


def _free_name(at: Site, client: str, taken: Iterable[str]) -> str:
    """A name for the configuration made of the client's: ``Müller & Co`` -> ``mueller-co``."""
    text = client.lower()
    for umlaut, letters in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
        text = text.replace(umlaut, letters)
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    base = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:50] or "client"
    name, number = base, 1
    while name in taken or not at.tree.is_missing(at.config_path(name)):
        number += 1
        name = f"{base}-{number}"
    return name


def _sections(file: Path) -> Iterable[str]:
    try:
        parsed = read_file(file)
    except TaskServerError:
        return ()
    return merged(parsed, parsed)


def _backup_path(at: Site, path: str) -> str:
    number = 0
    while True:
        candidate = f"{path}.removed" + (f"-{number}" if number else "")
        if at.tree.is_missing(candidate):
            return candidate
        number += 1


def _control(at: Site, runner: Commands, action: str, name: str) -> None:
    program = hosts.executable(at.tree.root, "")
    registration.control_instance(
        runner, action, name, program=program.value, directory=at.directory
    )


def require_root() -> None:
    """Raise PrivilegeError for anybody but root."""
    if os.geteuid() != 0:
        raise PrivilegeError(
            "only root may change what is installed", remedy="call it with sudo, or as root"
        )
