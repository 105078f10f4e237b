"""A directory that looks like a kivitendo installation, and the real command run on it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from memory import scratch

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import connect
from kivitendo_task_server.demo.kivitendo_folder import DEFAULTS

CHECKOUT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-m", "kivitendo_task_server")


@dataclass
class KivitendoDir:
    """One installation; ``local`` are the sections of its config/kivitendo.conf."""

    path: Path
    auth: DatabaseAccess
    local: dict[str, dict[str, str]] = field(default_factory=dict)
    command: tuple[str, ...] = COMMAND
    """How the command is called; a test may put ``setpriv …`` or a link in its place."""

    @property
    def pid_file(self) -> Path:
        """The PID file of the service without ``-c``."""
        return self.path / "users/pid/config.kivitendo.conf.pid"

    @property
    def pid(self) -> int:
        """The PID in it, as kivitendo's web interface reads it."""
        return int(self.pid_file.read_text())

    @property
    def log(self) -> str:
        """All that was logged so far."""
        file = self.path / "users/kivitendo-debug.log"
        return file.read_text() if file.exists() else ""

    def configure(self, section: str, file: str = "config/kivitendo.conf", **values: str) -> None:
        """Set keys of one section and write the local configuration file."""
        self.local.setdefault(section, {}).update(values)
        self.write(file)

    def write(self, file: str = "config/kivitendo.conf") -> None:
        """Write the local configuration file in one step, as an editor does."""
        text = "".join(
            f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
            for section, values in self.local.items()
        )
        draft = self.path / f"{file}.draft"
        draft.write_text(text)
        draft.rename(self.path / file)

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; KIVITENDO_DIR says where kivitendo is unless ``environ``."""
        return subprocess.run(
            [*self.command, *words],
            cwd=cwd or CHECKOUT,
            env=self.environment() if environ is None else {**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def popen(self, *words: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the command and leave it running."""
        return subprocess.Popen(
            [*self.command, *words],
            cwd=CHECKOUT,
            env=self.environment() | dict(environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def environment(self) -> dict[str, str]:
        """The caller's, with the kivitendo directory and the checkout's code."""
        path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "KIVITENDO_DIR": str(self.path), "PYTHONPATH": path}

    def add_tenant(
        self, name: str, access: DatabaseAccess, login: str = "taskserver", **settings: str
    ) -> int:
        """Enter a tenant (client) with its task server user; returns its id."""
        connection = connect(self.auth, purpose="test set-up")
        with connection, connection.cursor() as cursor:
            cursor.execute('SELECT id FROM auth."user" WHERE login = %s', (login,))
            row = cursor.fetchone()
            if row is None:
                cursor.execute('INSERT INTO auth."user" (login) VALUES (%s) RETURNING id', (login,))
                row = cursor.fetchone()
            assert row is not None
            user = row[0]
            for key, value in settings.items():
                cursor.execute(
                    "INSERT INTO auth.user_config VALUES (%s, %s, %s)", (user, key, value)
                )
            cursor.execute(
                "INSERT INTO auth.clients"
                " (name, dbhost, dbport, dbname, dbuser, dbpasswd, task_server_user_id)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
                (name, access.host, access.port, access.name, access.user, access.password, user),
            )
            row = cursor.fetchone()
            assert row is not None
            cursor.execute("INSERT INTO auth.clients_users VALUES (%s, %s)", (row[0], user))
        connection.close()
        return int(row[0])


@contextmanager
def kivitendo_installation(auth: DatabaseAccess) -> Iterator[KivitendoDir]:
    """Make an installation for the authentication database; ends what still runs on it after."""
    # not pytest's tmp_path: its parents are closed to other users, whom some tests run as
    folder = Path(tempfile.mkdtemp(prefix="kivitendo-test-", dir=scratch()))
    folder.chmod(0o755)
    try:
        for part in ("config", "users", "scripts", "SL/System", "templates"):
            (folder / part).mkdir(parents=True)
        (folder / "SL/System/TaskServer.pm").write_text("# what an installation is known by\n")
        (folder / "config/kivitendo.conf.default").write_text(DEFAULTS)
        installation = KivitendoDir(folder, auth)
        installation.configure(
            "authentication/database",
            host=auth.host,
            port=str(auth.port),
            db=auth.name,
            user=auth.user,
            password=auth.password,
        )
        yield installation
    finally:
        for file in (folder / "users").glob("pid/*.pid"):
            _end(file)
        shutil.rmtree(folder, ignore_errors=True)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that must come; the limit only turns a hang into a failure."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = re.search(r"^State:\s+(\w)", Path(f"/proc/{pid}/status").read_text(), re.M)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state is not None and state[1] not in "ZX"


def nobody() -> pwd.struct_passwd:
    """A user without any rights of its own."""
    return pwd.getpwnam("nobody")


def _end(pid_file: Path) -> None:
    """Kill the process of a PID file if it is one of our own, started on that folder."""
    try:
        pid = int(pid_file.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if name == "kivitendo-tasks":
            os.kill(pid, signal.SIGKILL)
    except (OSError, ValueError):
        pass
