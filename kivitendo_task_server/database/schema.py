"""What a tenant's database is: kivitendo's release, and which columns its tables have.

The release decides on behaviour, the catalogue on columns (recurring-invoices.md, 1.9).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kivitendo_task_server.database.connection import Connection

Release = tuple[int, ...]
Columns = dict[str, frozenset[str]]

_MARKER = re.compile(r"release_(\d+(?:_\d+)+)\Z")


def installed_release(connection: Connection) -> Release | None:
    """The highest release marker in schema_info, for instance (3, 5, 8); None without any."""
    with connection.cursor() as cursor:
        cursor.execute(r"SELECT tag FROM schema_info WHERE tag LIKE 'release\_%%'")
        tags = [str(tag) for (tag,) in cursor.fetchall()]
    releases = [
        tuple(int(part) for part in match.group(1).split("_"))
        for match in map(_MARKER.match, tags)
        if match
    ]
    return max(releases, default=None)


def release_name(release: Release | None) -> str:
    """A release as people write it: 3.5.8."""
    return ".".join(map(str, release)) if release else "unknown"


def existing_columns(connection: Connection, tables: Iterable[str]) -> Columns:
    """The columns that these tables of schema public have here; a missing table has none."""
    names = list(tables)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name::text, array_agg(column_name::text)"
            "  FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = ANY(%s)"
            " GROUP BY table_name",
            (names,),
        )
        found = {str(table): frozenset(columns) for table, columns in cursor.fetchall()}
    return {name: found.get(name, frozenset()) for name in names}
