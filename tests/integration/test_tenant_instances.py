"""The tenant commands on real authentication databases of every generation of kivitendo."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from database_fixture import NewDatabase, statement
from job_rows import add_job, execute
from kivitendo_fixture import KivitendoDir

from kivitendo_task_server.cli.main import build_parser
from kivitendo_task_server.cli.tenant import wanted_of
from kivitendo_task_server.config.settings import DatabaseAccess, load
from kivitendo_task_server.database.auth import read_tenants
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.demo.postgres import EmbeddedPostgres
from kivitendo_task_server.errors import ConfigurationError, DatabaseError, TaskServerError
from kivitendo_task_server.installer import overview, tenants
from kivitendo_task_server.installer.site import Site, site

GENERATIONS = {
    "3.3": "ALTER TABLE auth.clients DROP COLUMN task_server_user_id",
    "3.0": "DROP TABLE auth.clients_users; DROP TABLE auth.clients",
}


class Installed:
    """A system with kivitendo and our service, which boots with SysV scripts; nothing is started.

    Three clients, two of which have a task server user.
    """

    def __init__(self, root: Path, kivitendo: KivitendoDir, databases: list[DatabaseAccess]):
        self.root, self.kivitendo, self.databases = root, kivitendo, databases
        self.said: list[str] = []

    @property
    def site(self) -> Site:
        return site(self.root)

    def tenant(self, *words: str) -> None:
        """``kivitendo-task-server tenant …`` for this root."""
        arguments = build_parser().parse_args(["tenant", *words])
        if words[0] == "add":
            tenants.add(self.site, wanted_of(arguments), self.said.append)
        elif words[0] == "scaffold":
            tenants.scaffold(self.site, self.said.append)
        else:
            tenants.remove(self.site, arguments.name, self.said.append)

    def refused(self, *words: str, error: type[TaskServerError] = ConfigurationError) -> str:
        """The message of a refusal, which must change nothing."""
        before = self.files()
        with pytest.raises(error) as caught:
            self.tenant(*words)
        assert self.files() == before
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def config(self, name: str) -> Path:
        return self.kivitendo.path / f"config/{name}.conf"

    def serves(self, name: str) -> Tenant:
        """The one tenant that a configuration serves, as the service finds out at its start."""
        settings = load(self.config(name), kivitendo_dir=self.kivitendo.path).settings
        (found,) = asyncio.run(read_tenants(settings))
        return found


@pytest.fixture
def installed(tmp_path: Path, kivitendo_dir: KivitendoDir, new_database: NewDatabase) -> Installed:
    root, user = tmp_path / "root", pwd.getpwuid(os.geteuid())
    place = root / "srv/kivitendo"
    place.parent.mkdir(parents=True)
    shutil.copytree(kivitendo_dir.path, place)
    for path, text in {
        "etc/os-release": "ID=debian\n",
        "etc/passwd": f"{user.pw_name}:x:{user.pw_uid}:{user.pw_gid}::/:/bin/sh\n",
        "etc/group": "",
        "etc/kivitendo-task-server.conf": "# settings\nkivitendo_dir = /srv/kivitendo\n"
        f"run_as = {user.pw_name}\ninit = sysv\ninstances = kivitendo\n",
        "usr/bin/kivitendo-task-server": "",
        "var/lib/kivitendo-task-server/manifest": "file - /etc/init.d/kivitendo-task-server\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    kivitendo = KivitendoDir(place, kivitendo_dir.auth, kivitendo_dir.local)
    # nothing connects to the last two
    databases = [new_database("tenant")]
    databases += [replace(databases[0], name=name) for name in ("second", "third_one")]
    for name, access in zip(("Eins GmbH", "Zwei", "1234"), databases, strict=True):
        kivitendo.add_tenant(name, access, login="anna" if name == "Zwei" else "bert")
    execute(
        kivitendo.auth, "UPDATE auth.clients SET task_server_user_id = NULL WHERE name = 'Zwei'"
    )
    return Installed(root, kivitendo, databases)


@pytest.fixture
def older(installed: Installed, request: pytest.FixtureRequest) -> Installed:
    """An older release, whose databases stand in the users' settings as well, as in 3.0."""
    for login, access in zip(("anna", "bert", "carl"), installed.databases, strict=True):
        execute(
            installed.kivitendo.auth,
            "INSERT INTO auth.\"user\" (login) SELECT %s WHERE NOT EXISTS"
            ' (SELECT FROM auth."user" WHERE login = %s)', login, login,
        )  # fmt: skip
        for key, value in {
            "dbname": access.name, "dbhost": access.host, "dbport": str(access.port),
            "dbuser": access.user, "dbpasswd": access.password,
        }.items():  # fmt: skip
            execute(
                installed.kivitendo.auth,
                "INSERT INTO auth.user_config SELECT id, %s, %s FROM auth.\"user\""
                " WHERE login = %s", key, value, login,
            )  # fmt: skip
    execute(installed.kivitendo.auth, GENERATIONS[request.param])
    return installed


def test_today_scaffold_adds_the_clients_with_a_task_server_user(installed: Installed) -> None:
    installed.tenant("scaffold")
    assert "left out: client Zwei has no task server user" in installed.said
    assert "kivitendo-task-server tenant remove kivitendo" in installed.said[-1]
    assert installed.site.settings.instances == ("kivitendo", "1234", "eins-gmbh")
    assert installed.serves("eins-gmbh").access == installed.databases[0]
    assert installed.serves("1234").access == installed.databases[2]  # by its id
    assert installed.config("1234").stat().st_mode & 0o777 == 0o640
    installed.tenant("remove", "kivitendo")
    installed.said.clear()
    installed.tenant("scaffold")
    assert installed.said[-1] == "every client has an instance of its own"
    assert installed.site.settings.instances == ("1234", "eins-gmbh")


def test_list_shows_state_and_runs(installed: Installed) -> None:
    first, _, third = installed.databases
    last, following = datetime(2026, 11, 21, 3, 0), datetime(2026, 11, 23, 3, 30)
    add_job(first, last_run_at=last, next_run_at=following)
    # neither what is switched off nor what has run once for all
    add_job(first, active=False, next_run_at=datetime(2020, 1, 1))
    add_job(first, type="once", next_run_at=datetime(2020, 1, 1), last_run_at=datetime(2020, 1, 1))
    add_job(first, type="once", next_run_at=datetime(2026, 12, 24))
    own = installed.config("kivitendo").read_text()
    installed.config("broken").write_text(f"{own}[task_server]\nlogin = nobody\n")
    installed.tenant("add", "eins", "--client", "Eins GmbH")
    rows = {(row.name, row.client): row for row in overview.rows(installed.site)}
    row = rows["eins", "Eins GmbH (id 1)"]
    assert (row.enabled, row.state, row.pid) == (True, "stopped", None)
    assert (row.last_run, row.next_run, row.remark) == (last, following, "")
    assert rows["kivitendo", "Eins GmbH (id 1)"].next_run == following
    assert f'database "{third.name}" does not exist' in rows["kivitendo", "1234 (id 3)"].remark
    assert "there is no login 'nobody'" in rows["broken", ""].remark
    assert not rows["broken", ""].enabled
    assert "Zwei" not in str(rows)
    table = "\n".join(overview.as_table(overview.rows(installed.site)))
    assert re.search(r"^eins +enabled +stopped +- +Eins GmbH \(id 1\) +2026-11-21 03:00"
                     r" +2026-11-23 03:30$", table, re.M), table  # fmt: skip


@pytest.mark.parametrize("older", ["3.3"], indirect=True)
def test_3_1_to_3_3(older: Installed) -> None:
    """Each configuration needs login and client."""
    message = older.refused("scaffold")
    assert "config/kivitendo.conf: [task_server] login" in message
    assert "--login" in older.refused("add", "zwei", "--client", "Zwei")
    assert "the login 'bert' belongs to several clients: 1234, Eins GmbH" in older.refused(
        "add", "x", "--login", "bert"
    )
    assert "the login 'nobody' belongs to no client" in older.refused(
        "add", "x", "--login", "nobody"
    )
    older.tenant("add", "annas", "--login", "anna")  # its only client
    assert (older.serves("annas").name, older.serves("annas").user.login) == ("Zwei", "anna")
    older.tenant("add", "eins", "--login", "anna", "--client", "Eins GmbH")
    assert older.serves("eins").user.login == "anna"

    older.kivitendo.configure("task_server", login="carl")
    assert "there is no client with the name or id 'vier'" in older.refused("add", "vier")
    older.tenant("scaffold")
    assert older.serves("1234").access == older.databases[2]
    assert older.serves("1234").user.login == "carl"
    assert older.site.settings.instances == ("kivitendo", "annas", "eins", "1234")
    older.tenant("scaffold")
    assert older.said[-1] == "every client has an instance of its own"
    older.tenant("remove", "eins")
    older.tenant("add", "Eins-GmbH", "--client", "1")
    assert older.serves("Eins-GmbH").name == "Eins GmbH"
    assert {row.client for row in overview.rows(older.site)} >= {"Eins GmbH (id 1)", "Zwei (id 2)"}


@pytest.mark.parametrize("older", ["3.0"], indirect=True)
def test_3_0(older: Installed, cluster: EmbeddedPostgres) -> None:
    """A user's settings name the database; there are no clients."""
    assert "has no clients" in older.refused("add", "x", "--client", "Zwei")
    assert "there is no login 'dora'" in older.refused("add", "dora")
    older.tenant("add", "anna")
    assert older.serves("anna").access == older.databases[0]
    older.tenant("add", "two", "--login", "bert")
    assert older.serves("two").access == older.databases[1]
    # the same database with another host is another one
    execute(
        older.kivitendo.auth,
        "INSERT INTO auth.\"user\" (login) VALUES ('zoe');"
        " INSERT INTO auth.user_config SELECT u.id, c.cfg_key, CASE c.cfg_key"
        " WHEN 'dbhost' THEN 'localhost' ELSE c.cfg_value END"
        ' FROM auth."user" u, auth.user_config c JOIN auth."user" a ON a.id = c.user_id'
        " WHERE u.login = 'zoe' AND a.login = 'anna'",
    )
    older.tenant("scaffold")
    carls, zoes = (access.name.replace("_", "-") for access in
                   (older.databases[2], older.databases[0]))  # fmt: skip
    assert set(older.site.settings.instances) == {"kivitendo", "anna", "two", carls, zoes}
    assert older.serves(carls).user.login == "carl"
    assert older.serves(zoes).access.host == "localhost"
    states = {row.name: row.client for row in overview.rows(older.site)}
    assert states["anna"] == older.databases[0].name
    older.tenant("scaffold")
    assert older.said[-1] == "every client has an instance of its own"


@pytest.fixture
def other_user(cluster: EmbeddedPostgres) -> Iterator[DatabaseAccess]:
    """A database user with a password of its own; its databases are those of the superuser."""
    statement(cluster, "CREATE ROLE other_user SUPERUSER LOGIN PASSWORD 'other secret'")
    access = cluster.access("postgres")
    yield replace(access, user="other_user", password="other secret")
    statement(cluster, "DROP ROLE other_user")


def test_another_authentication_database(
    installed: Installed, new_database: NewDatabase, other_user: DatabaseAccess, tmp_path: Path
) -> None:
    """``--database``: its own clients, its own password, which nobody is shown."""
    auth = new_database("auth")
    second = replace(installed.kivitendo, auth=auth)
    elsewhere = replace(installed.databases[0], name="elsewhere")
    second.add_tenant("Eins GmbH", elsewhere)
    here = auth.place
    words = ("add", "other", "--client", "Eins GmbH", "--database")
    password = tmp_path / "password"
    password.write_text("other secret\n")

    # user and server stay the same: so does the password
    installed.tenant(*words, f"{auth.user}@{here[0]}:{here[1]}/{here[2]}")
    assert installed.serves("other").access == elsewhere
    installed.tenant("remove", "other")
    # another user: kivitendo's password is not given to it
    target = f"other_user@{here[0]}:{here[1]}/{here[2]}"
    message = installed.refused(*words, target)
    assert "config/other.conf: [authentication/database]" in message
    assert "password" in message
    installed.tenant(*words, target, "--database-password-file", str(password))
    assert installed.serves("other").access == elsewhere
    text = installed.config("other").read_text()
    assert "user = other_user\n" in text
    assert "password = other secret\n" in text
    assert auth.password not in text
    assert "other secret" not in str(installed.said) + message

    # the client of that name here is another one, which has none yet
    installed.tenant("scaffold")
    assert installed.serves("eins-gmbh").access == installed.databases[0]

    for wrong, error, fact in (
        (f"other_user@{here[0]}:{here[1]}/no_such", ConfigurationError, "no_such"),
        (f"other_user@{here[0]}:1/{here[2]}", DatabaseError, "refused"),
        (f"nobody@{here[0]}:{here[1]}/{here[2]}", ConfigurationError, "nobody"),
        (
            f"other_user@{here[0]}:{here[1]}/{installed.databases[0].name}",
            ConfigurationError,
            "no tables",
        ),
    ):
        told = installed.refused(
            "add", "wrong", "--client", "Eins GmbH", "--database", wrong,
            "--database-password-file", str(password), error=error,
        )  # fmt: skip
        assert fact in told
        assert "secret" not in told
