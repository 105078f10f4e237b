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


PACKAGES = ("cli", "config", "daemon", "database", "scheduling")


def load_everything() -> None:
    for package in PACKAGES:
        parent = import_module(f"kivitendo_task_server.{package}")
        for module in pkgutil.iter_modules(parent.__path__, f"{parent.__name__}."):
            import_module(module.name)
    # what is otherwise loaded only when first needed
    own = ("kivitendo_task_server.jobs.registry", "kivitendo_task_server.log_file")
    for name in (*own, "daemon", "encodings.ascii", "encodings.idna"):
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
