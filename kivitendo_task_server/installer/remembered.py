"""The installer's own settings, ``/etc/kivitendo-task-server.conf``: what later commands rely on.

Lines ``key = value``. The service reads ``kivitendo_dir`` and ``run_as`` from it, the boot scripts
of SysV, upstart and OpenRC read ``instances``. Administrators may edit it: only the lines of keys
that change are ever rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kivitendo_task_server.config.location import INSTALLER_FILE
from kivitendo_task_server.errors import UsageError
from kivitendo_task_server.installer.tree import Tree

PATH = str(INSTALLER_FILE)

_HEADER = """\
# Settings of kivitendo-task-server install, read by the service and by its boot scripts.
# After changing kivitendo_dir or run_as, run "kivitendo-task-server install" again.
# instances: the configurations config/NAME.conf that the boot scripts start (with systemd
# the enabled units count); change it with "kivitendo-task-server tenant".
"""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Remembered:
    """The settings of the last installation; None or empty where there was none."""

    kivitendo_dir: str | None = None
    run_as: str | None = None
    init: str | None = None
    instances: tuple[str, ...] = ()

    def values(self) -> dict[str, str]:
        """Key -> value of what is set."""
        return {
            "kivitendo_dir": self.kivitendo_dir or "",
            "run_as": self.run_as or "",
            "init": self.init or "",
            "instances": " ".join(self.instances),
        }


def check_name(name: str) -> str:
    """The name of an instance, if it can be one. Raises UsageError."""
    if not is_name(name):
        raise UsageError(
            f"{name!r} cannot name a configuration",
            remedy="use letters, digits, dots, hyphens and underscores, not more than 64",
        )
    return name


def is_name(name: str) -> bool:
    """Whether this can name an instance."""
    return _NAME.fullmatch(name) is not None


def load(tree: Tree) -> Remembered:
    """Read the settings; all empty if nothing is installed."""
    values = _values((tree.read(PATH) or b"").decode("utf-8", "replace"))
    return Remembered(
        kivitendo_dir=values.get("kivitendo_dir") or None,
        run_as=values.get("run_as") or None,
        init=values.get("init") or None,
        instances=tuple(n for n in values.get("instances", "").split() if is_name(n)),
    )


def updated(text: str | None, settings: Remembered) -> str:
    """The text of the file with these settings; comments and unknown lines stay."""
    wanted = settings.values()
    if text is None:
        return _HEADER + "".join(f"{key} = {value}\n".replace(" \n", "\n")
                                 for key, value in wanted.items())  # fmt: skip
    present = _values(text)
    lines = []
    for line in text.splitlines():
        key = _key(line)
        if key in wanted and wanted[key] != present[key]:
            line = f"{key} = {wanted[key]}".rstrip()
        lines.append(line)
    lines += [f"{key} = {value}".rstrip() for key, value in wanted.items() if key not in present]
    return "\n".join(lines) + "\n"


def _values(text: str) -> Mapping[str, str]:
    return {
        key: line.partition("=")[2].strip().strip("\"'")
        for line in text.splitlines()
        if (key := _key(line))
    }


def _key(line: str) -> str:
    key, separator, _ = line.partition("=")
    key = key.strip().lower()
    return key if separator and not key.startswith("#") else ""
