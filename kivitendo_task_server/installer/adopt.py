"""Taking over from kivitendo's Perl task server, and giving it back.

kivitendo's ``scripts/task_server.pl`` is replaced by a wrapper, so that "start" and "stop" in its
web interface control our service (task-server.md, c.9). A Perl server that runs is stopped, and
what starts it at boot is put aside. Nothing is lost: ``adopt --undo`` and ``uninstall`` put it all
back.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kivitendo_task_server.installer import host as hosts
from kivitendo_task_server.installer import install as installing
from kivitendo_task_server.installer import manifest as manifests
from kivitendo_task_server.installer import perl_server, registration, remembered
from kivitendo_task_server.installer.boot import NAME, TMPFILES, UNITS, CommandLine
from kivitendo_task_server.installer.commands import Commands, Report
from kivitendo_task_server.installer.install import Options
from kivitendo_task_server.installer.tree import Tree
from kivitendo_task_server.installer.writing import KEPT_SUFFIX, Plan


def adopt(options: Options, commands: CommandLine, report: Report) -> None:
    """Take over from the Perl server, then install and start our service.

    Raises TaskServerError; all checks come before the first change.
    """
    facts = installing.find_out(options)
    tree = Tree(options.root)
    boot_files = perl_server.boot_files(tree, facts.installation.directory.value)
    running = perl_server.running(options.root, facts.installation.directory.value)
    for server in running:
        report(f"found: a Perl task server runs (PID {server.pid}, {server.pid_file})")
    for path in boot_files:
        report(f"found: it is started at boot by {path}")

    def take_over(plan: Plan) -> None:
        for path in boot_files:
            if path.startswith("/etc/"):
                plan.displace(path)

    def silence(runner: Commands) -> None:
        for path in boot_files:
            perl_server.disable(runner, path)
        for server in perl_server.running(options.root, facts.installation.directory.value):
            perl_server.stop(server, runner)

    installing.install(
        replace(options, adopt=True), commands, report, before=take_over, first=silence
    )


def undo(root: Path, report: Report, *, dry_run: bool) -> None:
    """Put kivitendo's script back; where a boot script was put aside, uninstall our service.

    Raises TaskServerError.
    """
    tree = installing.tree_for(root, dry_run=dry_run)
    manifest = manifests.load(tree)
    kept = [entry.path.removesuffix(KEPT_SUFFIX) for entry in manifest.of_kind("kept")]
    if not kept and not any(manifest.of_kind("wrapper")):
        report("nothing was adopted")
        return
    if any(path.startswith("/etc/") for path in kept):
        installing.uninstall(root, report, purge=False, dry_run=dry_run)
        return
    settings = remembered.load(tree)
    host = hosts.detect(root, init=settings.init or "auto")
    plan = Plan(tree, manifest, host.family.value)
    plan.remove([f"{UNITS}/{NAME}@.path", TMPFILES])
    plan.put_back()
    for line in plan.lines():
        report(line)
    if dry_run:
        report("nothing was changed (--dry-run)")
        return
    runner = Commands(host, report)
    registration.stop_answering(runner)
    plan.apply()
    if host.init_runs:
        registration.remove_request_folder()
    registration.refresh(runner)
