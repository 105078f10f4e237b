"""Making the service part of the boot process, with the programs the system has for it.

Below another root than "/" nothing is started or stopped.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from kivitendo_task_server.errors import ConfigurationError, ControlError, TaskServerError
from kivitendo_task_server.installer.boot import (
    INIT_SCRIPT,
    NAME,
    SYSUSERS,
    TMPFILES,
    UMBRELLA,
    path_unit_name,
    unit_name,
)
from kivitendo_task_server.installer.commands import Commands, runs_outside
from kivitendo_task_server.installer.host import Host

_REGISTRARS = ("update-rc.d", "chkconfig", "insserv")
"""What makes a SysV script part of the boot process; the first that there is."""

_PROGRAMS: Mapping[str, tuple[str, ...]] = {"systemd": ("systemctl",), "openrc": ("rc-update",)}
"""The same for the boot files of others; upstart's need nothing."""


def check_possible(host: Host) -> None:
    """Before a boot file is written: ConfigurationError if nothing could register it."""
    needed = _REGISTRARS if host.has_lsb_scripts else _PROGRAMS.get(host.init.value, ())
    if needed and not any(map(host.program, needed)) and not _from_outside(host):
        raise ConfigurationError(
            f"nothing here registers a boot file of {host.init.value}: no {', '.join(needed)}",
            where=host.root.as_posix(),
            remedy="install it, or name another init system with --init; --no-enable only writes"
            " the boot files",
        )


def _from_outside(host: Host) -> bool:
    """Whether our own system's program does it for an image."""
    return host.init.value == "systemd" and host.root != Path("/") and runs_outside("systemctl")


def register(commands: Commands, instances: Iterable[str], *, first: bool) -> None:
    """Have the service and these new instances started at boot. Raises TaskServerError.

    ``first``: the service itself is not registered yet. If it is, nothing is enabled that an
    administrator may have disabled.
    """
    host = commands.host
    init = host.init.value
    refresh(commands)
    if init == "systemd":
        units = [*([UMBRELLA] if first else []), *map(unit_name, instances)]
        if units:
            commands.run("systemctl", "enable", *units)
    elif host.has_lsb_scripts:
        _register_sysv(commands, first=first)
    elif init == "openrc" and first:
        commands.run("rc-update", "add", NAME, "default")


def refresh(commands: Commands) -> None:
    """Let the init system read changed boot files; what is enabled stays as it is."""
    init = commands.host.init.value
    if init == "systemd":
        _create_user_and_folders(commands)
        if commands.host.init_runs:
            commands.run("systemctl", "daemon-reload")
    elif init == "upstart" and commands.host.init_runs:
        commands.run("initctl", "reload-configuration")


def answer(commands: Commands, instance: str) -> None:
    """Have an instance started when kivitendo's web interface asks for it (``adopt``)."""
    if commands.host.init.value == "systemd":
        now = ["--now"] if commands.host.init_runs else []
        commands.run("systemctl", "enable", *now, path_unit_name(instance))


def unregister(commands: Commands) -> None:
    """Have it no longer started at boot, while its boot files are still there."""
    init = commands.host.init.value
    if init == "systemd":
        units = enabled_units(commands.host)
        if units:
            commands.run("systemctl", "disable", *units)
    elif init == "openrc" and not commands.host.has_lsb_scripts:
        commands.run("rc-update", "delete", NAME, "default")
    elif init == "sysv" and not commands.has("update-rc.d"):
        if commands.has("chkconfig"):
            commands.run("chkconfig", "--del", NAME)
        elif commands.has("insserv"):
            commands.run("insserv", "-r", NAME)


def stop_answering(commands: Commands) -> None:
    """Kivitendo's web interface no longer controls the service."""
    units = [unit for unit in enabled_units(commands.host) if unit.endswith(".path")]
    if units:
        now = ["--now"] if commands.host.init_runs else []
        commands.run("systemctl", "disable", *now, *units)


def remove_request_folder() -> None:
    """What systemd-tmpfiles has made for the web interface's start requests, on this system."""
    for folder in (f"/run/{NAME}/start", f"/run/{NAME}"):
        with contextlib.suppress(OSError):  # none was made; or a request lies there
            Path(folder).rmdir()


def forget(commands: Commands) -> None:
    """Let the init system notice that the boot files are gone."""
    host = commands.host
    init = host.init.value
    if init == "systemd" and host.init_runs:
        remove_request_folder()
        commands.run("systemctl", "daemon-reload")
        # a unit that failed would be listed for ever
        commands.run("systemctl", "reset-failed", f"{NAME}*", may_fail=True)
    elif init == "upstart" and host.init_runs:
        commands.run("initctl", "reload-configuration")
    elif host.has_lsb_scripts and commands.has("update-rc.d"):
        commands.run("update-rc.d", NAME, "remove")


def start(commands: Commands) -> None:
    """Start all enabled instances. Raises ControlError with what the system says."""
    _control(commands, "start")


def restart(commands: Commands) -> None:
    """Restart all enabled instances. Raises ControlError with what the system says."""
    _control(commands, "restart")


def stop(commands: Commands) -> None:
    """Stop all instances, also those that are no longer enabled. Raises ControlError."""
    if not commands.host.init_runs:
        return
    if commands.host.init.value == "systemd":
        # patterns: a unit whose file somebody has removed is no error
        commands.run("systemctl", "stop", f"{NAME}[.]service", f"{NAME}@*.service",
                     f"{NAME}@*.path", patient=True)  # fmt: skip
    elif commands.host.init.value == "upstart" or commands.host.has(INIT_SCRIPT):
        _control(commands, "stop")
    else:
        commands.report(f"{INIT_SCRIPT} is gone")


def enable_instance(commands: Commands, name: str) -> None:
    """Have one more instance started at boot; the boot scripts of others read it themselves."""
    if commands.host.init.value == "systemd":
        commands.run("systemctl", "enable", unit_name(name))


def disable_instance(commands: Commands, name: str) -> None:
    """Have an instance no longer started at boot."""
    if commands.host.init.value == "systemd":
        commands.run("systemctl", "disable", unit_name(name))


def control_instance(
    commands: Commands, action: str, name: str, *, program: str, directory: str
) -> None:
    """Start, stop or restart one instance. Raises ControlError with what the system says."""
    if not commands.host.init_runs:
        return
    init = commands.host.init.value
    if init == "systemd":
        argv: tuple[str, ...] = ("systemctl", action, unit_name(name))
    elif init == "upstart":
        _initctl(commands, action, f"{NAME}-instance", f"CONFIG={name}")
        return
    elif commands.host.has_lsb_scripts:
        argv = (INIT_SCRIPT, action, name)
    else:  # OpenRC's scripts take no names
        argv = (program, "--kivitendo-dir", directory, "-c", f"config/{name}.conf", action)
    _checked(commands, argv)


def enabled_units(host: Host) -> list[str]:
    """Our systemd units that are enabled, as the links of ``systemctl enable`` say."""
    wants = (host.root / "etc/systemd/system").glob(f"*.wants/{NAME}[.@]*")
    return sorted({link.name for link in wants})


def is_enabled(host: Host, name: str, remembered: Iterable[str]) -> bool:
    """Whether an instance is started at boot; ``remembered`` are those the boot scripts start."""
    if host.init.value == "systemd":
        return unit_name(name) in enabled_units(host)
    return name in remembered


def _control(commands: Commands, action: str) -> None:
    if not commands.host.init_runs:
        return
    if commands.host.init.value == "systemd":
        argv: tuple[str, ...] = ("systemctl", action, UMBRELLA)
        if action == "start":
            # where it is active already, it would say nothing of an instance that does not start
            argv += tuple(
                unit for unit in enabled_units(commands.host) if unit.startswith(f"{NAME}@")
            )
    elif commands.host.init.value == "upstart":
        _initctl(commands, action, NAME)
        return
    elif not commands.host.has_lsb_scripts:
        argv = ("rc-service", NAME, action)
    elif commands.has("service"):
        argv = ("service", NAME, action)
    else:
        argv = (INIT_SCRIPT, action)
    _checked(commands, argv)


def _initctl(commands: Commands, action: str, *job: str) -> None:
    """Start, stop or restart a job of upstart, for which what is done already is an error."""
    if action == "restart":
        # "initctl restart" would go on with the job file as it was at the last start
        _initctl(commands, "stop", *job)
        _initctl(commands, "start", *job)
        return
    runs = " start/" in commands.ask("initctl", "status", *job)
    if runs is not (action == "start"):
        _checked(commands, ("initctl", action, *job))


def _checked(commands: Commands, argv: tuple[str, ...]) -> None:
    """Start or stop something. Raises ControlError with the reason that the service itself gave."""
    began = int(time.time())
    outcome = commands.run(*argv, may_fail=True, patient=True)
    if outcome.status == 0:
        return
    told, hint = outcome.output, "see its log file, or run kivitendo-task-server check"
    if commands.host.init.value == "systemd":
        hint = f"see journalctl -u '{NAME}*'"
        journal = ("journalctl", "-q", "-o", "cat", f"--since=@{began}", "-u", f"{NAME}@*")
        told = commands.ask(*journal) or told
    own = [line.removeprefix(f"{NAME}: ") for line in told.splitlines()
           if line.startswith(f"{NAME}: ")]  # fmt: skip
    reason = "; ".join(dict.fromkeys(own)) or " ".join(outcome.output.split())
    raise ControlError(
        f"{shlex.join(argv)} failed with status {outcome.status}: {reason}", remedy=hint
    )


def _register_sysv(commands: Commands, *, first: bool) -> None:
    """Make the links; where they have been made, only their order is brought up to date.

    None of these programs starts again what an administrator has disabled.
    """
    registrar = next(name for name in _REGISTRARS if commands.has(name))
    if registrar == "chkconfig":
        commands.run("chkconfig", "--add", NAME)
    elif registrar == "insserv":
        commands.run("insserv", NAME)
    else:
        commands.run("update-rc.d", NAME, "defaults")
        if first and commands.host.init.value == "sysv":
            _complete_links(commands)


def _complete_links(commands: Commands) -> None:
    """Newer ones have called insserv, which orders the scripts by their headers."""
    if commands.has("insserv") and not _has_links(commands.host):
        commands.run("insserv", NAME)
    if not _has_links(commands.host):
        raise TaskServerError(
            "update-rc.d reported success, but no runlevel directory has a link",
            where=INIT_SCRIPT,
            remedy="look at /etc/rc2.d",
        )


def _has_links(host: Host) -> bool:
    """Whether any runlevel directory starts the script."""
    return any((host.root / "etc").glob(f"rc[2345].d/S[0-9][0-9]{NAME}"))


def _create_user_and_folders(commands: Commands) -> None:
    if commands.host.has(SYSUSERS):
        commands.run("systemd-sysusers", SYSUSERS)
    if commands.host.has(TMPFILES) and commands.host.init_runs:
        commands.run("systemd-tmpfiles", "--create", TMPFILES)
