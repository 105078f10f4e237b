"""What ``restart`` finds out before it ends the running service: whether ``start`` would refuse.

The configuration's own errors are known by then. The rest shows only with the rights, groups and
environment of the service's user, whom a process cannot leave again: so a child asks. What would
only be waited for, as a database that is away, is no reason to refuse.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from kivitendo_task_server.config.settings import Loaded
from kivitendo_task_server.daemon import logs, piddirectory, pidfile, start
from kivitendo_task_server.daemon.process import StartRefused
from kivitendo_task_server.errors import DatabaseError, TaskServerError, not_loadable


def prove(request: start.StartRequest, loaded: Loaded, pid_file: Path) -> None:
    """Raise TaskServerError for what would keep the new service from starting.

    Does nothing where no service runs that it could cost: ``start`` tells the same by itself.
    """
    if not pidfile.inspect(pid_file).alive:
        return
    start.refuse_beside_others(pid_file, own=False)
    sys.stdout.flush()  # or the child has the text once more
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(request, loaded, pid_file, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    refusal = json.loads(answer) if answer else None
    if refusal:
        raise StartRefused(refusal["error"], refusal["exit_code"])


def _answer(request: start.StartRequest, loaded: Loaded, pid_file: Path, writing: int) -> None:
    """The child's life: try, write the refusal if there is one, end without a trace."""
    refusal: TaskServerError | None = None
    try:
        _try(request, loaded, pid_file)
    except TaskServerError as error:
        refusal = error
    except ImportError as error:
        refusal = not_loadable(error)
    finally:
        # whatever else went wrong is a fault of this look: the start itself decides
        if refusal is not None:
            text = json.dumps({"error": str(refusal), "exit_code": refusal.exit_code})
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(text.encode())
        os._exit(0)


def _try(request: start.StartRequest, loaded: Loaded, pid_file: Path) -> None:
    """What the service does before it is ready, as far as it leaves no traces."""
    directory = request.location.kivitendo_dir
    start.become_service_user(request, loaded)
    start.enter(directory, loaded)
    piddirectory.check_writable(pid_file)
    if not request.foreground:
        logs.daemon_target(loaded.settings, directory)
    # with the service's rights, and only here: the new service is forked from our parent
    import asyncio

    from kivitendo_task_server.clock import SystemClock
    from kivitendo_task_server.daemon.check import read_tenants
    from kivitendo_task_server.database.upgrades import UpgradeScripts
    from kivitendo_task_server.scheduling import supervisor  # noqa: F401

    SystemClock()
    with contextlib.suppress(DatabaseError):  # away, or yet to be upgraded: waited for
        asyncio.run(read_tenants(loaded.settings, UpgradeScripts(directory)))
