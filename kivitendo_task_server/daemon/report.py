"""What the running service says about itself, as a file beside its PID file.

The small JSON file has the PID file's name with ``.status`` and is rewritten on changes. The
commands read it, so that they need neither the configuration nor a database (weakness 2); it is a
courtesy, and all of them work without it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path

from kivitendo_task_server.replacing import ERRORS


@dataclass(frozen=True)
class Report:
    """The content of the status file."""

    pid: int
    kivitendo_dir: str
    found_by: str
    """The rule that led to the directory, for ``status``."""
    config_file: str
    version: str
    stop_timeout: int = 60
    """Seconds; what ``stop`` has to be patient for."""
    text: str = "starting"
    ending: bool = False
    """It has been told to end, and finishes the running jobs."""
    reloads: int = 0
    """How many reloads are over; ``reload`` waits for the next."""
    reload_error: str | None = None
    tenants: dict[str, str] = field(default_factory=dict)


def path_for(pid_file: Path) -> Path:
    """The status file that belongs to a PID file."""
    return pid_file.with_suffix(".status")


def remove(pid_file: Path) -> None:
    """Take the status file away; it may be gone already, or not ours to remove."""
    with contextlib.suppress(OSError):
        path_for(pid_file).unlink()


def read(pid_file: Path, pid: int) -> Report | None:
    """What the service with that PID says; None if it cannot be known."""
    try:
        content = json.loads(path_for(pid_file).read_text(encoding="utf-8", errors=ERRORS))
        known = {each.name for each in fields(Report)}
        report = Report(**{key: value for key, value in content.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    # what is calculated and listed; a file that a crash or a stranger left must not stop "stop"
    sound = (
        isinstance(report.stop_timeout, int)
        and isinstance(report.reloads, int)
        and isinstance(report.tenants, dict)
    )
    return report if sound and report.pid == pid else None
