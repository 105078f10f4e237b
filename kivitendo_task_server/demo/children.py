"""Processes that the demo starts and that must not outlive it."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent(
    signal_number: signal.Signals, account: pwd.struct_passwd | None = None
) -> Callable[[], None]:
    """For Popen's ``preexec_fn``: the kernel sends the signal when our process ends in any way.

    With an ``account`` the child first becomes that user, without supplementary groups.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)

    def child() -> None:
        if account is not None:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        # after setuid, which would clear it
        libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # it ended before we could ask
            os._exit(1)

    return child
