"""Types of the database fixtures in conftest.py.

Not in conftest.py itself: the folders below have files of that name, too, and which of them
``from conftest import`` finds depends on the order of the tests.
"""

from __future__ import annotations

from collections.abc import Callable

from kivitendo_task_server.config.settings import DatabaseAccess

NewDatabase = Callable[..., DatabaseAccess]
