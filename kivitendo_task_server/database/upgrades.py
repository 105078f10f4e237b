"""Schema upgrades of kivitendo that a database still lacks (task-server.md, b.6).

After an update of kivitendo's code its databases are upgraded by the administrator; until then no
job may run on them. Which upgrades there are say the tags of the scripts in two directories, which
of them a database has says its table schema_info.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from kivitendo_task_server.database.asynchronous import Query

Kind = Literal["authentication", "tenant"]

DIRECTORIES: dict[Kind, str] = {
    "authentication": "sql/Pg-upgrade2-auth",
    "tenant": "sql/Pg-upgrade2",
}

# a line of a script's head: "-- @tag: name" or "# @ignore: 1"
_LINE = re.compile(rb"^(?:--|#)[ \t]*@(\w+):[ \t]*(.*?)[ \t\r]*$", re.M)


class UpgradeScripts:
    """The tags of a kivitendo directory's upgrade scripts; read again when a directory changes."""

    def __init__(self, kivitendo_dir: Path) -> None:
        self._kivitendo_dir = kivitendo_dir
        self._known: dict[Kind, tuple[int, frozenset[str]]] = {}

    def tags(self, kind: Kind) -> frozenset[str]:
        """All tags that databases of this kind must have; none if there is no such directory."""
        directory = self._kivitendo_dir / DIRECTORIES[kind]
        try:
            changed = directory.stat().st_mtime_ns
        except OSError:
            return frozenset()
        known = self._known.get(kind)
        if known is None or known[0] != changed:
            known = self._known[kind] = (changed, _tags_in(directory))
        return known[1]


def _tags_in(directory: Path) -> frozenset[str]:
    found = set()
    for script in directory.iterdir():
        if script.suffix in (".sql", ".pl"):
            try:
                values = dict(reversed(_LINE.findall(script.read_bytes())))
            except OSError:
                continue  # it is being replaced: the directory will change once more
            if values.get(b"tag") and values.get(b"ignore", b"") in (b"", b"0"):
                found.add(values[b"tag"].decode("utf-8", "replace"))
    return frozenset(found)


async def missing(query: Query, kind: Kind, tags: frozenset[str]) -> frozenset[str]:
    """Which of the tags the database does not have."""
    schema = "auth" if kind == "authentication" else "public"
    rows = await query(f"SELECT tag FROM {schema}.schema_info")  # noqa: S608 - one of two names
    return tags - {row[0] for row in rows}


def pending_text(kind: Kind, lacking: frozenset[str]) -> str:
    """What to tell the administrator."""
    some = ", ".join(sorted(lacking)[:3]) + (", …" if len(lacking) > 3 else "")
    where = "the administration" if kind == "authentication" else "kivitendo, by logging in"
    return (
        f"the {kind} database lacks {len(lacking)} schema upgrades ({some}); upgrade it in {where}"
    )
