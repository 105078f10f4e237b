"""The commands of kivitendo's own script: start, stop, restart, reload, status, check, debug.

Texts and exit codes on a healthy system are those of kivitendo's own script (task-server.md, c.1
and c.2), because init scripts, administrators and kivitendo's web interface rely on them.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kivitendo_task_server import __version__
from kivitendo_task_server.daemon import NAME
from kivitendo_task_server.errors import ConfigurationError, TaskServerError
from kivitendo_task_server.streams import say, tell

if TYPE_CHECKING:
    from kivitendo_task_server.config.location import Location
    from kivitendo_task_server.config.settings import Loaded
    from kivitendo_task_server.daemon.start import StartRequest


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the commands here; kivitendo's users also write them before the command."""
    group = parser.add_argument_group("options of start, stop, restart, reload, status, check")
    for names, settings in _OPTIONS:
        group.add_argument(*names, default=argparse.SUPPRESS, **settings)


def _job_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:11]) < 2**31):
        raise argparse.ArgumentTypeError("the id of a job is needed, a number from 1 on")
    return int(text)


_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("-f", "--foreground"),
        {"dest": "control_foreground", "action": "store_true", "help": "do not detach"},
    ),
    (
        ("--noforeground", "--no-foreground"),
        {"dest": "control_foreground", "action": "store_false", "help": argparse.SUPPRESS},
    ),
    (
        ("-d", "--debug"),
        {"dest": "control_debug", "action": "store_true", "help": "name the PID file first"},
    ),
    (
        ("--nodebug", "--no-debug"),
        {"dest": "control_debug", "action": "store_false", "help": argparse.SUPPRESS},
    ),
    (
        ("--run-job",),
        {
            "dest": "control_run_job",
            "type": _job_id,
            "metavar": "ID",
            "help": "start, debug: run the job with this id once in every tenant, then end",
        },
    ),
)


def register(commands: Any) -> None:
    """Add the parsers of the commands here."""
    for name, run, summary in (
        ("start", _start, "start the service; returns when it is ready"),
        ("stop", _stop, "end the service; running jobs may finish"),
        ("restart", _restart, "stop and start"),
        ("reload", _reload, "read the configuration again"),
        ("status", _status, "say whether the service runs (exit code 0, or 1 dead, 3 not running)"),
        ("check", _check, "check the configuration and all databases, and show the status"),
        ("debug", _debug, "run the service in the foreground"),
    ):
        parser = commands.add_parser(name, help=summary, description=summary)
        parser.set_defaults(run=run, control=True)
        options(parser)
    for name, run, summary in (
        ("version", _version, "show the version"),
        ("help", _help, "show this help"),
    ):
        commands.add_parser(name, help=summary).set_defaults(run=run, control=True)


@dataclass(frozen=True)
class _Target:
    """Which service is meant."""

    location: Location
    pid_file: Path


def _start(arguments: argparse.Namespace) -> int:
    return _run_start(arguments, foreground=_option(arguments, "foreground", False))


def _debug(arguments: argparse.Namespace) -> int:
    return _run_start(arguments, foreground=True)


def _stop(arguments: argparse.Namespace) -> int:
    from kivitendo_task_server.daemon.control import stop

    stop(_target(arguments).pid_file, say)
    return 0


def _restart(arguments: argparse.Namespace) -> int:
    from kivitendo_task_server.daemon import control
    from kivitendo_task_server.daemon.proof import prove

    target = _target(arguments)
    # first: what is wrong must not cost a running service
    loaded = _configuration(arguments, target)
    foreground = _option(arguments, "foreground", False)
    prove(_request(arguments, target, loaded, foreground=foreground), loaded, target.pid_file)
    timeout = loaded.settings.task_server.stop_timeout
    control.stop(target.pid_file, say, timeout)
    return _launch(arguments, target, loaded, foreground=foreground)


def _reload(arguments: argparse.Namespace) -> int:
    from kivitendo_task_server.daemon.control import reload

    reload(_target(arguments).pid_file, say)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from kivitendo_task_server.daemon import control

    target = _target(arguments)
    code = control.status(target.pid_file, say)
    say(f"kivitendo directory: {target.location.kivitendo_dir} (found by {target.location.rule})")
    for line in control.details(target.pid_file):
        say(line)
    return code


def _check(arguments: argparse.Namespace) -> int:
    from kivitendo_task_server.daemon import control, start

    target = _target(arguments)
    loaded = _configuration(arguments, target)
    start.look_as_service_user(target.location.kivitendo_dir, loaded)
    from kivitendo_task_server.daemon.check import check  # with the rights of that user, too

    troubles = check(loaded.settings, target.location.kivitendo_dir)
    say("Configuration looks okay")
    control.say_whether_running(target.pid_file, say)
    if troubles:
        lines = "".join(f"\n  {trouble}" for trouble in troubles)
        raise TaskServerError(f"no jobs would run for {_tenants(len(troubles))}:{lines}")
    return 0


def _tenants(count: int) -> str:
    return "one tenant" if count == 1 else f"{count} tenants"


def _version(arguments: argparse.Namespace) -> int:
    say(f"{NAME} - version {__version__}")
    return 0


def _help(arguments: argparse.Namespace) -> int:
    from kivitendo_task_server.cli.main import build_parser

    build_parser().print_help()
    return 0


def _run_start(arguments: argparse.Namespace, *, foreground: bool) -> int:
    from kivitendo_task_server.daemon import control, pidfile

    target = _target(arguments)
    found = pidfile.inspect(target.pid_file)
    if found.state is pidfile.State.RUNNING:
        control.refuse_if_ending(target.pid_file, found.pid)
        return _already_running(found.pid)
    loaded = _configuration(arguments, target)
    return _launch(arguments, target, loaded, foreground=foreground)


def _launch(
    arguments: argparse.Namespace, target: _Target, loaded: Loaded, *, foreground: bool
) -> int:
    from kivitendo_task_server.daemon import start
    from kivitendo_task_server.daemon.pidfile import AlreadyRunning

    start.refuse_beside_others(target.pid_file)
    if not foreground:
        say(f"Starting {NAME} server")
    request = _request(arguments, target, loaded, foreground=foreground)
    try:
        return start.start(request, loaded, target.pid_file, _warn)
    except AlreadyRunning as error:  # another start was faster
        return _already_running(error.pid)


def _request(
    arguments: argparse.Namespace, target: _Target, loaded: Loaded, *, foreground: bool
) -> StartRequest:
    from kivitendo_task_server.daemon.start import StartRequest

    run_job = _option(arguments, "run_job", None)
    return StartRequest(target.location, loaded.settings.config_file, foreground, run_job)


def _already_running(pid: int | None) -> int:
    say(f"{NAME.capitalize()} is already running (pid {pid})")
    return 0


def _target(arguments: argparse.Namespace) -> _Target:
    """Find kivitendo and the PID file; needs no configuration file to exist."""
    from kivitendo_task_server.cli import target
    from kivitendo_task_server.daemon.control import controlled_pid_file

    location = target.location(arguments)
    config_file, missing = None, None
    if arguments.configfile is not None:
        try:
            config_file = target.config_file(arguments, location)
        except ConfigurationError as error:
            config_file, missing = location.kivitendo_dir / arguments.configfile, error
    pid_file = controlled_pid_file(location.kivitendo_dir, config_file)
    if missing is not None and not os.path.lexists(pid_file):
        raise missing  # a typo (weakness 9); if the file is gone, its service can still be running
    if _option(arguments, "debug", False):
        say(f"PIDFILE={os.path.relpath(pid_file, location.kivitendo_dir.resolve())}")
    return _Target(location, pid_file)


def _configuration(arguments: argparse.Namespace, target: _Target) -> Loaded:
    """Load the settings, showing what is doubtful in them."""
    from kivitendo_task_server.cli.target import config_file
    from kivitendo_task_server.daemon.configuration import read_configuration

    file = config_file(arguments, target.location)
    return read_configuration(file, target.location.kivitendo_dir, _warn)


def _option(arguments: argparse.Namespace, name: str, default: Any) -> Any:
    return getattr(arguments, f"control_{name}", default)


def _warn(text: str) -> None:
    tell(f"kivitendo-task-server: warning: {text}")
