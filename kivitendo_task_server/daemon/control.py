"""Control of a service from outside: which one, its status, its end, its reload.

Nothing here needs a database or a valid configuration (weakness 2). The texts are those that
scripts and kivitendo's web interface know (task-server.md, c.2 and c.3).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import time
from collections.abc import Callable
from pathlib import Path

from kivitendo_task_server.config.location import LOCAL_FILES
from kivitendo_task_server.daemon import NAME, pidfile, report
from kivitendo_task_server.daemon.piddirectory import path_for
from kivitendo_task_server.daemon.pidfile import Found, State
from kivitendo_task_server.errors import ConfigurationError, ControlError, PrivilegeError

PATIENCE = 10.0
"""Seconds on top of the service's ``stop_timeout`` before ``stop`` sends the second signal."""
KILL_STEPS = (15.0, 30.0)
"""Seconds to wait after the second signal, and after SIGKILL."""
NOTICE = 1.0
"""Seconds after which stop says that it is waiting."""
RELOAD_TIMEOUT = 30.0
EXIT_TIME = 5.0
"""Seconds between the end of its work, when a service frees its lock, and that of its process."""

_POLL = 0.05  # seconds

Say = Callable[[str], None]


def controlled_pid_file(kivitendo_dir: Path, config_file: Path | None) -> Path:
    """The PID file of the service meant.

    Without a configuration file given (None), the service may have been started when another of
    the default names applied: a running one is found under any of them, as the web interface does.
    """
    if config_file is not None:
        return path_for(kivitendo_dir, config_file)
    applying = [name for name in LOCAL_FILES if (kivitendo_dir / name).exists()]
    names = [*applying, *(name for name in LOCAL_FILES if name not in applying)]
    paths = [path_for(kivitendo_dir, Path(name)) for name in names]
    for path in paths:
        if pidfile.inspect(path).alive:
            return path
    return paths[0]


def say_whether_running(pid_file: Path, say: Say) -> None:
    """What ``check`` says of the service: to it, one that has left its PID file just does not run.

    Scripts know its output from kivitendo's own (c.2), which differs from that of ``status``.
    """
    found = pidfile.inspect(pid_file)
    if found.state is State.EMPTY:
        raise pidfile.refusal(pid_file, found)
    say(f"{NAME} running - pid {found.pid}" if found.alive else f"No {NAME} running")


def status(pid_file: Path, say: Say) -> int:
    """Say whether the service runs; 0 running, 1 dead but its PID file is left, 3 not running."""
    found = pidfile.inspect(pid_file)
    match found.state:
        case State.NONE:
            say(f"No {NAME} running")
            return 3
        case State.RUNNING | State.FOREIGN:
            say(f"{NAME} running - pid {found.pid}")
            return 0
        case State.EMPTY:
            raise pidfile.refusal(pid_file, found)
        case _:
            say(f"{NAME} dead")
            return 1


def details(pid_file: Path) -> list[str]:
    """What else can be said of a service without a database: lines for ``status``."""
    found = pidfile.inspect(pid_file)
    if found.state is State.FOREIGN:
        return [f"program: {found.program}, not this task server but probably kivitendo's own"]
    if found.state is State.ORPHANED:
        return [f"the PID file is locked, but process {found.pid} does not exist here: {pid_file}"]
    told = report.read(pid_file, found.pid) if found.state is State.RUNNING and found.pid else None
    if told is None:
        return []
    lines = [f"version: {told.version}", f"state: {told.text}"]
    if told.reload_error:
        lines.append(f"the last reload failed, the old configuration is used: {told.reload_error}")
    lines += [f"tenant {name}: {state}" for name, state in told.tenants.items()]
    # names and errors come from databases: nothing in them may move the cursor or forge a line
    return [
        " ".join("".join(c if c.isprintable() else " " for c in line).split()) for line in lines
    ]


def refuse_if_ending(pid_file: Path, pid: int | None) -> None:
    """Raise ControlError for a service that runs, but not for long: it is no successful start."""
    told = report.read(pid_file, pid) if pid else None
    if told is not None and told.ending is True:
        raise ControlError(
            f"the service (pid {pid}) was told to end and is finishing its running jobs",
            where=str(pid_file),
            remedy="start it when it has ended; status tells",
        )


def stop(pid_file: Path, say: Say, stop_timeout: int = 60) -> None:
    """End the service: running jobs may finish in its ``stop_timeout``, then ever more strictly.

    ``stop_timeout`` (seconds) is used where the service itself does not tell its own. Raises
    PrivilegeError for another user's service (weakness 7), ControlError if it does not end.
    """
    found = _settled(pid_file)
    if found.alive and found.pid is not None:
        told = report.read(pid_file, found.pid)
        if told is not None:
            stop_timeout = told.stop_timeout
        _end(pid_file, found.pid, found.state is State.FOREIGN, say, stop_timeout)
    else:
        say(f"No {NAME} running")
    if pidfile.remove_stale(pid_file):
        report.remove(pid_file)


def _end(pid_file: Path, pid: int, foreign: bool, say: Say, stop_timeout: int) -> None:
    """The kill dialogue (c.3), its first step as long as jobs may take to finish."""
    # kivitendo's own server knows no graceful end; INT is what it takes for one
    if foreign and not _has_open(pid, pid_file):
        raise ControlError(
            f"the lock is held, but not by process {pid} whose number is in the file: it is not"
            " signalled",
            where=str(pid_file),
            remedy=f"find out who holds it with 'fuser {pid_file}', and end that",
        )
    first = signal.SIGINT if foreign else signal.SIGTERM
    patience = 15.0 if foreign else stop_timeout + PATIENCE
    if not _send(pid, first):
        say(f"Process {pid} no longer running")
        return
    say(f"Killing {pid}")
    if _ended(pid_file, pid, NOTICE):
        return
    say(f"Waiting for {pid} to die...")
    if not _ended(pid_file, pid, patience):
        for number, name, seconds in zip(
            (signal.SIGTERM, signal.SIGKILL), ("TERM", "KILL"), KILL_STEPS, strict=True
        ):
            say(f"Killing {pid} with -{name}...")
            if not _send(pid, number) or _ended(pid_file, pid, seconds):
                break
        else:
            raise ControlError(f"Giving up on {pid} ever dying.", where=str(pid_file))
    say(f"Process {pid} is gone")


def _has_open(pid: int, pid_file: Path) -> bool:
    """Whether that process has the PID file open, as whoever holds its lock; True if untold.

    The file belongs to the web server's user, who could have root signal any process by it.
    """
    try:
        file = pid_file.stat(follow_symlinks=False)
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return True  # another user's process, which we may not signal either; or gone meanwhile
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            if os.path.samestat(descriptor.stat(), file):
                return True
    return False


def reload(pid_file: Path, say: Say) -> None:
    """Have the service read its configuration again, and wait for what came of it.

    Raises ConfigurationError if the new configuration is wrong (the old one stays in force) and
    ControlError if no service is running, it is kivitendo's own, or it does not answer.
    """
    found = _settled(pid_file)
    if found.state is State.FOREIGN:
        raise ControlError(
            f"kivitendo's own task server (pid {found.pid}) cannot reload, it would end",
            where=str(pid_file),
            remedy="use restart",
        )
    if found.pid is None or not found.alive:
        # the original starts one instead (weakness 3); LSB: 7, the program is not running
        say(f"No {NAME} running")
        raise ControlError("there is nothing to reload", remedy="use start")
    before = report.read(pid_file, found.pid)
    if not _send(found.pid, signal.SIGHUP):
        raise ControlError(f"process {found.pid} has just ended", remedy="look into its log")
    say("Requested reconfiguration")
    if before is None:
        return  # it cannot tell us, for instance because its folder is not writable
    deadline = time.monotonic() + RELOAD_TIMEOUT
    while time.monotonic() < deadline:
        now = report.read(pid_file, found.pid)
        if now is not None and now.reloads > before.reloads:
            if now.reload_error:
                raise ConfigurationError(
                    f"{now.reload_error}; the old configuration stays in force"
                )
            return
        if now is None and not pidfile.inspect(pid_file).alive:
            raise ControlError("the service ended", remedy="look into its log")
        time.sleep(_POLL)
    raise ControlError(
        f"the service has not answered in {RELOAD_TIMEOUT:.0f} seconds",
        remedy="look into its log",
    )


def _settled(pid_file: Path) -> Found:
    """The state, after a start that is just happening had the time to write its PID."""
    deadline = time.monotonic() + pidfile.SETTLE
    while True:
        found = pidfile.inspect(pid_file)
        if found.state not in (State.EMPTY, State.ORPHANED):
            return found
        if time.monotonic() > deadline:
            raise pidfile.refusal(pid_file, found)
        time.sleep(_POLL)


def _ended(pid_file: Path, pid: int, seconds: float) -> bool:
    """Wait until that process holds the lock no more, and is gone."""
    deadline = time.monotonic() + seconds
    while True:
        found = pidfile.inspect(pid_file)
        if not found.alive or found.pid != pid:
            _await_exit(pid)
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)


def _await_exit(pid: int) -> None:
    """Wait for the process itself; from then on its number may be anybody's."""
    deadline = time.monotonic() + EXIT_TIME
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(_POLL)


def _lives(pid: int) -> bool:
    """Whether the process exists; one that its parent has only to take note of does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _send(pid: int, number: signal.Signals) -> bool:
    """Signal the process; False if there is none any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        owner = _owner(pid)
        raise PrivilegeError(
            f"process {pid} belongs to the user {owner}",
            remedy="call this as " + " or as ".join(dict.fromkeys(("root", owner))),
        ) from error
    return True


def _owner(pid: int) -> str:
    try:
        uid = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return "of the task server"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
