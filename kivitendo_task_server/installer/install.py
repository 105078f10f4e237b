"""Installing and uninstalling: everything is planned and checked first, then done or undone.

Nothing is written before all checks have passed. Should writing fail then, what was written is
taken back. Installing again changes only what differs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kivitendo_task_server.daemon import control, pidfile
from kivitendo_task_server.daemon.piddirectory import DIRECTORY as PID_DIRECTORY
from kivitendo_task_server.errors import ConfigurationError, ControlError, PrivilegeError
from kivitendo_task_server.installer import host as hosts
from kivitendo_task_server.installer import manifest as manifests
from kivitendo_task_server.installer import perl_server, registration, remembered
from kivitendo_task_server.installer.boot import SYSUSERS, CommandLine, boot_files
from kivitendo_task_server.installer.commands import Commands, Report
from kivitendo_task_server.installer.host import Finding, Host
from kivitendo_task_server.installer.installation import Installation, examine, find_directory
from kivitendo_task_server.installer.manifest import Manifest
from kivitendo_task_server.installer.remembered import Remembered
from kivitendo_task_server.installer.tree import Tree
from kivitendo_task_server.installer.wrapper import plan_wrapper
from kivitendo_task_server.installer.writing import Plan

DEFAULT_INSTANCE = "kivitendo"


@dataclass(frozen=True)
class Options:
    """What ``install`` was told."""

    root: Path = Path("/")
    init: str = "auto"
    kivitendo_dir: str | None = None
    run_as: str | None = None
    start: bool = True
    enable: bool = True
    """Enable it at boot; False leaves it to the administrator what is enabled (an upgrade)."""
    dry_run: bool = False
    called_by: str = ""
    """The path of the command that is running."""
    adopt: bool = False
    """Let kivitendo's web interface control the service."""


@dataclass(frozen=True)
class Facts:
    """All that was found out before anything is planned."""

    host: Host
    installation: Installation
    program: Finding[str]
    settings: Remembered

    def lines(self) -> list[str]:
        """Each finding with its evidence, for people."""
        installation = self.installation
        database = installation.database_is_local
        found = {
            "distribution": str(self.host.family),
            "init system": str(self.host.init),
            "program": str(self.program),
            "kivitendo": str(installation.directory),
            "runs as": str(installation.user),
            "database": f"{'local' if database.value else 'remote'} ({database.evidence})",
        }
        if installation.sendmail.value:
            found["mail"] = f"sendmail ({installation.sendmail.evidence})"
        return [f"{name:<13} {value}" for name, value in found.items()]


def tree_for(root: Path, *, dry_run: bool) -> Tree:
    """The files below the root; a dry run is for everybody, who may write or not."""
    return Tree(root, only_look=dry_run and os.geteuid() != 0)


def find_out(options: Options) -> Facts:
    """Examine the host and kivitendo. Raises TaskServerError for what is missing or not clear."""
    tree = Tree(options.root)
    settings = remembered.load(tree)
    init = options.init
    host = hosts.detect(options.root, init=init)
    program = hosts.executable(options.root, options.called_by)
    directory = find_directory(options.root, options.kivitendo_dir, settings.kivitendo_dir)
    installation = examine(
        options.root, directory, host.family.value, options.run_as, settings.run_as
    )
    user = installation.user
    if user.value.uid is None and not (
        host.init.value == "systemd" and host.program("systemd-sysusers")
    ):
        raise ConfigurationError(
            f"the user {user.value} does not exist", where=user.evidence, remedy="create it first"
        )
    return Facts(host, installation, program, settings)


def install(
    options: Options,
    commands: CommandLine,
    report: Report,
    *,
    before: Callable[[Plan], None] | None = None,
    first: Callable[[Commands], None] | None = None,
) -> None:
    """Write the boot files, register the service and start it. Raises TaskServerError.

    For ``adopt``: ``before`` adds to the plan before our own files, ``first`` runs before the plan
    is carried out.
    """
    facts = find_out(options)
    for line in facts.lines():
        report(line)
    if options.enable:
        registration.check_possible(facts.host)
    tree = tree_for(options.root, dry_run=options.dry_run)
    manifest = manifests.load(tree)
    adopted = options.adopt or any(manifest.of_kind("wrapper"))
    settings = _new_settings(facts)
    registered = _registered(facts, manifest)
    plan = Plan(tree, manifest, facts.host.family.value)
    default = facts.installation.default_instance or DEFAULT_INSTANCE
    if before:
        before(plan)
    if adopted:
        plan_wrapper(plan, tree, facts.host, facts.installation, facts.program.value, default)
    for file in boot_files(
        facts.host, facts.installation, facts.program.value, commands, adopted=adopted
    ):
        plan.boot_file(file)
    # the instances are remembered when they have been registered
    plan.settings(replace(settings, instances=registered))
    same_user = facts.settings.run_as == settings.run_as
    plan.remove_stale(but=(SYSUSERS,) if same_user else ())
    for line in plan.lines():
        report(line)
    if options.dry_run:
        report("nothing was changed (--dry-run)")
        return
    runner = Commands(facts.host, report)
    if first:
        first(runner)
    other = _other_init(facts, runner)
    if other:
        registration.unregister(other)
    updated_a_file = plan.updates
    plan.apply()
    if other and not facts.host.has_lsb_scripts:  # whose links are still the right ones
        registration.forget(other)
    if options.enable:
        new = tuple(name for name in settings.instances if name not in registered)
        registration.register(runner, new, first=not registered)
        if adopted:
            registration.answer(runner, default)
        remembering = Plan(tree, manifest, facts.host.family.value)
        remembering.settings(settings)
        remembering.apply()
    else:
        registration.refresh(runner)
    if options.start:
        _start(facts, runner, restart=updated_a_file)


def uninstall(root: Path, report: Report, *, purge: bool, dry_run: bool) -> None:
    """Stop the service, unregister it, and remove what was written; edited files are put aside.

    What ``adopt`` replaced is put back. ``purge`` removes also the generated configuration and
    what was put aside. Raises TaskServerError.
    """
    tree = tree_for(root, dry_run=dry_run)
    manifest = manifests.load(tree)
    if not manifest.entries:
        report("nothing of ours is installed")
        return
    settings = remembered.load(tree)
    host = hosts.detect(root, init=settings.init or "auto")
    plan = Plan(tree, manifest, host.family.value)
    plan.remove_all(purge=purge)
    back = plan.put_back()
    for line in plan.lines():
        report(line)
    if dry_run:
        report("nothing was changed (--dry-run)")
        return
    runner = Commands(host, report)
    registered = any(manifest.of_kind("file"))
    if registered:
        registration.stop(runner)
        _stop_the_rest(runner, settings.kivitendo_dir)
        registration.unregister(runner)
    plan.apply()
    if registered:
        registration.forget(runner)
    for path in back:
        if path.startswith("/etc/"):
            perl_server.enable(runner, path)
            report(f"{path} is back: it starts kivitendo's Perl task server at the next boot")


def _stop_the_rest(runner: Commands, directory: str | None) -> None:
    """What no boot script knows: started by hand, by the web interface, or its script is gone."""
    if runner.host.root != Path("/") or directory is None:
        return
    for path in sorted((Path(directory) / PID_DIRECTORY).glob("*.pid")):
        with contextlib.suppress(ControlError, PrivilegeError):  # an unreadable file is nobody's
            if pidfile.inspect(path).state is pidfile.State.RUNNING:
                control.stop(path, runner.report)


def _new_settings(facts: Facts) -> Remembered:
    default = facts.installation.default_instance or DEFAULT_INSTANCE
    return Remembered(
        kivitendo_dir=facts.installation.directory.value,
        run_as=facts.installation.user.value.name,
        init=facts.host.init.value,
        instances=facts.settings.instances or (default,),
    )


def _registered(facts: Facts, manifest: Manifest) -> tuple[str, ...]:
    """The instances registered before: if they were disabled since, somebody wanted it so."""
    if facts.settings.init != facts.host.init.value or not any(manifest.of_kind("file")):
        return ()
    return facts.settings.instances


def _other_init(facts: Facts, runner: Commands) -> Commands | None:
    """After a change of the init system: the old one, to take the service out of it."""
    old = facts.settings.init
    if not old or old == facts.host.init.value or old not in hosts.INIT_SYSTEMS:
        return None
    host = hosts.detect(facts.host.root, init=old)
    return Commands(replace(host, init_runs=False), runner.report)


def _start(facts: Facts, runner: Commands, *, restart: bool) -> None:
    if not facts.host.init_runs:
        live = facts.host.root == Path("/")
        init = f"{facts.host.init.value} does not run here"
        runner.report(f"not started: {init if live else 'this is not the running system'}")
        return
    problem = facts.installation.problem
    if problem is not None:
        runner.report(f"not started: {problem}")
        runner.report("afterwards: service kivitendo-task-server start")
        return
    perl = perl_server.running(facts.host.root, facts.installation.directory.value)
    if perl:
        runner.report(
            f"not started: kivitendo's Perl task server runs (PID {perl[0].pid});"
            " kivitendo-task-server adopt takes over from it"
        )
        return
    if restart:
        registration.restart(runner)
    else:
        registration.start(runner)
