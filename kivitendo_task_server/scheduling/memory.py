"""How much memory a process uses, for the limits in ``[system]`` (task-server.md, a.5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from kivitendo_task_server.config.settings import SystemSettings
from kivitendo_task_server.log import fields, logger

log = logger(__name__)

CHECKS = 5.0  # seconds between looks at our own memory


async def beyond_limit(system: Callable[[], SystemSettings]) -> None:
    """Return when this process is beyond a limit of the settings then in force; it is logged."""
    while True:
        await asyncio.sleep(CHECKS)
        settings = system()
        for kind, limit, used in (
            ("rss", settings.memory_limit_rss, resident_bytes("self")),
            ("vsz", settings.memory_limit_vsz, virtual_bytes("self")),
        ):
            if limit is not None and used is not None and used > limit:
                log.warning(
                    "Exiting due to memory size limit reached for type '%s':"
                    " limit %d bytes, usage %d bytes",
                    kind,
                    limit,
                    used,
                    extra=fields("memory_limit", kind=kind, limit=limit, used=used),
                )
                return


def resident_bytes(pid: int | str) -> int | None:
    """The resident memory of a process; None if it is gone or there is no /proc."""
    return _size(pid, "VmRSS:")


def resident_bytes_of_all(pid: int) -> int:
    """The resident memory of a process and of those it has started; 0 if it is gone.

    A kernel without lists of children (CONFIG_PROC_CHILDREN) tells only of the process itself.
    """
    total = resident_bytes(pid) or 0
    with contextlib.suppress(OSError, ValueError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                total += resident_bytes_of_all(int(child))
    return total


def virtual_bytes(pid: int | str) -> int | None:
    """The virtual memory of a process; None as above."""
    return _size(pid, "VmSize:")


def _size(pid: int | str, name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None
