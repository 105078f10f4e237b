"""A kivitendo with its databases inside a container, and our service installed on it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kivitendo_fixture import DEFAULTS

from system.container import Container

CHECKOUT = Path(__file__).parents[2]
DIRECTORY = "/var/www/kivitendo-erp"
PASSWORD = "kivitendo"
PATIENCE = 60.0  # seconds until something that must happen is given up

# What our service imports, from the distribution; a server for the databases.
PACKAGES = (
    "logrotate", "postgresql", "python3", "python3-croniter", "python3-daemon", "python3-jinja2",
    "python3-psycopg2", "python3-pyinotify", "python3-tzlocal", "python3-venv", "python3-yaml",
)  # fmt: skip


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, built in a copy: a build leaves its traces."""
    source = folder / "source"
    source.mkdir()
    for name in ("kivitendo_task_server", "templates"):
        shutil.copytree(CHECKOUT / name, source / name,
                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def until(happened: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    """Wait for something that will happen by itself; the test fails if it does not."""
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {timeout:.0f} s: {what}"
        time.sleep(0.3)


@dataclass
class Inside:
    """One kivitendo of a container."""

    machine: Container
    directory: str = DIRECTORY
    user: str = "www-data"
    databases: dict[str, str] = field(default_factory=dict)
    """Client -> name of its database."""

    def create(self, *clients: str) -> None:
        """Directory, databases, and clients with a task server user."""
        machine = self.machine
        for folder in ("config", "users/pid", "scripts", "SL/System", "templates", "spool"):
            machine.run("mkdir", "-p", f"{self.directory}/{folder}")
        machine.run("touch", f"{self.directory}/users/kivitendo-debug.log")
        for path in ("users", "users/pid", "users/kivitendo-debug.log", "spool"):
            machine.run("chown", self.user, f"{self.directory}/{path}")
        machine.write(f"{self.directory}/SL/System/TaskServer.pm", "1;\n")
        machine.write(f"{self.directory}/config/kivitendo.conf.default", DEFAULTS)
        machine.write(
            f"{self.directory}/config/kivitendo.conf",
            "# ours\n[authentication/database]\n# our database\nuser = kivitendo\n"
            f"password = {PASSWORD}\n[task_server]\n# nothing yet\n",
            mode=0o640, owner=f"root:{self.user}",
        )  # fmt: skip
        self.sql("postgres", f"CREATE ROLE kivitendo LOGIN PASSWORD '{PASSWORD}'")
        self._database("kivitendo_auth", "auth_schema.sql")
        login = "INSERT INTO auth.\"user\" (login) VALUES ('taskserver')"
        self.sql("kivitendo_auth", login)
        for client in clients:
            self.add_client(client)

    def add_client(self, client: str) -> None:
        """A client with a database of its own."""
        name = f"tenant{len(self.databases) + 1}"
        self._database(name, "tenant_schema.sql")
        self.sql(name, "INSERT INTO schema_info (tag) VALUES ('release_4_1_0')")
        self.sql(
            "kivitendo_auth",
            "INSERT INTO auth.clients (name, dbhost, dbport, dbname, dbuser, dbpasswd,"
            " task_server_user_id) SELECT :'client', 'localhost', 5432, :'name', 'kivitendo',"
            " :'password', id FROM auth.\"user\" WHERE login = 'taskserver'",
            client=client, name=name, password=PASSWORD,
        )  # fmt: skip
        self.databases[client] = name

    def sql(self, database: str, statement: str, **values: object) -> str:
        """Run SQL as PostgreSQL's superuser; the rows, unaligned. ``:'name'`` is a value."""
        settings = [f"--set={name}={value}" for name, value in values.items()]
        return self.machine.run(
            "psql", "-XqAt", "--set=ON_ERROR_STOP=1", *settings, "-d", database,
            user="postgres", input=statement, cwd="/",
        ).stdout.strip()  # fmt: skip

    def enter_job(self, client: str, data: str = "") -> int:
        """A job that is due now, once; its id."""
        return int(self.sql(
            self.databases[client],
            "INSERT INTO background_jobs (type, package_name, active, data)"
            " VALUES ('once', 'Test', true, :'data') RETURNING id",
            data=data,
        ))  # fmt: skip

    def has_run(self, client: str, job: int) -> bool:
        """Whether a job has been run, with success."""
        ran = self.sql(
            self.databases[client],
            "SELECT last_run_at IS NOT NULL AND EXISTS (SELECT FROM background_job_histories"
            " WHERE status = 'success') FROM background_jobs WHERE id = :'job'",
            job=job,
        )
        return ran == "t"

    def pid(self, instance: str = "kivitendo") -> int | None:
        """The PID in an instance's PID file, as kivitendo's web interface reads it."""
        path = f"{self.directory}/users/pid/config.{instance}.conf.pid"
        text = self.machine.run("cat", path, check=False).stdout.strip()
        return int(text) if text else None

    def wake(self, instance: str = "kivitendo") -> None:
        """What kivitendo's web interface does after entering a job."""
        self.machine.run("kill", "-ALRM", str(self.pid(instance)), user=self.user)

    def run_a_job(self, client: str, instance: str = "kivitendo") -> None:
        """Enter a job, wake the service, wait until the job has run."""
        job = self.enter_job(client)
        self.wake(instance)
        until(lambda: self.has_run(client, job), f"job {job} of {client} run by {instance}")

    def install_wheel(self, wheel: Path, environment: str | None = None) -> str:
        """Install our program; its path. ``environment``: in a virtual environment there."""
        self.machine.write(f"/tmp/{wheel.name}", wheel.read_bytes())
        place = environment or "/tmp/pip"
        self.machine.run("python3", "-m", "venv", "--system-site-packages", place)
        pip = [f"{place}/bin/python", "-m", "pip"]
        if not environment:  # Debian's own Python has no pip here
            pip += ["--python", "/usr/bin/python3"]
        self.machine.run(*pip, "install", "-q", "--no-deps", "--no-index",
                         "--break-system-packages", f"/tmp/{wheel.name}")  # fmt: skip
        folder = f"{environment}/bin" if environment else "/usr/local/bin"
        return f"{folder}/kivitendo-task-server"

    def _database(self, name: str, schema: str) -> None:
        self.sql(
            "postgres",
            f"CREATE DATABASE {name} OWNER kivitendo ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0",
        )
        text = (CHECKOUT / "kivitendo_task_server/demo" / schema).read_text()
        self.sql(name, f"SET ROLE kivitendo; {text}")
