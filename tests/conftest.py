"""Fixtures for all tests: one PostgreSQL a session, a fresh database a test.

And the rule for tests/system: what boots containers needs root on Debian; elsewhere those tests
are skipped, and the end of the report says how many and why. Where they can run, a missing program
is a failure.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from database_fixture import NewDatabase, create_database, statement
from kivitendo_fixture import KivitendoDir, kivitendo_installation
from memory import session_folder
from one_tenant import OneTenant

import kivitendo_task_server.demo
from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.demo.postgres import EmbeddedPostgres

# a busy machine makes no test wrong
hypothesis.settings.register_profile(
    "project", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("project")

# a shell lets what it runs in the background ignore SIGINT, and so would all that the tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SCHEMAS = Path(kivitendo_task_server.demo.__file__).parent
ADD_ON = Path(__file__).parent / "addon"
SYSTEM_TESTS = Path(__file__).parent / "system"


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL of this test session (one for each xdist worker)."""
    with session_folder() as folder, EmbeddedPostgres(durable=False, parent=folder) as running:
        yield running


@pytest.fixture(scope="session")
def templates(cluster: EmbeddedPostgres) -> dict[str, str]:
    """Template databases: ``tenant`` (kivitendo's tables) and ``auth``, both without rows."""
    names = {"tenant": "template_tenant", "auth": "template_auth"}
    for kind, name in names.items():
        statement(cluster, f"CREATE DATABASE {name}")
        connection = connect(cluster.access(name), purpose="test set-up")
        with connection, connection.cursor() as cursor:
            cursor.execute((SCHEMAS / f"{kind}_schema.sql").read_text())
        connection.close()
    return names


@pytest.fixture
def new_database(cluster: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[NewDatabase]:
    """Makes databases as copies of a template ("tenant" or "auth"); dropped after the test."""
    made: list[str] = []
    serial = itertools.count(1)

    def make(kind: str = "tenant", name: str | None = None) -> DatabaseAccess:
        name = name or f"{kind}_{os.getpid()}_{next(serial)}"
        made.append(name)
        return create_database(cluster, name, templates[kind])

    yield make
    for name in made:
        statement(cluster, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def tenant_access(new_database: NewDatabase) -> DatabaseAccess:
    """A fresh tenant database without rows."""
    return new_database("tenant")


@pytest.fixture
def tenant_connection(tenant_access: DatabaseAccess) -> Iterator[Connection]:
    """A connection to :func:`tenant_access`."""
    connection = connect(tenant_access, purpose="test")
    yield connection
    connection.close()


@pytest.fixture
def auth_access(new_database: NewDatabase) -> DatabaseAccess:
    """A fresh authentication database without rows."""
    return new_database("auth")


@pytest.fixture
def kivitendo_dir(auth_access: DatabaseAccess) -> Iterator[KivitendoDir]:
    """An installation with an empty authentication database; no service outlives the test."""
    with kivitendo_installation(auth_access) as made:
        yield made


@pytest.fixture
def tenant(kivitendo_dir: KivitendoDir, tenant_access: DatabaseAccess) -> OneTenant:
    """An installation with one tenant, on the node ``vm``."""
    kivitendo_dir.configure("task_server", node_id="vm")
    kivitendo_dir.add_tenant("Eins", tenant_access)
    return OneTenant(kivitendo_dir, tenant_access)


@pytest.fixture
def add_on(monkeypatch: pytest.MonkeyPatch, tenant: OneTenant) -> OneTenant:
    """The tenant, with the jobs of tests/addon installed and the tables they write to."""
    monkeypatch.syspath_prepend(str(ADD_ON))
    tenant.execute(
        "CREATE TABLE effects (job_id integer, done boolean, at timestamp DEFAULT now())"
    )
    return tenant


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests/system, and put it first: one process is long busy with it."""
    system = [item for item in items if SYSTEM_TESTS in item.path.parents]
    if not system:
        return
    obstacle = _obstacle_to_containers()
    for item in system:
        item.add_marker(pytest.mark.system)
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("system"))
        if obstacle:
            item.add_marker(pytest.mark.skip(reason=obstacle))
    items.sort(key=lambda item: SYSTEM_TESTS not in item.path.parents)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly which tests were left out."""
    left_out = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "system" in report.keywords
    ]
    obstacle = _obstacle_to_containers()
    if left_out and obstacle:
        terminalreporter.write_sep("!", "SYSTEM TESTS LEFT OUT", yellow=True, bold=True)
        terminalreporter.write_line(
            f"{len(left_out)} tests of packages and containers did not run: {obstacle}."
        )


def _obstacle_to_containers() -> str | None:
    """Why tests/system cannot run here; None if it can."""
    if os.geteuid() != 0:
        return "they boot containers and need root (sudo tools/test)"
    if not shutil.which("apt-get"):
        return "they are made of Debian's packages, and this is no Debian"
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        return "this system does not allow containers (unshare -m fails)"
    return None
