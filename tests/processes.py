"""What tests ask about processes that are not theirs to wait for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def users_of(folder: Path) -> list[psutil.Process]:
    """The processes that work below a folder or name it on their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and str(folder) in " ".join(
                [process.cwd(), *process.cmdline()]
            ):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for what other processes do, for at most a minute."""
    for _ in range(1200):
        if condition():
            return True
        time.sleep(0.05)
    return False
