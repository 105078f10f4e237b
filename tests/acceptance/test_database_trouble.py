"""Databases that go, hang, refuse or cut us off, under a running service."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from database_fixture import NewDatabase, create_database, statement
from gate import Gate
from job_rows import add_job, execute
from kivitendo_fixture import KivitendoDir, kivitendo_installation, until
from memory import scratch
from one_tenant import OneTenant
from real_service import RealService, real_service

import kivitendo_task_server.demo
from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.demo.children import die_with_parent
from kivitendo_task_server.demo.postgres import EmbeddedPostgres

SCHEMAS = Path(kivitendo_task_server.demo.__file__).parent


def add_effects(access: DatabaseAccess, count: int, seconds: float = 0.0) -> None:
    """Due jobs that each leave one row behind."""
    execute(
        access,
        "CREATE TABLE IF NOT EXISTS effects (job_id integer, done boolean,"
        " at timestamp DEFAULT now())",
    )
    execute(
        access,
        "INSERT INTO background_jobs (type, package_name, active, cron_spec, next_run_at, data)"
        " SELECT 'interval', 'Effect', true, '0 3 * * *', '2020-01-01', %s"
        " FROM generate_series(1, %s)",
        f"seconds: {seconds}",
        count,
    )


def effects(access: DatabaseAccess) -> int:
    """How many jobs have come to their end."""
    return int(execute(access, "SELECT count(*) FROM effects")[0][0])


def check_each_ran_once(access: DatabaseAccess) -> None:
    """Every job exactly once to completion, nothing claimed, every interruption recorded."""
    rows = execute(
        access,
        "SELECT count(*), count(DISTINCT job_id), count(*) FILTER (WHERE NOT done) FROM effects",
    )
    ((jobs,),) = execute(access, "SELECT count(*) FROM background_jobs")
    assert rows == [(jobs, jobs, 0)]
    history = dict(
        execute(access, "SELECT status, count(*) FROM background_job_histories GROUP BY status")
    )
    assert history["success"] == jobs
    failures = execute(
        access, "SELECT error FROM background_job_histories WHERE status = 'failure'"
    )
    assert all("interrupted" in error for (error,) in failures)
    assert execute(access, "SELECT * FROM kivitendo_task_server.running_jobs") == []
    # a worker that has just done the last job may yet have to leave: then its lock ends
    until(
        lambda: (
            execute(
                access,
                "SELECT l.objid FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                " WHERE l.locktype = 'advisory' AND d.datname = current_database()",
            )
            == []
        )
    )


@pytest.fixture
def own_cluster() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that the test may stop and start."""
    with EmbeddedPostgres(durable=False, parent=scratch()) as cluster:
        for kind in ("tenant", "auth"):
            statement(cluster, f"CREATE DATABASE template_{kind}")
            execute(
                cluster.access(f"template_{kind}"), (SCHEMAS / f"{kind}_schema.sql").read_text()
            )
        yield cluster


def stop_postgres(
    cluster: EmbeddedPostgres, how: signal.Signals = signal.SIGINT
) -> subprocess.Popen[bytes]:
    """Stop the server, sessions and all, but keep its data; SIGQUIT: as in a crash."""
    process = cluster._process
    assert process is not None
    process.send_signal(how)
    process.wait()
    return process


def start_postgres(cluster: EmbeddedPostgres, stopped: subprocess.Popen[bytes]) -> None:
    """Start it again and wait until it answers."""
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    with (cluster.folder / "log").open("ab") as log:
        cluster._process = subprocess.Popen(
            stopped.args,
            preexec_fn=die_with_parent(signal.SIGINT, account),
            cwd=cluster.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    cluster._await_answer()


def test_postgresql_stopped_and_started_under_load(own_cluster: EmbeddedPostgres) -> None:
    auth = create_database(own_cluster, "auth", "template_auth")
    tenants = [create_database(own_cluster, name, "template_tenant") for name in ("eins", "zwei")]
    with kivitendo_installation(auth) as installation:
        for access in tenants:
            installation.add_tenant(access.name, access)
            add_effects(access, 100, 0.01)
        with real_service(installation) as service:
            # a crash loses the last runs that nobody waited for: all of them or nothing of them
            for round_, how in ((1, signal.SIGINT), (2, signal.SIGQUIT)):
                until(lambda seen=20 * round_: all(effects(access) >= seen for access in tenants))
                stopped = stop_postgres(own_cluster, how)
                service.wake_up()  # the list of tenants is asked for, too
                until(lambda n=round_: len(service.lines("auth_failing")) == n)
                assert service.process.poll() is None
                start_postgres(own_cluster, stopped)
                service.wake_up()
                until(lambda n=round_: len(service.lines("auth_back")) == n)
            until(lambda: all(effects(access) == 100 for access in tenants))
            until(lambda: all(not _due(access) for access in tenants))
            for access in tenants:
                check_each_ran_once(access)
                changes = [
                    line.split("action=")[1].split()[0]
                    for line in service.log.splitlines()
                    if f"tenant={access.name}" in line and "action=tenant_" in line
                ]
                # one line for each change of state, never two of the same kind in a row
                assert changes[0] == "tenant_new"
                assert all(one != two for one, two in pairwise(changes))
            assert service.stop() == 0


def test_connections_killed_under_load(tenant: OneTenant) -> None:
    add_effects(tenant.access, 150, 0.01)
    with real_service(tenant.installation) as service:
        for seen in (5, 40, 80, 120):
            until(lambda seen=seen: effects(tenant.access) >= seen)
            tenant.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'kivitendo-task-server%%'"
                " AND application_name NOT LIKE '%%test'"
                " AND datname = ANY (%s)",
                [tenant.access.name, tenant.installation.auth.name],
            )
        until(lambda: effects(tenant.access) == 150)
        until(lambda: not _due(tenant.access))
        check_each_ran_once(tenant.access)
        assert service.stop() == 0


def test_a_database_that_is_read_only_or_renamed_comes_back(
    tenant: OneTenant, cluster: EmbeddedPostgres
) -> None:
    name = tenant.access.name
    troubles = {
        "cannot execute SELECT in a read-only transaction (jobs need a database that may be": (
            f"ALTER DATABASE {name} SET default_transaction_read_only = on",
            f"ALTER DATABASE {name} RESET default_transaction_read_only",
        ),
        "does not exist (check database, user and password)": (
            f"ALTER DATABASE {name} RENAME TO {name}_elsewhere",
            f"ALTER DATABASE {name}_elsewhere RENAME TO {name}",
        ),
    }
    sessions = f"pg_stat_activity WHERE datname = '{name}'"
    cut_off = f"SELECT pg_terminate_backend(pid) FROM {sessions}"  # noqa: S608
    with real_service(tenant.installation) as service:
        for number, (text, (begin, end)) in enumerate(troubles.items(), 1):
            job = tenant.add(next_run_at="2099-01-01")
            until(lambda: len(service.lines("tenant_back")) == number - 1)  # noqa: B023
            tenant.execute("UPDATE background_jobs SET next_run_at = '2020-01-01'")
            statement(cluster, cut_off)
            statement(cluster, begin)
            service.wake_up()
            until(lambda: len(service.lines("tenant_failing")) == number)  # noqa: B023
            line = service.lines("tenant_failing")[-1]
            assert text in line
            assert f"/{name}: " in line
            statement(cluster, end)
            until(lambda: _ran(tenant.access, job))  # noqa: B023
        until(lambda: len(service.lines("tenant_back")) == len(troubles))
        assert len(service.lines("tenant_failing")) == len(troubles)
        assert service.stop() == 0


def test_lame_tenants_harm_nobody_and_come_back(
    kivitendo_dir: KivitendoDir, new_database: NewDatabase
) -> None:
    good = [new_database() for _ in range(17)]
    lame = [new_database() for _ in range(3)]
    role = f"lame_{os.getpid()}"
    execute(good[0], f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'another'")
    target = (good[0].host, good[0].port)
    unreachable, hanging = Gate(target, "closed"), Gate(target, "silent")
    kivitendo_dir.configure("task_server", max_parallel_tenants="2")
    try:
        # first in the list: others must not have to wait for them
        kivitendo_dir.add_tenant("unreachable", replace(lame[0], port=unreachable.port))
        kivitendo_dir.add_tenant("refused", replace(lame[1], user=role, password="secret-word"))
        kivitendo_dir.add_tenant("hanging", replace(lame[2], port=hanging.port))
        for access in good:
            kivitendo_dir.add_tenant(access.name, access)
        jobs = {access: add_job(access) for access in [*good, *lame]}
        with real_service(kivitendo_dir) as service:
            until(lambda: any(_ran(access, jobs[access]) for access in good))
            assert hanging.waiting == 1  # its answer is being waited for, meanwhile
            until(lambda: all(_ran(access, jobs[access]) for access in good))
            until(lambda: len(service.lines("tenant_failing")) == 3)
            assert "no answer within 10 seconds" in _line(service, "hanging")
            assert "Connection refused" in _line(service, "unreachable")
            assert "password authentication failed" in _line(service, "refused")
            assert "secret-word" not in service.log
            # they come back by themselves
            unreachable.set("open")
            hanging.set("open")
            execute(good[0], f"ALTER ROLE {role} PASSWORD 'secret-word'")
            until(lambda: all(_ran(access, jobs[access]) for access in lame))
            until(lambda: len(service.lines("tenant_back")) == 3)
            assert len(service.lines("tenant_failing")) == 3  # not one for each attempt
            assert service.stop() == 0
    finally:
        for gate in (unreachable, hanging):
            gate.close()
        execute(lame[1], f"DROP OWNED BY {role}")  # our schema
        execute(lame[1], f"DROP ROLE {role}")


def test_the_service_waits_for_an_authentication_database_that_is_away(
    tenant: OneTenant,
) -> None:
    access = tenant.installation.auth
    gate = Gate((access.host, access.port), "closed")
    job = tenant.add()
    try:
        tenant.installation.configure("authentication/database", port=str(gate.port))
        with real_service(tenant.installation) as service:
            assert len(service.lines("auth_failing")) == 1
            gate.set("open")
            until(lambda: _ran(tenant.access, job))
            assert len(service.lines("auth_back")) == 1
            until(lambda: "state: 1 tenant, " in tenant.installation.run("status").stdout)
            # away again: the tenants that are known are served on
            gate.set("closed")
            other = tenant.add()
            service.wake_up()
            until(lambda: _ran(tenant.access, other))
            until(lambda: len(service.lines("auth_failing")) == 2)
            until(lambda: "[authentication/database]" in tenant.installation.run("status").stdout)
            # the state is another at once, not only when something else changes
            gate.set("open")
            service.wake_up()
            until(lambda: "state: 1 tenant, " in tenant.installation.run("status").stdout)
            assert service.stop() == 0
    finally:
        gate.close()


def test_the_end_does_not_wait_for_a_database_that_never_answers(
    kivitendo_dir: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    silent = Gate((tenant_access.host, tenant_access.port), "silent")
    try:
        client = kivitendo_dir.add_tenant("silent", replace(tenant_access, port=silent.port))
        with real_service(kivitendo_dir) as service:
            until(lambda: silent.waiting == 1)
            assert service.stop() == 0
            assert service.lines("tenant_failing") == []  # which comes with the time-out
        # neither when it is a tenant that is gone from the list meanwhile
        with real_service(kivitendo_dir) as service:
            until(lambda: silent.waiting == 1)
            execute(kivitendo_dir.auth, "DELETE FROM auth.clients WHERE id = %s", client)
            service.wake_up()
            until(lambda: service.lines("tenant_gone"))
            assert service.stop() == 0
            assert service.lines("tenant_failing") == []
        # nor for the authentication database, at the start
        kivitendo_dir.configure("authentication/database", port=str(silent.port))
        process = kivitendo_dir.popen("-f", "start")
        until(lambda: silent.waiting == 1)
        process.terminate()
        _, log = process.communicate(timeout=60)
        assert "action=service_ended" in log
        assert "auth_failing" not in log
    finally:
        silent.close()


def test_a_start_that_waits_for_a_database_can_be_stopped(tenant: OneTenant) -> None:
    installation = tenant.installation
    gate = Gate((installation.auth.host, installation.auth.port), "silent")
    try:
        installation.configure("authentication/database", port=str(gate.port))
        start = installation.popen("start")
        until(lambda: "state: starting" in installation.run("status").stdout)
        assert installation.run("stop").returncode == 0
        _, told = start.communicate(timeout=60)
        assert start.returncode == 7
        assert "the service ended before it was ready" in told
        assert "up and running" not in installation.log
    finally:
        gate.close()


def test_a_reload_is_refused_for_what_start_would_refuse(tenant: OneTenant) -> None:
    """A wrong login or password, too: it must not end the service of those served well."""
    installation = tenant.installation
    password = installation.auth.password
    with real_service(tenant.installation) as service:
        for section, key, wrong, right, said in (
            ("task_server", "login", "nobody", "", "there is no login 'nobody' (choices: "),
            ("authentication/database", "password", "wrong", password, "authentication failed"),
        ):
            installation.configure(section, **{key: wrong})
            refused = installation.run("reload")
            assert refused.returncode == 6
            assert said in refused.stderr
            assert "the old configuration stays in force" in refused.stderr
            assert "tenant Eins: " in installation.run("status").stdout
            installation.configure(section, **{key: right})
            assert installation.run("reload").returncode == 0
        assert len(service.lines("reload_failed")) == 2
        assert service.lines("tenant_gone") == service.lines("auth_failing") == []
        # a database that is away may come back: it is waited for, as at the start
        gate = Gate((installation.auth.host, installation.auth.port), "closed")
        try:
            installation.configure("authentication/database", port=str(gate.port))
            assert installation.run("reload").returncode == 0
            until(lambda: len(service.lines("auth_failing")) == 1)
            gate.set("open")
            until(lambda: len(service.lines("auth_back")) == 1)
        finally:
            gate.close()
        assert service.lines("tenant_gone") == []
        assert service.stop() == 0


def _due(access: DatabaseAccess) -> bool:
    return bool(execute(access, "SELECT 1 FROM background_jobs WHERE next_run_at < now()"))


def _ran(access: DatabaseAccess, job: int) -> bool:
    rows = execute(access, "SELECT last_run_at IS NOT NULL FROM background_jobs WHERE id = %s", job)
    return bool(rows[0][0])


def _line(service: RealService, tenant: str) -> str:
    (line,) = [line for line in service.lines("tenant_failing") if f"tenant={tenant}" in line]
    return line
