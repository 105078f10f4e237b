"""Where PID files lie and what they are called (task-server.md, c.4)."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from kivitendo_task_server.config.location import LOCAL_FILES
from kivitendo_task_server.daemon.pidfile import Found, State, denied, inspect
from kivitendo_task_server.errors import ControlError, PrivilegeError

DIRECTORY = Path("users/pid")


def path_for(kivitendo_dir: Path, config_file: Path) -> Path:
    """The PID file for one configuration file, the same however its path is spelled.

    The original takes the spelling (weakness 10). Here a file that is one of ``config/*``, also
    through links, is named after that entry, one of the three usual names first, which are all
    that the web interface knows; another after its real path, relative to the kivitendo directory
    if it lies there.
    """
    root = kivitendo_dir.resolve()
    real = _real(root / config_file)
    entries = [Path(name) for name in LOCAL_FILES]
    with contextlib.suppress(OSError):
        entries += sorted(entry.relative_to(root) for entry in (root / "config").iterdir())
    for entry in entries:
        if _real(root / entry) == real:
            return _named(root, entry)
    return _named(root, real.relative_to(root) if real.is_relative_to(root) else real)


def _real(path: Path) -> Path:
    # not Path.resolve(): links in a circle, perhaps of somebody else in config, would raise
    return Path(os.path.realpath(path))


def _named(root: Path, config_file: Path) -> Path:
    return root / DIRECTORY / (str(config_file).replace("/", ".") + ".pid")


def other_servers(own: Path) -> dict[Path, Found]:
    """Perl task servers of the same installation under other PID files (other spellings, -c)."""
    found = {}
    for path in sorted(own.parent.glob("*.pid")) if own.parent.is_dir() else []:
        with contextlib.suppress(PrivilegeError, ControlError):
            state = inspect(path)
            if path != own and state.state is State.FOREIGN:
                found[path] = state
    return found


def ensure_directory(kivitendo_dir: Path, owner: tuple[int, int] | None) -> Path:
    """Create users/pid if it is missing; as root for the user the service will be.

    ``owner`` are the uid and gid of ``run_as``; without it root gives the directory to the owner
    of ``users``, so that kivitendo itself may start the service later. The original leaves it to
    root, so that its first start fails (weakness 13).
    Raises PrivilegeError or ControlError.
    """
    directory = kivitendo_dir / DIRECTORY
    try:
        parent = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ControlError(
            f"the folder for the PID file cannot be made: {error.strerror}",
            where=str(directory.parent),
            remedy="is this a complete kivitendo installation?",
        ) from error
    try:
        if not directory.is_dir():
            above = os.fstat(parent)
            _make(parent, directory.name, owner or (above.st_uid, above.st_gid))
    except PermissionError as error:
        raise denied(directory, "created", error) from error
    except OSError as error:
        raise ControlError(
            f"the folder for the PID file cannot be made: {error.strerror}",
            where=str(directory),
            remedy="remove what is in its place, and see that the file system is neither full nor"
            " read-only",
        ) from error
    finally:
        os.close(parent)
    return directory


def check_writable(pid_file: Path) -> None:
    """Raise PrivilegeError if we may not make this PID file, once it is gone."""
    if not os.access(pid_file.parent, os.W_OK | os.X_OK):
        error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        raise denied(pid_file, "created", error)


def _make(parent: int, name: str, owner: tuple[int, int]) -> None:
    """Make a directory that everybody may look into, as root for its owner.

    It appears under its name when it is complete: another start must not meet it half made.
    """
    draft = f".{name}-{os.getpid()}"
    os.mkdir(draft, 0o755, dir_fd=parent)
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, dir_fd=parent)
        try:
            # what has content was put in its place by the owner of the folder
            if os.listdir(descriptor):  # noqa: PTH208 - of the open directory, by descriptor
                raise FileExistsError(errno.EEXIST, "another directory was put in its place")
            os.fchmod(descriptor, 0o755)  # whatever our umask: status is for every user
            if os.geteuid() == 0:
                os.fchown(descriptor, *owner)
        finally:
            os.close(descriptor)
        os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.rmdir(draft, dir_fd=parent)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another start was faster
            raise
