"""The PID file, which is the lock file as well (task-server.md, c.4 and c.9).

``users/pid/config.kivitendo.conf.pid`` holds the decimal PID and LF; the service holds an flock on
it for its lifetime. "Running" means that the lock is held, never the PID alone: a PID may have
been given to another program meanwhile. kivitendo's web interface reads the number and signals it.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.errors import ControlError, PrivilegeError

PROCESS_NAME = "kivitendo-tasks"
"""What the kernel calls our process (``ps -o comm``, 15 bytes at most): tells it from a Perl task
server holding the same lock. The command line could not, where ours is called by kivitendo's path
``scripts/task_server.pl``."""

_PR_SET_NAME = 15

SETTLE = 1.0  # seconds in which a lock without a living PID must have become one with it


class State(enum.Enum):
    """What a PID file says."""

    NONE = "no PID file"
    STALE = "not locked: whoever wrote it is gone, whatever its PID belongs to now"
    RUNNING = "locked by a task server of ours"
    FOREIGN = "locked by another program, that is kivitendo's own task server"
    EMPTY = "locked but without a PID: being started at this moment"
    ORPHANED = "locked, but its process does not exist (here)"


@dataclass(frozen=True)
class Found:
    """A state, the PID in the file if there is one, and the program's name if it is FOREIGN."""

    state: State
    pid: int | None = None
    program: str = ""

    @property
    def alive(self) -> bool:
        """Whether a task server, ours or not, is running."""
        return self.state in (State.RUNNING, State.FOREIGN)


class AlreadyRunning(ControlError):  # noqa: N818 - the command line's words
    """Another task server of ours holds the lock."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        super().__init__(f"already running (pid {pid})")


def inspect(path: Path) -> Found:
    """What state a PID file is in; changes nothing, needs nobody's rights but to read the file.

    Raises PrivilegeError if it cannot be read.
    """
    try:
        descriptor = _open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return Found(State.NONE)
    try:
        # shared: two commands that look at the same time do not see each other's lock
        if _lock(descriptor, fcntl.LOCK_SH):
            return Found(State.STALE, _read(descriptor))
        return _holder(_read(descriptor))
    finally:
        os.close(descriptor)


def remove_stale(path: Path) -> bool:
    """Remove a PID file that nobody holds; one that somebody holds stays. Whether none is left.

    Raises PrivilegeError if the directory may not be changed, ControlError if it cannot.
    """
    try:
        descriptor = _open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return True
    try:
        if not _lock(descriptor, fcntl.LOCK_EX) or not _is_still(descriptor, path):
            return False
        path.unlink()
        return True
    except PermissionError as error:
        raise denied(path, "removed", error) from error
    except OSError as error:
        raise ControlError(
            f"the PID file cannot be removed: {error.strerror}",
            where=str(path),
            remedy="is the file system read-only?",
        ) from error
    finally:
        os.close(descriptor)


class PidFile:
    """Our own PID file while we run: ``with closing(PidFile.acquire(path)): …``."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._owner = os.getpid()
        # a lock lives as long as any process has the file open: no child may hold ours after us
        os.register_at_fork(after_in_child=self.close)

    @classmethod
    def acquire(cls, path: Path) -> PidFile:
        """Take the lock and write our PID.

        Raises AlreadyRunning, PrivilegeError, or ControlError when another program or a process
        that cannot be seen holds the lock.
        """
        deadline = time.monotonic() + SETTLE
        while True:
            descriptor = _open_own(path)
            try:
                if _lock(descriptor, fcntl.LOCK_EX):
                    if _is_still(descriptor, path):
                        _write(descriptor)
                        own, descriptor = cls(path, descriptor), -1
                        return own
                else:
                    found = _holder(_read(descriptor))
                    if found.state is State.RUNNING or time.monotonic() > deadline:
                        raise refusal(path, found)
                    # a start that has not written its PID yet, or a command that just looks, and
                    # then the PID in the file may be anybody's
                    time.sleep(0.02)
            except OSError as error:
                raise ControlError(
                    f"the PID file cannot be locked and written: {error.strerror}", where=str(path)
                ) from error
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def close(self) -> None:
        """Remove the file and free the lock; in a forked child only let go of it."""
        if self._descriptor < 0:
            return
        if os.getpid() == self._owner and _is_still(self._descriptor, self.path):
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1


def take_process_name() -> None:
    """Let the kernel call this process by :data:`PROCESS_NAME`."""
    try:
        Path("/proc/self/comm").write_text(PROCESS_NAME)
    except OSError:
        # it belongs to root in a process that has dropped privileges
        import ctypes  # slow to load, and status has no use for it

        ctypes.CDLL(None).prctl(_PR_SET_NAME, PROCESS_NAME.encode(), 0, 0, 0)


def refusal(path: Path, found: Found) -> ControlError:
    """Why the lock cannot be had, by the state that was found."""
    match found.state:
        case State.RUNNING if found.pid is not None:
            return AlreadyRunning(found.pid)
        case State.FOREIGN:
            return foreign_refusal(path, found)
        case State.ORPHANED:
            return ControlError(
                f"the PID file is locked, but process {found.pid} does not exist here",
                where=str(path),
                remedy="a left-over child of it, or a process in another container, holds the"
                f" lock: find it with 'fuser {path}'",
            )
        case _:
            return ControlError(
                f"Pid file {path} is invalid but locked, exiting",
                remedy=f"if no other start is under way, find who holds it with 'fuser {path}'",
            )


def foreign_refusal(path: Path, found: Found) -> ControlError:
    """Why we do not start beside another task server of the same installation."""
    return ControlError(
        f"kivitendo's own task server is running (pid {found.pid}, {found.program});"
        " both together would run jobs twice",
        where=str(path),
        remedy="stop it first, for instance with 'kivitendo-task-server stop', and take it out"
        " of the boot process",
    )


def _holder(pid: int | None) -> Found:
    """Who holds a lock, given the PID in the file."""
    if pid is None:
        return Found(State.EMPTY)
    if not _exists(pid):
        return Found(State.ORPHANED, pid)
    try:
        program = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        program = PROCESS_NAME  # hidden from us (hidepid): nothing speaks for a stranger
    if program == PROCESS_NAME:
        return Found(State.RUNNING, pid)
    return Found(State.FOREIGN, pid, program)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's: running all the same (weakness 7)
    return True


def _open(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except PermissionError as error:
        raise denied(path, "opened", error) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ControlError("is a symbolic link", where=str(path), remedy="remove it") from error
        if error.errno == errno.ENAMETOOLONG:
            raise ControlError(
                "the PID file is named after the configuration file, whose path is too long",
                where=str(path),
                remedy="name another with -c, for instance a link in kivitendo's config folder",
            ) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ControlError("is not a file", where=str(path), remedy="remove it")
    return descriptor


def _open_own(path: Path) -> int:
    """Open for writing; a stale file that belongs to another is replaced if the folder is ours."""
    try:
        return _open(path, os.O_RDWR | os.O_CREAT)
    except PrivilegeError:
        if not os.access(path, os.R_OK) or not os.access(path.parent, os.W_OK):
            raise
        found = inspect(path)
        if found.state not in (State.STALE, State.NONE):
            raise refusal(path, found) from None
        remove_stale(path)
        return _open(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise ControlError(
            f"the PID file cannot be created: {error.strerror}", where=str(path)
        ) from error


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one at ``path``: it may have been removed and made anew."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except OSError:
        return False


def _read(descriptor: int) -> int | None:
    """The PID in the file; None for anything that is no process id."""
    text = os.pread(descriptor, 64, 0).strip()
    return int(text) if text.isdigit() and 0 < int(text) < 2**31 else None


def _write(descriptor: int) -> None:
    content = b"%d\n" % os.getpid()
    os.pwrite(descriptor, content, 0)  # before truncating: never empty for a reader
    os.ftruncate(descriptor, len(content))
    with contextlib.suppress(PermissionError):  # of root's, in a mode we may write
        os.fchmod(descriptor, 0o644)  # for status by other users, whatever our umask


def denied(path: Path, what: str, error: OSError) -> PrivilegeError:
    """The error for a PID file or its directory that we may not open, create or remove."""
    return PrivilegeError(
        f"cannot be {what}: {error.strerror}",
        where=str(path),
        remedy="run this as root or as the user of the task server; check the folder's owner",
    )
