"""Modules that use Python's ``ssl`` where it exists, imported without it.

The idle service needs none of it: TLS to PostgreSQL is libpq's own, and asyncio serves pipes and
sockets of this machine only. ``ssl`` and the second libcrypto that comes along are some 3 MB. Who
does speak TLS (mail, exchange rates) imports ``ssl`` then, as usual.
"""

from __future__ import annotations

import importlib
import sys


def import_without_ssl(name: str) -> None:
    """Import ``asyncio`` or ``psycopg2`` as in a Python without ``ssl``, which both provide for.

    Where it is loaded already, nothing is done; where ``ssl`` is, that is used. Not for modules
    that import others of ours.
    """
    if name in sys.modules:
        return
    if "ssl" in sys.modules:
        importlib.import_module(name)
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]  # "import ssl" is an ImportError now
    try:
        importlib.import_module(name)
    finally:
        del sys.modules["ssl"]
