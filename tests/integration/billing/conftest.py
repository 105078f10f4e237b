"""Books with master data but no orders, a fresh copy for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from database_fixture import NewDatabase, create_database
from orders import Books, fill_with_master_data

from kivitendo_task_server.demo.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def books_template(cluster: EmbeddedPostgres, templates: dict[str, str]) -> str:
    """The kind of database that ``new_database`` then knows, too."""
    fill_with_master_data(create_database(cluster, "template_books", templates["tenant"]))
    templates["books"] = "template_books"
    return "books"


@pytest.fixture
def books(new_database: NewDatabase, books_template: str) -> Iterator[Books]:
    """A tenant's books."""
    made = Books(new_database(books_template))
    yield made
    made.close()
