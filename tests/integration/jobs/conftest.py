"""A tenant database with the tables of all jobs.

Jobs do not commit, so every test works in a transaction that is rolled back in the end: one
database serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from jobs_bench import Bench

from kivitendo_task_server.config.settings import DatabaseAccess, Settings
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.demo.postgres import EmbeddedPostgres

MORE_TABLES = Path(__file__).with_name("more_tables.sql")


@pytest.fixture(scope="session")
def jobs_database(cluster: EmbeddedPostgres, templates: dict[str, str]) -> DatabaseAccess:
    """One tenant database with the tables of all jobs and the rows every tenant has."""
    admin = psycopg2.connect(
        host=cluster.access("postgres").host, port=cluster.access("postgres").port,
        dbname="postgres", user=cluster.access("postgres").user,
        password=cluster.access("postgres").password,
    )  # fmt: skip
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE jobs_bench TEMPLATE {templates['tenant']}")
    admin.close()
    access = cluster.access("jobs_bench")
    connection = connect(access, purpose="test set-up")
    with connection, connection.cursor() as cursor:
        cursor.execute(MORE_TABLES.read_text())
        cursor.execute(BASIC_ROWS)
    connection.close()
    return access


BASIC_ROWS = """
INSERT INTO currencies (id, name) VALUES (1, 'EUR');
INSERT INTO chart (id, accno, description, charttype, category, link) VALUES
    (10, '1400', 'Forderungen', 'A', 'A', 'AR'), (11, '1600', 'Verbindlichkeiten', 'A', 'L', 'AP');
INSERT INTO countries (id, iso2, description_en, description_de) VALUES
    (1, 'DE', 'Germany', 'Deutschland');
INSERT INTO defaults (currency_id, ar_chart_id, ap_chart_id, address_country_id)
    VALUES (1, 10, 11, 1);
INSERT INTO tax_zones (id, description, sortkey) VALUES (1, 'Inland', 1);
INSERT INTO units (name, sortkey) VALUES ('Stck', 1);
INSERT INTO part_classifications (id, description) VALUES (0, 'none');
INSERT INTO project_types (id, position) VALUES (1, 1);
INSERT INTO project_statuses (id, name, description, position) VALUES
    (1, 'presales', 'Akquise', 1), (2, 'planning', 'In Planung', 2),
    (3, 'running', 'In Bearbeitung', 3), (4, 'done', 'Abgeschlossen', 4);
INSERT INTO employee (id, login, name) VALUES (100, 'demo', 'Demo Benutzer');
"""


@pytest.fixture
def bench(jobs_database: DatabaseAccess, tmp_path: Path) -> Iterator[Bench]:
    """A bench on the common database; everything is rolled back."""
    connection = connect(jobs_database, purpose="test")
    settings = Settings(auth_database=jobs_database, config_file=tmp_path / "kivitendo.conf")
    yield Bench(jobs_database, connection, settings, kivitendo_dir=tmp_path)
    connection.rollback()
    connection.close()


@pytest.fixture
def auth(bench: Bench, new_database: Callable[..., DatabaseAccess]) -> Iterator[Connection]:
    """An authentication database for the bench; commits are the test's business."""
    access = new_database("auth")
    bench.change_settings(auth_database=access)
    connection = connect(access, purpose="test")
    connection.autocommit = True
    yield connection
    connection.close()
