"""The authentication database in all its generations, and what is said when it is not usable."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest
from database_fixture import NewDatabase
from job_rows import execute, settings_of
from kivitendo_fixture import KivitendoDir

from kivitendo_task_server.config.settings import DatabaseAccess, Settings
from kivitendo_task_server.database.auth import read_tenants
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.errors import ConfigurationError, DatabaseError


def tenants(settings: Settings) -> list[Tenant]:
    return asyncio.run(read_tenants(settings))


def names(installation: KivitendoDir) -> list[str]:
    return [tenant.name for tenant in tenants(settings_of(installation))]


@pytest.fixture
def clients(kivitendo_dir: KivitendoDir) -> KivitendoDir:
    """Three clients: Anna is task server user of the first, member of it and the second."""
    auth = kivitendo_dir.auth
    execute(
        auth,
        """
        INSERT INTO auth."user" (id, login) VALUES (1, 'anna'), (2, 'bert'), (3, 'carl');
        INSERT INTO auth.clients (id, name, dbhost, dbport, dbname, dbuser, dbpasswd,
            task_server_user_id)
        VALUES (11, 'Eins', '', 5433, 'eins', 'u1', 'p1', 1),
            (12, 'Zwei', 'db.example', 5432, 'zwei', 'u2', '', 2),
            (13, '14', 'localhost', 5432, 'drei', 'u3', '', 2),
            (14, 'Ohne', 'localhost', 5432, 'vier', 'u4', '', NULL);
        INSERT INTO auth.clients_users VALUES (11, 1), (12, 1), (14, 3);
        INSERT INTO auth.user_config VALUES (1, 'name', 'Anna Ähre'), (1, 'email', 'a@b.de'),
            (1, 'countrycode', 'en'), (1, 'dateformat', 'yyyy-mm-dd'), (1, 'empty', NULL)
        """,
    )
    return kivitendo_dir


def generation_3_3(installation: KivitendoDir) -> None:
    execute(installation.auth, "ALTER TABLE auth.clients DROP COLUMN task_server_user_id")


def generation_3_0(installation: KivitendoDir) -> None:
    execute(installation.auth, "DROP TABLE auth.clients_users; DROP TABLE auth.clients")


def test_every_client_with_a_task_server_user_is_served(clients: KivitendoDir) -> None:
    first, second, third = tenants(settings_of(clients))
    assert first == Tenant(
        11,
        "Eins",
        DatabaseAccess("localhost", 5433, "eins", "u1", "p1"),
        TenantUser(
            login="anna",
            name="Anna Ähre",
            email="a@b.de",
            countrycode="en",
            dateformat="yyyy-mm-dd",
            settings={
                "name": "Anna Ähre",
                "email": "a@b.de",
                "countrycode": "en",
                "dateformat": "yyyy-mm-dd",
            },
        ),
    )
    assert (second.name, second.access.host) == ("Zwei", "db.example")
    assert second.user == TenantUser(login="bert")  # kivitendo's defaults
    assert third.name == "14"


@pytest.mark.parametrize(
    ("login", "client", "expected", "user"),
    [
        ("anna", "", "Eins", "anna"),
        ("", "Zwei", "Zwei", "bert"),
        ("", "12", "Zwei", "bert"),
        ("anna", "Zwei", "Zwei", "anna"),
        ("carl", "", "Ohne", "carl"),  # only by membership
        ("carl", "14", "Ohne", "carl"),  # all digits: the id, not the name
    ],
)
def test_login_and_client_restrict_to_one_tenant(
    clients: KivitendoDir, login: str, client: str, expected: str, user: str
) -> None:
    clients.configure("task_server", login=login, client=client)
    (tenant,) = tenants(settings_of(clients))
    assert (tenant.name, tenant.user.login) == (expected, user)


@pytest.mark.parametrize(
    ("login", "client", "fact", "choices"),
    [
        ("dora", "", "there is no login 'dora'", "choices: anna, bert, carl"),
        ("bert", "", "the login 'bert' belongs to several clients", "Zwei (id 12), 14 (id 13)"),
        ("", "Null", "there is no client with the name or id 'Null'", "Eins (id 11), Zwei (id 12)"),
        ("anna", "99", "there is no client with the name or id '99'", "Ohne (id 14)"),
        ("", "Ohne", "the client 'Ohne' has no task server user", "set login as well"),
    ],
)
def test_restrictions_that_lead_nowhere_list_the_choices(
    clients: KivitendoDir, login: str, client: str, fact: str, choices: str
) -> None:
    clients.configure("task_server", login=login, client=client)
    with pytest.raises(ConfigurationError) as caught:
        tenants(settings_of(clients))
    assert fact in str(caught.value)
    assert choices in str(caught.value)
    assert f"{clients.path}/config/kivitendo.conf: [task_server] " in str(caught.value)


def test_a_login_without_any_client(clients: KivitendoDir) -> None:
    execute(clients.auth, "INSERT INTO auth.\"user\" VALUES (9, 'emil')")
    clients.configure("task_server", login="emil")
    with pytest.raises(
        ConfigurationError, match=r"'emil' belongs to no client.*choices: .*\(id 14\)"
    ):
        tenants(settings_of(clients))


def test_3_1_to_3_3_need_login_and_client(clients: KivitendoDir) -> None:
    generation_3_3(clients)
    with pytest.raises(ConfigurationError, match=r"needs login.*choices: anna, bert, carl"):
        tenants(settings_of(clients))
    clients.configure("task_server", login="anna")
    with pytest.raises(ConfigurationError, match=r"needs client.*choices: 14, Eins, Ohne, Zwei"):
        tenants(settings_of(clients))
    clients.configure("task_server", client="Zwei")
    (tenant,) = tenants(settings_of(clients))
    assert (tenant.id, tenant.name, tenant.user.name) == (12, "Zwei", "Anna Ähre")
    clients.configure("task_server", client="Drei")
    with pytest.raises(ConfigurationError, match="no client with the name or id 'Drei'"):
        tenants(settings_of(clients))
    clients.configure("task_server", client="12", login="nobody")
    with pytest.raises(ConfigurationError, match="there is no login 'nobody'"):
        tenants(settings_of(clients))


def test_3_0_has_the_database_in_the_users_settings(clients: KivitendoDir) -> None:
    generation_3_0(clients)
    with pytest.raises(ConfigurationError, match="needs login"):
        tenants(settings_of(clients))
    clients.configure("task_server", login="anna")
    with pytest.raises(ConfigurationError, match="'anna' has no database"):
        tenants(settings_of(clients))
    execute(
        clients.auth,
        "INSERT INTO auth.user_config VALUES (1, 'dbname', 'alt'), (1, 'dbuser', 'u'),"
        " (1, 'dbpasswd', 'p'), (1, 'dbhost', ''), (1, 'dbport', '')",
    )
    (tenant,) = tenants(settings_of(clients))
    assert (tenant.id, tenant.name) == (None, "alt")
    assert tenant.access == DatabaseAccess("localhost", 5432, "alt", "u", "p")
    assert tenant.user.name == "Anna Ähre"


def test_language_of_the_system_where_the_user_has_none(clients: KivitendoDir) -> None:
    clients.configure("system", language="en")
    clients.configure("task_server", client="Zwei")
    assert tenants(settings_of(clients))[0].user.countrycode == "en"


def test_database_without_kivitendos_tables(
    kivitendo_dir: KivitendoDir, new_database: NewDatabase
) -> None:
    settings = replace(settings_of(kivitendo_dir), auth_database=new_database("tenant"))
    with pytest.raises(ConfigurationError) as caught:
        tenants(settings)
    assert "[authentication/database]" in str(caught.value)
    assert "no tables" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"password": "wrong-secret"}, {"name": "no_such_database"}, {"user": "no_such_user"}],
)
def test_refused_by_the_database(kivitendo_dir: KivitendoDir, change: dict[str, str]) -> None:
    settings = settings_of(kivitendo_dir)
    settings = replace(settings, auth_database=replace(settings.auth_database, **change))
    with pytest.raises(ConfigurationError) as caught:
        tenants(settings)
    text = str(caught.value)
    assert text.startswith(f"{kivitendo_dir.path}/config/kivitendo.conf: [authentication/database]")
    assert "check host, port, db, user and password" in text
    assert "\n" not in text
    assert "wrong-secret" not in text
    assert settings.auth_database.password not in text


def test_unreachable_database_is_another_kind_of_error(kivitendo_dir: KivitendoDir) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    settings = settings_of(kivitendo_dir)
    settings = replace(settings, auth_database=replace(settings.auth_database, port=port))
    with pytest.raises(DatabaseError, match=r"refused.*that PostgreSQL runs"):
        tenants(settings)


@pytest.mark.parametrize("host", ["db..example", "x" * 70 + ".example"])
def test_a_host_that_cannot_be_one(kivitendo_dir: KivitendoDir, host: str) -> None:
    kivitendo_dir.configure("authentication/database", host=host)
    with pytest.raises(DatabaseError, match=f"'{host}' is not the name of a host .check host"):
        tenants(settings_of(kivitendo_dir))
