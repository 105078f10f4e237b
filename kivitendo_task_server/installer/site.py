"""What is installed here, and the configuration of one tenant: text, settings, check."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from kivitendo_task_server.config.settings import DatabaseAccess, Settings, load
from kivitendo_task_server.database import auth
from kivitendo_task_server.database.asynchronous import Query
from kivitendo_task_server.database.auth import Generation
from kivitendo_task_server.database.clients import clients_of, config_value
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.errors import ConfigurationError, NotInstalledError
from kivitendo_task_server.installer import host as hosts
from kivitendo_task_server.installer import manifest as manifests
from kivitendo_task_server.installer import remembered
from kivitendo_task_server.installer.accounts import Account, account
from kivitendo_task_server.installer.editing import changed
from kivitendo_task_server.installer.host import Host
from kivitendo_task_server.installer.installation import default_instance
from kivitendo_task_server.installer.manifest import Manifest
from kivitendo_task_server.installer.remembered import Remembered
from kivitendo_task_server.installer.tree import Tree


@dataclass(frozen=True)
class Site:
    """What is installed: needed by every tenant command."""

    tree: Tree
    host: Host
    settings: Remembered
    manifest: Manifest
    directory: str
    """kivitendo's, as seen inside the root."""
    user: Account

    @property
    def place(self) -> Path:
        """kivitendo's directory as we reach it."""
        return hosts.place_of(self.tree.root, self.directory)

    def config_path(self, name: str) -> str:
        """The configuration file of an instance, as seen inside the root."""
        return f"{self.directory}/config/{name}.conf"

    def config_file(self, name: str) -> Path:
        """The configuration file of an instance, as we reach it."""
        return self.place / "config" / f"{name}.conf"


@dataclass(frozen=True)
class Wanted:
    """What ``tenant add`` was told; None is "as in kivitendo's own configuration"."""

    name: str
    login: str | None = None
    client: str | None = None
    database: DatabaseAccess | None = None
    """Another authentication database."""


def site(root: Path, *, live: bool | None = None) -> Site:
    """Find what is installed. Raises NotInstalledError if nothing is."""
    tree = Tree(root)
    settings = remembered.load(tree)
    manifest = manifests.load(tree)
    if settings.kivitendo_dir is None or not any(manifest.of_kind("file")):
        raise NotInstalledError(
            "the service is not installed here", remedy="run kivitendo-task-server install first"
        )
    user = account(root, settings.run_as or "")
    if user is None:
        raise ConfigurationError(
            f"the user {settings.run_as!r} does not exist",
            where=f"{tree.shown(remembered.PATH)}: run_as",
            remedy="correct it, and run kivitendo-task-server install",
        )
    host = hosts.detect(root, init=settings.init or "auto", live=live)
    return Site(tree, host, settings, manifest, settings.kivitendo_dir, user)


async def derived(at: Site, wanted: Wanted) -> bytes:
    """The text of the new configuration file: kivitendo's own with other keys.

    Raises ConfigurationError if there is none, or if what is wanted does not fit kivitendo's
    release; DatabaseError if the authentication database cannot be asked.
    """
    own = at.config_file(_own_instance(at))
    content = read_as(at.user, own)
    changes: dict[str, dict[str, str]] = {}
    if wanted.database is not None:
        current = settings_of(at, wanted.name, content).auth_database
        changes["authentication/database"] = _database_keys(wanted.database, current)
    settings = settings_of(at, wanted.name, changed(content, changes, own))
    connection = await auth.connect(settings)
    try:
        generation = await auth.detect(connection.query, settings)
        changes["task_server"] = await _keys(connection.query, generation, wanted, settings)
    finally:
        connection.close()
    return changed(content, changes, own)


def _database_keys(wanted: DatabaseAccess, current: DatabaseAccess) -> dict[str, str]:
    """The keys of another authentication database.

    Without a password it gets the present one only if it is the same user on the same server: no
    other may see it.
    """
    keys = {
        "host": wanted.host, "port": str(wanted.port), "db": wanted.name, "user": wanted.user,
    }  # fmt: skip
    same_server = (wanted.host, wanted.port) == (current.host, current.port)
    if wanted.password or not (same_server and wanted.user == current.user):
        keys["password"] = wanted.password
    return keys


async def _keys(
    query: Query, generation: Generation, wanted: Wanted, settings: Settings
) -> dict[str, str]:
    """``login`` and ``client`` as this release of kivitendo needs them (task-server.md, a.5)."""
    login, client = wanted.login, wanted.client
    if generation is Generation.USER_SETTINGS:
        if client is not None:
            raise ConfigurationError(
                f"--client {client}: this release of kivitendo (3.0) has no clients",
                remedy="name a user with --login; the user's settings name the database",
            )
        return {"login": wanted.name if login is None else login}
    if generation is Generation.TASK_SERVER_USERS:
        if login is None and client is None:
            client = wanted.name
        # what the other tenant's configuration says is not for this one
        return {"login": login or "", "client": client or ""}
    if login is None:
        login = settings.task_server.login
        if not login:
            raise ConfigurationError(
                "this release of kivitendo (3.1 to 3.3) needs a user to run jobs as, and"
                " kivitendo's own configuration has no login",
                remedy="name one with --login",
            )
        client = wanted.name if client is None else client
    elif client is None:
        client = await _only_client_of(query, login)
    return {"login": login, "client": client}


async def _only_client_of(query: Query, login: str) -> str:
    found = await clients_of(query, login)
    if len(found) != 1:
        several = "several clients: " + ", ".join(name for _, name in found)
        raise ConfigurationError(
            f"the login {login!r} belongs to {several if found else 'no client'}",
            remedy="name the client with --client",
        )
    return config_value(*found[0])


async def served_tenants(at: Site, name: str, content: bytes) -> list[Tenant]:
    """The tenants a configuration serves, by the authentication database; at least one."""
    settings = settings_of(at, name, content)
    found = await auth.read_tenants(settings)
    if not found:
        raise ConfigurationError(
            "no client has a task server user",
            where=str(at.config_file(name)),
            remedy="choose one in kivitendo's administration",
        )
    return found


def settings_of(at: Site, name: str, content: bytes) -> Settings:
    """The settings a content would have as ``config/NAME.conf``; errors name that file."""
    with tempfile.TemporaryDirectory() as folder:  # 0700: it may hold passwords
        file = Path(folder) / f"{name}.conf"
        file.write_bytes(content)
        try:
            loaded = load(file, kivitendo_dir=at.place, environ={})
        except ConfigurationError as error:
            text = str(error).replace(str(file), str(at.config_file(name)))
            raise ConfigurationError(text) from error
    return replace(loaded.settings, config_file=at.config_file(name))


def own_settings(at: Site) -> Settings:
    """The settings of kivitendo's own configuration. Raises ConfigurationError."""
    own = _own_instance(at)
    return settings_of(at, own, read_as(at.user, at.config_file(own)))


def _own_instance(at: Site) -> str:
    own = default_instance(at.place)
    if own is None:
        raise ConfigurationError(
            "kivitendo is not configured yet",
            where=str(at.place / "config/kivitendo.conf"),
            remedy="finish kivitendo's own set-up",
        )
    return own


def read_as(user: Account, file: Path) -> bytes:
    """The content of a file that this user may read; root's wider rights are not used.

    kivitendo's files may belong to the web server's user: a link that leads to somebody's secret
    must not be copied into a file of that user. Raises ConfigurationError.
    """
    if os.geteuid() != 0 or user.uid is None or user.gid is None:
        argv = {}
    else:
        groups = os.getgrouplist(user.name, user.gid)
        argv = {"user": user.uid, "group": user.gid, "extra_groups": groups}
    done = subprocess.run(["cat", "--", file], capture_output=True, check=False, **argv)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise ConfigurationError(
            f"the user {user.name} cannot read it: {done.stderr.decode().strip()}",
            where=str(file),
            remedy="let that user or its group read the file",
        )
    content: bytes = done.stdout
    return content
