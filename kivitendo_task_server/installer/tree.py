"""Reading and writing files below a root directory, safe also as root among other users' files.

Every path is walked with descriptors, one name at a time, without following links. A symbolic link
to a directory is followed only where nobody but root (or we ourselves) could have put it, and never
out of the root; a link in the place of a file is refused. Files appear whole, or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kivitendo_task_server.errors import TaskServerError

_MOST_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileError(TaskServerError):
    """A file or directory is not as it must be; ``where`` is its path."""


class InTheWayError(FileError):
    """Somebody else's file stands where one of ours must be; for packages no reason to fail."""

    exit_code = 6  # it is not configured, as for LSB init scripts


@dataclass(frozen=True)
class Tree:
    """The files below ``root``; all paths are absolute, as seen from inside it."""

    root: Path
    trusted: frozenset[int] = field(default_factory=lambda: frozenset({0, os.geteuid()}))
    """User ids whose symbolic links to directories are followed."""
    only_look: bool = False
    """Nothing will be written, so nobody is told that he may not."""

    def shown(self, path: str) -> str:
        """The path as a user outside of the root needs it."""
        return str(self.root / path.lstrip("/"))

    def read(self, path: str) -> bytes | None:
        """The content of a regular file; None if there is nothing. Raises FileError."""
        try:
            with self._parent(path) as (directory, name):
                descriptor = os.open(
                    name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                    dir_fd=directory,
                )  # fmt: skip
                with os.fdopen(descriptor, "rb") as opened:
                    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                        raise FileError("not a regular file", where=self.shown(path))
                    return opened.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(path, error) from error

    def is_missing(self, path: str) -> bool:
        """Whether nothing lies there, not even a dangling link."""
        try:
            with self._parent(path) as (directory, name):
                os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise self._error(path, error) from error
        return False

    def check_writable(self, path: str) -> None:
        """Raise FileError if a file could not be written there, for lack of rights or space."""
        try:
            with self._nearest(path) as directory:
                # not by /proc/self/fd: in an image that a package manager fills there is no /proc
                read_only = os.fstatvfs(directory).f_flag & os.ST_RDONLY
                if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory) and (
                    read_only or not self.only_look
                ):
                    raise OSError(errno.EROFS if read_only else errno.EACCES, "")
        except OSError as error:
            raise self._error(path, error) from error

    def write(
        self, path: str, content: bytes, *, mode: int = 0o644, owner: tuple[int, int] | None = None
    ) -> list[str]:
        """Write a file atomically; returns the directories that had to be made. Raises FileError.

        ``owner`` is user and group id, by default those of this process.
        """
        made: list[str] = []
        try:
            with self._parent(path, made) as (directory, name):
                temporary = f".{name}.{secrets.token_hex(4)}"
                descriptor = os.open(
                    temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o600, dir_fd=directory,
                )  # fmt: skip
                try:
                    with os.fdopen(descriptor, "wb") as opened:
                        opened.write(content)
                        if owner is not None:
                            os.fchown(descriptor, *owner)
                        os.fchmod(descriptor, mode)
                        opened.flush()
                        os.fsync(descriptor)
                    self._refuse_link(directory, name)
                    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
                except BaseException:
                    os.unlink(temporary, dir_fd=directory)
                    raise
                os.fsync(directory)
        except OSError as error:
            self.remove_directories(made)
            raise self._error(path, error) from error
        return made

    def rename(self, path: str, new_path: str) -> None:
        """Give a file another name in the same directory, replacing what has it. Raises FileError.

        The file may be a symbolic link: it is moved, not followed.
        """
        new_name = PurePosixPath(new_path).name
        if PurePosixPath(path).parent != PurePosixPath(new_path).parent:
            raise ValueError("only within one directory")
        try:
            with self._parent(path) as (directory, name):
                os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            raise self._error(path, error) from error

    def remove(self, path: str) -> bool:
        """Remove a file or a link; whether there was one. Raises FileError."""
        try:
            with self._parent(path) as (directory, name):
                os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._error(path, error) from error
        return True

    def remove_directories(self, paths: list[str]) -> list[str]:
        """Remove those directories that are empty, inner ones first; returns the removed ones."""
        removed = []
        for path in sorted(paths, key=lambda each: each.count("/"), reverse=True):
            with contextlib.suppress(OSError), self._parent(path) as (directory, name):
                os.rmdir(name, dir_fd=directory)
                removed.append(path)
        return removed

    def status(self, path: str) -> os.stat_result | None:
        """Owner and mode of what lies there, links not followed; None if there is nothing."""
        try:
            with self._parent(path) as (directory, name):
                return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(path, error) from error

    @contextlib.contextmanager
    def _parent(self, path: str, made: list[str] | None = None) -> Iterator[tuple[int, str]]:
        """A descriptor of the directory of a path, and the name in it.

        Missing directories are made if ``made`` is given, which then lists them.
        """
        pure = PurePosixPath(path)
        descriptor = self._open_directory(str(pure.parent), made)
        try:
            yield descriptor, pure.name
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _nearest(self, path: str) -> Iterator[int]:
        """A descriptor of the nearest directory above a path that exists."""
        pure = PurePosixPath(path).parent
        while True:
            try:
                descriptor = self._open_directory(str(pure), None)
                break
            except FileNotFoundError:
                pure = pure.parent
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_directory(self, path: str, made: list[str] | None) -> int:
        steps = deque(PurePosixPath(path).parts[1:])
        walked: list[str] = []
        opened = [os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        links = 0
        try:
            while steps:
                name = steps.popleft()
                if name == "..":
                    if len(opened) > 1:
                        os.close(opened.pop())
                        walked.pop()
                    continue
                target = self._link_target(opened[-1], name)
                if target is not None:
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, "")
                    parts = PurePosixPath(target).parts
                    if parts[0] == "/":
                        while len(opened) > 1:
                            os.close(opened.pop())
                        walked.clear()
                        parts = parts[1:]
                    steps.extendleft(reversed(parts))
                    continue
                walked.append(name)
                fresh = made is not None and self._make_directory(opened[-1], name)
                opened.append(os.open(name, _DIRECTORY, dir_fd=opened[-1]))
                if fresh and made is not None:
                    os.fchmod(opened[-1], 0o755)  # whatever the umask
                    made.append("/" + "/".join(walked))
            return opened.pop()
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _make_directory(self, directory: int, name: str) -> bool:
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            return False
        return True

    def _link_target(self, directory: int, name: str) -> str | None:
        """Where a link in a directory leads; None if it is no link. Refuses a stranger's link."""
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISLNK(found.st_mode):
            return None
        place = os.fstat(directory)
        strangers = place.st_mode & 0o022 and not place.st_mode & stat.S_ISVTX
        if found.st_uid not in self.trusted or place.st_uid not in self.trusted or strangers:
            raise FileError(
                f"the symbolic link {name} on this path may have been put there by somebody else",
                where=_place_of(directory) or name,
                remedy="replace it by a directory, or let root own it and the directory it is in",
            )
        return os.readlink(name, dir_fd=directory)

    def _refuse_link(self, directory: int, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                raise OSError(errno.ELOOP, "")

    def _error(self, path: str, error: OSError) -> FileError:
        what, remedy = {
            errno.ELOOP: ("a symbolic link is in the way", "look where it leads, and remove it"),
            errno.EROFS: ("the file system is read-only", "mount it writable, or use --root"),
            errno.EACCES: ("no permission", "run this command as root"),
            errno.ENOTDIR: ("a file is in the place of a directory", None),
            errno.EISDIR: ("a directory is in the way", None),
        }.get(error.errno or 0, ((error.strerror or str(error)).lower(), None))
        return FileError(what, where=self.shown(path), remedy=remedy)


def _place_of(directory: int) -> str:
    """The path of an open directory; empty where there is no /proc to ask."""
    try:
        return str(Path(f"/proc/self/fd/{directory}").readlink())
    except OSError:
        return ""
