"""What is installed here, and the configuration of one tenant: text, settings, check."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from kivitendo_task_server.config.settings import DatabaseAccess, Settings, load
from kivitendo_task_server.database import auth
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.errors import ConfigurationError, NotInstalledError
from kivitendo_task_server.installer import host as hosts
from kivitendo_task_server.installer import manifest as manifests
from kivitendo_task_server.installer import remembered
from kivitendo_task_server.installer.editing import changed
from kivitendo_task_server.installer.host import Host
from kivitendo_task_server.installer.installation import Account, account, default_instance
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
        return self.tree.root / self.directory.lstrip("/")

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
    """The text of the new configuration file."""
    own = default_instance(at.place)
    if own is None:
        raise ConfigurationError(
            "there is no configuration to start from",
            where=str(at.place / "config/kivitendo.conf"),
            remedy="finish kivitendo's own set-up",
        )
    content = read_as(at.user, at.config_file(own))
    changes: dict[str, dict[str, str]] = {}
    if wanted.database is not None:
        access = wanted.database
        changes["authentication/database"] = {
            "host": access.host, "port": str(access.port), "db": access.name, "user": access.user,
        }  # fmt: skip
        if access.password:
            changes["authentication/database"]["password"] = access.password
    settings = settings_of(at, wanted.name, changed(content, changes, at.config_file(own)))
    keys = {"login": wanted.login, "client": wanted.client}
    connection = await auth.connect(settings)
    try:
        generation = await auth.detect(connection.query, settings)
    finally:
        connection.close()
    if wanted.login is None and wanted.client is None:
        keys["login" if generation is auth.Generation.USER_SETTINGS else "client"] = wanted.name
    if generation is auth.Generation.TASK_SERVER_USERS:
        # what the other tenant's configuration says is not for this one
        keys = {key: value or "" for key, value in keys.items()}
    changes["task_server"] = {key: value for key, value in keys.items() if value is not None}
    return changed(content, changes, at.config_file(own))


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
    own = default_instance(at.place)
    if own is None:
        raise ConfigurationError(
            "kivitendo is not configured yet", where=str(at.place / "config/kivitendo.conf")
        )
    return settings_of(at, own, read_as(at.user, at.config_file(own)))


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
