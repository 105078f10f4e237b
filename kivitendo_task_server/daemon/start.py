"""From the command line to the running service: everything that can be checked before it detaches.

The order matters (task-server.md, c.4 and c.8): the configuration is read with the caller's rights
because it names ``run_as``; then privileges are dropped; only then is anything of kivitendo's or a
tenant's touched.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.config.location import INSTALLER_FILE, Location, installers_user
from kivitendo_task_server.config.settings import Loaded
from kivitendo_task_server.daemon import logs, piddirectory, pidfile, privileges, process
from kivitendo_task_server.daemon.configuration import Warn, run_as_place
from kivitendo_task_server.daemon.pidfile import State
from kivitendo_task_server.streams import tell


@dataclass(frozen=True)
class StartRequest:
    """What the command line asked for."""

    location: Location
    config_file: Path
    foreground: bool = False
    run_job: int | None = None


def refuse_beside_others(pid_file: Path, *, own: bool = True) -> None:
    """Raise ControlError if a Perl task server of the same installation is running.

    Without ``own`` one that holds this PID file does not count: it is about to be stopped.
    """
    found = pidfile.inspect(pid_file)
    others = {pid_file: found} if own and found.state is State.FOREIGN else {}
    for path, holder in (others or piddirectory.other_servers(pid_file)).items():
        raise pidfile.foreign_refusal(path, holder)


def start(request: StartRequest, loaded: Loaded, pid_file: Path, warn: Warn) -> int:
    """Become the service's user, and start it; the exit code, in the foreground after its end.

    ``warn`` is given what the administrator should know of a service that runs all the same.
    Raises AlreadyRunning and other TaskServerErrors.
    """
    become_service_user(request, loaded)
    root = request.location.kivitendo_dir
    enter(root, loaded)
    if not os.access(request.config_file, os.R_OK):
        warn(
            f"{request.config_file}: the user of the service cannot read it, so a reload will fail"
            " (let that user's group read it)"
        )
    if request.foreground:
        target, doubt = logs.foreground_target(loaded.settings.task_server.debug), None
    else:
        target, doubt = logs.daemon_target(loaded.settings, root)
    plan = process.Plan(
        request.location, request.config_file, loaded, pid_file, target, request.run_job
    )
    if request.foreground:
        logs.set_up(target)
        tell("Starting up...")
        return process.run(plan)
    for text in (doubt, process.run_detached(plan)):
        if text:
            warn(text)
    return 0


def enter(kivitendo_dir: Path, loaded: Loaded) -> None:
    """Be in the kivitendo directory, with the environment that the configuration asks for."""
    os.chdir(kivitendo_dir)
    os.environ.update(loaded.settings.environment)


def become_service_user(request: StartRequest, loaded: Loaded) -> None:
    """Drop privileges as ``run_as`` says, and make the PID directory for that user.

    Where the configuration names nobody, root becomes the user the installer chose.
    """
    account, where = _service_user(request.location.kivitendo_dir, loaded)
    owner = (account.pw_uid, account.pw_gid) if account else None
    piddirectory.ensure_directory(request.location.kivitendo_dir, owner)
    if account:
        privileges.become(account, where=where)


def look_as_service_user(kivitendo_dir: Path, loaded: Loaded) -> None:
    """Let root go on as the service's user: a database may know that one, by peer or a file.

    Leaves no traces; any other user looks with the rights that user has.
    """
    account, where = _service_user(kivitendo_dir, loaded)
    if account and os.geteuid() == 0:
        privileges.become(account, where=where)
    enter(kivitendo_dir, loaded)


def _service_user(kivitendo_dir: Path, loaded: Loaded) -> tuple[pwd.struct_passwd | None, str]:
    """Whom the service runs as, None for the caller, and the place that says so."""
    where, run_as = run_as_place(loaded), loaded.settings.task_server.run_as
    if not run_as and os.geteuid() == 0:
        run_as = installers_user(kivitendo_dir) or ""
        where = f"{INSTALLER_FILE}: run_as"
    return privileges.look_up(run_as, where=where), where
