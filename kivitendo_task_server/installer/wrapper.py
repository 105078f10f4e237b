"""The wrapper in the place of kivitendo's ``scripts/task_server.pl`` (task-server.md, c.9).

kivitendo's web interface calls that script with "start" and "stop"; with the wrapper it controls
our service.
"""

from __future__ import annotations

from kivitendo_task_server.errors import NotInstalledError
from kivitendo_task_server.installer.boot import path_unit_name, render, unit_name
from kivitendo_task_server.installer.host import Host
from kivitendo_task_server.installer.installation import Installation
from kivitendo_task_server.installer.perl_server import SCRIPT
from kivitendo_task_server.installer.tree import Tree
from kivitendo_task_server.installer.writing import KEPT_SUFFIX, Plan

MARK = b"kivitendo-task-server adopt"


def plan_wrapper(
    plan: Plan, tree: Tree, host: Host, installation: Installation, program: str, instance: str
) -> None:
    """Plan to put the wrapper in the script's place, and the script aside.

    After an update of kivitendo the script is kivitendo's own again, and is put aside once more.
    Raises NotInstalledError if there is no such directory.
    """
    script = f"{installation.directory.value}/{SCRIPT}"
    present = tree.read(script)
    if tree.is_missing(script.rpartition("/")[0]):
        raise NotInstalledError(
            "kivitendo's directory of scripts is missing",
            where=tree.shown(script),
            remedy="check --kivitendo-dir",
        )
    text = render(
        "adopt/task_server.pl",
        {
            "program": program,
            "directory": installation.directory.value,
            "init": host.init.value,
            "instance": instance,
            "unit_name": unit_name(instance),
            "path_unit_name": path_unit_name(instance),
            "user": installation.user.value.name,
            "kept": script + KEPT_SUFFIX,
        },
    )
    if present is not None and MARK not in present:
        plan.displace(script)
    plan.file(script, text.encode(), mode=0o755, kind="wrapper")
