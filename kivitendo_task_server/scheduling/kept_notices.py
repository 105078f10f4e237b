"""Notices that wait to be sent, kept in a file: neither a stop nor a crash loses them.

It lies beside the PID file, whose lock sees to it that only one process uses it, and is there only
while something waits. Of a tenant it names the database and the id; no passwords.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.replacing import ERRORS, replace_file
from kivitendo_task_server.scheduling.notice import FinishedRun, Notice

log = logger(__name__)


class KeptNotices:
    """The file, and what is in it of tenants that are not known (yet)."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._unclaimed = _read(file)
        self._failed = False

    def claim(self, tenants: Iterable[Tenant]) -> list[Notice]:
        """What an earlier service left about these, and about itself; given once only."""
        known = {_key(tenant): tenant for tenant in tenants}
        claimed, others = [], []
        for entry in self._unclaimed:
            key = entry["tenant"] and tuple(entry["tenant"])
            if key is None or key in known:
                claimed.append(_notice(entry, known[key] if key else None))
            else:
                others.append(entry)
        self._unclaimed = others
        return claimed

    def keep(self, notices: Sequence[Notice]) -> bool:
        """Let the file have these, and what nobody has claimed; whether that worked."""
        entries = [*self._unclaimed, *map(_entry, notices)]
        try:
            if entries:
                content = json.dumps(entries, default=_plain, ensure_ascii=False, indent=1)
                replace_file(self._file, content)
            else:
                self._file.unlink(missing_ok=True)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning(
                    "the file of notifications that wait cannot be written",
                    extra=fields("notification_file", file=self._file, error=error.strerror),
                )
            self._failed = True
        return not self._failed


def _key(tenant: Tenant) -> tuple[str, int | None]:
    return str(tenant.access), tenant.id


def _entry(notice: Notice) -> dict[str, Any]:
    return {
        "tenant": _key(notice.tenant) if notice.tenant else None,
        "at": notice.at,
        "run": asdict(notice.run) if notice.run else None,
        "error": notice.error,
        "since": notice.since,
        "again": notice.again,
    }


def _plain(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()


def _notice(entry: dict[str, Any], tenant: Tenant | None) -> Notice:
    run, since = entry["run"], entry["since"]
    return Notice(
        tenant,
        datetime.fromisoformat(entry["at"]),
        FinishedRun(**{**run, "run_at": datetime.fromisoformat(run["run_at"])}) if run else None,
        entry["error"],
        datetime.fromisoformat(since) if since else None,
        entry["again"],
    )


def _read(file: Path) -> list[dict[str, Any]]:
    """The entries; a file that is not ours, or damaged, has none, and the log says so."""
    try:
        entries: list[dict[str, Any]] = json.loads(file.read_text("utf-8", ERRORS))
        for entry in entries:
            _notice(entry, None)
            assert entry["tenant"] is None or len(entry["tenant"]) == 2
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        log.warning(
            "the file of notifications that wait cannot be read",
            extra=fields("notification_file", file=file, error=error),
        )
        return []
    return entries
