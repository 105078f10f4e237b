"""Where tests put what need not outlive them: in memory, if the machine has a place for it.

Copying a database costs ten times as much on a disk's file system as in memory, and the tests
copy hundreds.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
SESSION = "kivitendo-tests-"
NEEDED = 3 * 2**30  # bytes; two clusters with their logs take less than one third of it


def scratch() -> Path:
    """The folder for scratch data: in memory where there is room, else the system's own."""
    usual = Path(tempfile.gettempdir())
    if "TMPDIR" in os.environ or not os.access(SHARED_MEMORY, os.W_OK):
        return usual
    room = os.statvfs(SHARED_MEMORY)
    if room.f_flag & os.ST_NOEXEC:  # as in containers: PostgreSQL's programs may be copied there
        return usual
    free = min(room.f_bavail * room.f_frsize, _available_memory())
    return SHARED_MEMORY if free >= NEEDED else usual


@contextmanager
def session_folder() -> Iterator[Path]:
    """A scratch folder of this process; those that killed test sessions left are removed.

    In memory they would stay for good. Each is named after its process, so that no one takes a
    session that is just starting, like the other xdist worker, for a dead one.
    """
    for folder in scratch().glob(f"{SESSION}*"):
        owner = folder.name.removeprefix(SESSION).split("-")[0]
        if not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)  # another user's stays
    folder = Path(tempfile.mkdtemp(prefix=f"{SESSION}{os.getpid()}-", dir=scratch()))
    folder.chmod(0o711)  # PostgreSQL runs as another user if we are root
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, amount, *_ = line.split()
        if name == "MemAvailable:":
            return int(amount) * 1024
    return 0
