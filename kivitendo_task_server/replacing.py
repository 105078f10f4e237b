"""Small files that are rewritten as a whole: readers see the old or the new one, never a half."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ERRORS = "surrogateescape"
"""How such a file is written and is to be read: as Python holds a path in another encoding."""


def replace_file(file: Path, content: str) -> None:
    """Put a new file (mode 0640) in the place of the old one in one step, following no links.

    Paths in it may have any bytes, as :data:`ERRORS` says. Raises OSError.
    """
    draft = file.with_name(f"{file.name}.new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # tenants' names and what is wrong with their databases are not everybody's business
    opened = os.fdopen(os.open(draft, flags, 0o640), "w", encoding="utf-8", errors=ERRORS)
    try:
        with opened:
            opened.write(content + "\n")
        draft.replace(file)
    except OSError:  # the disk is full
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
