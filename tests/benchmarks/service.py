"""``tools/bench service``: what the idle service costs, and how fast it starts and dispatches.

The figures of the Perl original are from a comparable machine (kivitendo 4.1.0, Debian 12). All
runs use the real command on a real PostgreSQL on this machine; its disk is waited for (fsync on)
unless ``--no-fsync`` is given. Python finds the program compiled, as every installation has it.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kivitendo_fixture import KivitendoDir, kivitendo_installation

import kivitendo_task_server.demo
from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.demo.postgres import EmbeddedPostgres

SCHEMAS = Path(kivitendo_task_server.demo.__file__).parent
TICK = os.sysconf("SC_CLK_TCK")
JOBS = 1000


@dataclass(frozen=True)
class Figure:
    """One line of the result."""

    what: str
    value: str
    goal: str
    original: str


class Databases:
    """The cluster of a bench: one authentication database and many tenants."""

    def __init__(self, cluster: EmbeddedPostgres) -> None:
        self.cluster = cluster
        self._admin = connect(cluster.access("postgres"), purpose="bench")
        self._admin.autocommit = True
        for kind in ("tenant", "auth"):
            self._statement(f"CREATE DATABASE template_{kind}")
            with self.opened(cluster.access(f"template_{kind}")) as connection:
                run(connection, (SCHEMAS / f"{kind}_schema.sql").read_text())

    def make(self, kind: str, name: str) -> DatabaseAccess:
        """A database as a copy of the template."""
        self._statement(f"CREATE DATABASE {name} TEMPLATE template_{kind}")
        return self.cluster.access(name)

    def drop(self, name: str) -> None:
        """Remove it, whoever uses it."""
        self._statement(f"DROP DATABASE {name} WITH (FORCE)")

    def _statement(self, sql: str) -> None:
        with self._admin.cursor() as cursor:
            cursor.execute(sql)

    @staticmethod
    @contextmanager
    def opened(access: DatabaseAccess) -> Iterator[Connection]:
        """A connection for a while."""
        connection = connect(access, purpose="bench")
        try:
            yield connection
        finally:
            connection.close()


def run(connection: Connection, sql: str, *values: object) -> list[tuple[object, ...]]:
    """One statement, committed; its rows."""
    with connection, connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def installation(
    databases: Databases, tenants: int
) -> Iterator[tuple[KivitendoDir, list[DatabaseAccess]]]:
    """A kivitendo directory with that many tenants."""
    names = [f"bench_{number}" for number in range(tenants)]
    auth = databases.make("auth", "bench_auth")
    try:
        with kivitendo_installation(auth) as kivitendo:
            accesses = [databases.make("tenant", name) for name in names]
            for access in accesses:
                kivitendo.add_tenant(access.name, access)
            yield kivitendo, accesses
    finally:
        for name in [*names, "bench_auth"]:
            databases.drop(name)


@contextmanager
def service(kivitendo: KivitendoDir) -> Iterator[subprocess.Popen[bytes]]:
    """The real service in the foreground, its output thrown away."""
    process = subprocess.Popen(
        [*kivitendo.command, "-f", "start"],
        env=kivitendo.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def insert_jobs(connection: Connection, count: int) -> None:
    """Due jobs that will not be due again during the measurement."""
    run(
        connection,
        "INSERT INTO background_jobs (type, package_name, active, cron_spec, next_run_at)"
        " SELECT 'interval', 'Test', true, '0 3 * * *', now() - interval '2 days'"
        " FROM generate_series(1, %s)",
        count,
    )


def wait_for(connection: Connection, runs: int, interval: float = 0.005) -> None:
    """Until so many runs are in the history; looks every ``interval`` seconds."""
    while True:
        (found,) = run(connection, "SELECT count(*) FROM background_job_histories")[0]
        if isinstance(found, int) and found >= runs:
            return
        time.sleep(interval)


def settle(process: subprocess.Popen[bytes], accesses: list[DatabaseAccess]) -> None:
    """Until every tenant was looked at and nothing happens any more."""
    for access in accesses:
        with Databases.opened(access) as connection:
            wait_until_served(connection)
    quiet, before = 0, -1.0
    while quiet < 5:
        time.sleep(0.2)
        now = cpu_seconds(process_tree(process.pid))
        quiet, before = (quiet + 1 if now == before else 0), now


def wait_until_served(connection: Connection) -> None:
    """Until our schema is there: the supervisor makes it at its first look."""
    while not run(connection, "SELECT 1 FROM pg_tables WHERE tablename = 'job_runs'"):
        time.sleep(0.02)


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Processor time of processes and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / TICK


def pss_megabytes(pids: list[int]) -> float:
    """Memory with shared pages divided among those who share them."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def first_job(databases: Databases, repeats: int) -> Figure:
    """From exec to the first finished job in the tables."""
    times = []
    with installation(databases, 1) as (kivitendo, (access,)), databases.opened(access) as tenant:
        with service(kivitendo) as process:
            settle(process, [access])
        for number in range(repeats):
            insert_jobs(tenant, 1)
            began = time.perf_counter()
            with service(kivitendo):
                wait_for(tenant, number + 1)
                times.append(time.perf_counter() - began)
    return Figure(
        "exec to the first finished job", f"{statistics.median(times):.2f} s", "< 0.5 s", "1.9 s"
    )


def idle(databases: Databases, tenants: int, ticks: int) -> list[Figure]:
    """Memory of the idle service, processor time of a tick without work."""
    with installation(databases, tenants) as (kivitendo, accesses), service(kivitendo) as process:
        settle(process, accesses)
        pss = pss_megabytes(process_tree(process.pid))
        postgres = databases.cluster.pid
        ours, theirs, walls = [], [], []
        for _ in range(ticks):
            before = cpu_seconds(process_tree(process.pid)), cpu_seconds(process_tree(postgres))
            began = time.perf_counter()
            process.send_signal(signal.SIGALRM)  # what a tick does, without waiting for the minute
            walls.append(quiet_again(process.pid, began))
            ours.append(cpu_seconds(process_tree(process.pid)) - before[0])
            theirs.append(cpu_seconds(process_tree(postgres)) - before[1])
    server, database = statistics.mean(ours), statistics.mean(theirs)
    fifty = tenants == 50
    return [
        Figure(
            f"processor time of an idle tick, {tenants} tenants",
            f"{server + database:.2f} s (server {server:.2f}, database {database:.2f})",
            "< 0.3 s" if fifty else "",
            "1.4 s (server 0.4, database 1.0)" if fifty else "",
        ),
        Figure(
            f"wall time of an idle tick, {tenants} tenants",
            f"{statistics.median(walls):.2f} s",
            "",
            "1.4 s" if fifty else "",
        ),
        Figure(
            f"memory (PSS) of the idle service, {tenants} tenants",
            f"{pss:.1f} MB",
            "< 35 MB" if fifty else "",
            "187 MB" if fifty else "",
        ),
    ]


def quiet_again(pid: int, began: float) -> float:
    """Wait until the tick is over; how long it took (to 20 ms)."""
    last, changed = -1.0, time.perf_counter()
    while time.perf_counter() - changed < 0.5:
        now = cpu_seconds(process_tree(pid))
        if now != last:
            last, changed = now, time.perf_counter()
        time.sleep(0.02)
    return changed - began


def dispatch(databases: Databases, tenants: int) -> Figure:
    """Test jobs a second, from the wake-up to the last record."""
    with installation(databases, tenants) as (kivitendo, accesses), service(kivitendo) as process:
        settle(process, accesses)
        connections = [connect(access, purpose="bench") for access in accesses]
        for connection in connections:
            insert_jobs(connection, JOBS // tenants)
        began = time.perf_counter()
        process.send_signal(signal.SIGALRM)
        for connection in connections:
            wait_for(connection, JOBS // tenants, interval=0.02)  # must not cost what it measures
        seconds = time.perf_counter() - began
        for connection in connections:
            connection.close()
    where = "in one tenant" if tenants == 1 else f"spread over {tenants} tenants"
    return Figure(
        f"Test jobs, {JOBS} due {where}", f"{JOBS / seconds:.0f} per second", "> 600", "60"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/bench service", description=__doc__)
    parser.add_argument("--no-fsync", action="store_true", help="PostgreSQL without disk waits")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, no 200 tenants")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    with EmbeddedPostgres(durable=not arguments.no_fsync) as cluster, bytecode():
        databases = Databases(cluster)
        note("exec to the first finished job")
        figures.append(first_job(databases, 3 if arguments.quick else 7))
        for tenants in (50,) if arguments.quick else (50, 200):
            note(f"idle service with {tenants} tenants")
            figures += idle(databases, tenants, 3 if arguments.quick else 10)
        for tenants in (1, 20):
            note(f"{JOBS} jobs in {tenants} tenants")
            figures.append(dispatch(databases, tenants))
    show(figures)
    return 0


@contextmanager
def bytecode() -> Iterator[None]:
    """A place for compiled modules of the programs we start, even if our caller wants none."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="kivitendo-bench-") as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        yield


def note(text: str) -> None:
    """Progress for whoever waits."""
    print(f"… {text}", file=sys.stderr, flush=True)


def show(figures: list[Figure]) -> None:
    """The table, in Markdown."""
    rows = [("measured", "here", "goal", "Perl original")]
    rows += [(figure.what, figure.value, figure.goal, figure.original) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        print(
            "| "
            + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            + " |"
        )


if __name__ == "__main__":
    raise SystemExit(main())
