"""The one exception base, and the exit codes of the command line.

Every message says what is wrong, where, and what to do. The exit codes follow the LSB's for
init scripts, because init scripts hand ours on:

==== ==================================================================================
0    done (``status``: running)
1    failed, for a reason the message gives (``status``: dead, PID file left)
2    wrong usage
3    ``status``: not running
4    not enough privileges
5    not installed: no kivitendo directory
6    not configured: the configuration is missing or wrong
7    the service did not come up, could not be stopped, or (``reload``) is not running
130  interrupted by the keyboard
==== ==================================================================================
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


class TaskServerError(Exception):
    """Something the user can understand and act on; never shown with a traceback.

    ``what`` is the fact, ``where`` the place (``file:line``, section and key, tenant, job),
    ``remedy`` what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.remedy})" if self.remedy else text


class UsageError(TaskServerError):
    """The command line is wrong."""

    exit_code = 2


class PrivilegeError(TaskServerError):
    """The calling user may not do this."""

    exit_code = 4


class NotInstalledError(TaskServerError):
    """There is no kivitendo directory to work for."""

    exit_code = 5


class ConfigurationError(TaskServerError):
    """The configuration is missing, unreadable or wrong; all that is wrong at once.

    ``problems`` are the single errors if there are several, else the error itself; ``warnings``
    are what is doubtful besides, a line each.
    """

    exit_code = 6

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.problems: tuple[ConfigurationError, ...] = (self,)
        self.warnings: tuple[str, ...] = ()

    @classmethod
    def all_of(cls, errors: Sequence[ConfigurationError]) -> ConfigurationError:
        """One error that carries them all (at least one), each on a line of its own."""
        problems = tuple(problem for error in errors for problem in error.problems)
        if len(problems) == 1:
            return problems[0]
        lines = "".join(f"\n  {problem}" for problem in problems)
        combined = cls(f"{len(problems)} errors in the configuration:{lines}")
        combined.problems = problems
        return combined


class ControlError(TaskServerError):
    """The service did not start, or could not be stopped."""

    exit_code = 7


class DatabaseError(TaskServerError):
    """A database cannot be reached or is not what it should be."""


class AccessRefused(DatabaseError):  # noqa: N818 - says more than AccessRefusedError
    """A database refuses this user or password, or does not exist: waiting does not help."""


class JobFailed(TaskServerError):  # noqa: N818 - the field's word for it
    """A job ended as a failure; the text goes into its history row."""


def not_loadable(error: ImportError) -> TaskServerError:
    """The program, its Python or a library is incomplete, or closed to the user we are now."""
    return TaskServerError(
        f"a part of the program cannot be loaded: {error}",
        where=sys.prefix,
        remedy="install it completely, and where the user of the service (run_as) may read it: not"
        " in root's home",
    )
