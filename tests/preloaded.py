"""The real command as another user, or from a place that other users cannot read.

``python tests/preloaded.py [USER] WORDS…``: loads all of the program while root (a checkout or
a Python in root's home is closed to others), becomes USER ("-" for nobody else), runs the command.
"""

from __future__ import annotations

import os
import pkgutil
import pwd
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))


def load_everything() -> None:
    import kivitendo_task_server

    for module in pkgutil.walk_packages(
        kivitendo_task_server.__path__, "kivitendo_task_server.", onerror=lambda name: None
    ):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    # what the standard library would load only when first needed
    for name in ("encodings.idna", "encodings.ascii", "asyncio.unix_events", "_strptime"):
        import_module(name)


if __name__ == "__main__":
    user, *words = sys.argv[1:]
    load_everything()
    if user != "-":
        account = pwd.getpwnam(user)
        os.setgroups([])
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    from kivitendo_task_server.cli.main import main

    sys.exit(main(words))
