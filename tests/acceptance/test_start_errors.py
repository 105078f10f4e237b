"""Bad input at the start: one clear line on stderr with file, key and remedy; no traceback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from database_fixture import NewDatabase
from job_rows import execute
from kivitendo_fixture import KivitendoDir, alive

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.demo.kivitendo_folder import DEFAULTS

STARTS = pytest.mark.parametrize("words", [("start",), ("debug",)])


def refused(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """The command failed with that code and one line that has all the parts."""
    assert result.returncode == code, result.stderr
    # in the foreground the log goes to stderr as well
    own = [line for line in result.stderr.splitlines() if line.startswith("kivitendo-task-server")]
    (line,) = own
    for part in parts:
        assert part in line
    assert "Traceback" not in result.stderr
    assert line.endswith(")") or " it in " in line, "the remedy is missing"


def test_a_missing_configuration_file(installation: KivitendoDir) -> None:
    """Weakness 9: the original silently runs with the defaults."""
    for command in ("start", "check", "status", "stop", "restart", "reload", "debug"):
        words = (command, "-c", "config/typo.conf")
        refused(installation.run(*words), 6, "config/typo.conf", "does not exist", "-c")
    (installation.path / "config/kivitendo.conf").unlink()
    (installation.path / "config/kivitendo.conf.default").unlink()
    refused(installation.run("start"), 6, "config/kivitendo.conf")
    assert not installation.pid_file.exists()


def test_a_configuration_file_in_a_circle_of_links(installation: KivitendoDir) -> None:
    (installation.path / "config/circle.conf").symlink_to("circle.conf")
    for command in ("start", "check", "restart"):
        refused(installation.run(command, "-c", "config/circle.conf"), 6, "config/circle.conf")
    assert installation.run("status", "-c", "config/circle.conf").returncode == 3


def test_a_path_that_is_too_long(installation: KivitendoDir) -> None:
    refused(installation.run("start", "-c", "x" * 5000), 6, "does not exist", "check -c")
    deep = installation.path
    for _ in range(3):
        deep = deep / ("deep" * 30)
        deep.mkdir()
    installation.write(str((deep / "k.conf").relative_to(installation.path)))
    installation.pid_file.parent.mkdir()
    for command in ("start", "status", "stop", "restart", "reload"):
        result = installation.run(command, "-c", str(deep / "k.conf"))
        refused(result, 7, "whose path is too long", "-c")
    (installation.path / "config/short.conf").symlink_to(deep / "k.conf")
    for command in ("start", "status", "stop"):
        result = installation.run(command, "-c", str(deep / "k.conf"))
        assert result.returncode == 0, result.stderr


def test_a_missing_section(installation: KivitendoDir) -> None:
    default = re.sub(r"^\[task_server\]\n([^\[].*\n)+", "", DEFAULTS, flags=re.M)
    assert default != DEFAULTS
    (installation.path / "config/kivitendo.conf.default").write_text(default)
    refused(installation.run("start"), 6, "config/kivitendo.conf", "[task_server]")


@STARTS
def test_a_wrong_password(installation: KivitendoDir, words: tuple[str]) -> None:
    installation.configure("authentication/database", password="wrong-secret")
    result = installation.run(*words)
    refused(result, 6, f"{installation.path}/config/kivitendo.conf: [authentication/database]")
    assert "password" in result.stderr
    assert "wrong-secret" not in result.stdout + result.stderr + installation.log
    assert not installation.pid_file.exists()


@STARTS
def test_an_auth_database_without_tables(
    installation: KivitendoDir, tenant_access: DatabaseAccess, words: tuple[str]
) -> None:
    installation.configure("authentication/database", db=tenant_access.name)
    refused(
        installation.run(*words), 6,
        "config/kivitendo.conf: [authentication/database]", tenant_access.name, "no tables",
    )  # fmt: skip
    assert not installation.pid_file.exists()


@STARTS
def test_an_unknown_login(installation: KivitendoDir, words: tuple[str]) -> None:
    installation.configure("task_server", login="nemo")
    refused(installation.run(*words), 6, "config/kivitendo.conf: [task_server] login", "'nemo'")
    assert not installation.pid_file.exists()


def test_check_says_the_same(installation: KivitendoDir) -> None:
    installation.configure("task_server", login="nemo")
    result = installation.run("check")
    refused(result, 6, "[task_server] login", "'nemo'")
    assert result.stdout == ""


def test_all_errors_of_the_configuration_at_once(installation: KivitendoDir) -> None:
    installation.configure("task_server", max_parallel_tenants="many", stop_timeout="soon")
    result = installation.run("start")
    assert (result.returncode, result.stdout) == (6, "")
    for key in ("max_parallel_tenants", "stop_timeout"):
        assert key in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["start", "check", "restart", "check-config"])
def test_what_is_doubtful_is_shown_beside_the_errors(
    installation: KivitendoDir, command: str
) -> None:
    installation.configure("task_server", debug="off", stop_timeout="soon", logn="nemo")
    result = installation.run(command)
    assert (result.returncode, result.stdout) == (6, "")
    *warnings, error = result.stderr.splitlines()
    assert all("warning: " in warning for warning in warnings)
    for part, line in zip(("logn = nemo", "debug = off"), warnings, strict=True):
        assert f"[task_server] {part}" in line
    assert "[task_server] stop_timeout = soon" in error


def test_a_doubtful_configuration_is_shown_and_works(installation: KivitendoDir) -> None:
    installation.configure("task_server", debug="off")
    start = installation.run("start")
    assert start.returncode == 0
    assert "warning: " in start.stderr
    assert "[task_server] debug = off" in start.stderr
    assert installation.log.count("[task_server] debug = off") == 1  # one line for one thing
    installation.run("stop")
    once = installation.run("-f", "start", "--run-job=1")
    logged = [line for line in once.stderr.splitlines() if "action=configuration_warning" in line]
    assert len(logged) == 1


@STARTS
def test_a_library_that_the_services_user_cannot_load(
    installation: KivitendoDir, tmp_path: Path, words: tuple[str]
) -> None:
    """As with a Python in root's home and run_as: after the change of user it finds no more."""
    (tmp_path / "psycopg2.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'decimal'\")"
    )
    path = os.pathsep.join((str(tmp_path), installation.environment()["PYTHONPATH"]))
    environ = {**installation.environment(), "PYTHONPATH": path}
    result = installation.run(*words, environ=environ)
    refused(result, 1, "cannot be loaded: No module named 'decimal'", "run_as", "root's home")
    assert not installation.pid_file.exists()


@pytest.mark.parametrize("command", ["start", "debug"])
def test_an_unknown_time_zone(installation: KivitendoDir, command: str) -> None:
    environ = {"KIVITENDO_DIR": str(installation.path), "TZ": "Mars/Olympus"}
    result = installation.run(command, environ=environ)
    refused(result, 6, "Mars/Olympus", "environment variable TZ", "such as Europe/Berlin")
    assert not installation.pid_file.exists()


def test_an_auth_database_that_is_away_is_waited_for(installation: KivitendoDir) -> None:
    """At boot the database may come later (weaknesses 1 and 2; scripts/boot in section h)."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        installation.configure("authentication/database", port=str(closed.getsockname()[1]))
        start = installation.run("start")
        assert start.returncode == 0
        assert "warning: " in start.stderr
        assert "[authentication/database]" in start.stderr
        assert alive(installation.pid)
        refused(installation.run("check"), 1, "[authentication/database]")
        assert installation.run("stop").returncode == 0


def test_check_tells_what_would_hold_back_all_jobs(installation: KivitendoDir) -> None:
    (installation.path / "users/nologin").touch()
    locked = installation.run("check")
    refused(locked, 1, "no jobs would run", "users/nologin")
    assert len(locked.stderr.splitlines()) == 1
    (installation.path / "users/nologin").unlink()
    scripts = installation.path / "sql/Pg-upgrade2-auth"
    scripts.mkdir(parents=True)
    (scripts / "new.sql").write_text("-- @tag: of_tomorrow\nSELECT 1;\n")
    refused(installation.run("check"), 1, "no jobs would run", "of_tomorrow", "upgrade it in")
    (scripts / "new.sql").unlink()
    assert installation.run("check").returncode == 0


def test_check_names_the_tenants_that_would_be_held_back(
    kivitendo_dir: KivitendoDir, new_database: NewDatabase
) -> None:
    good, old, empty, weak = (new_database() for _ in range(4))
    weak = replace(weak, user=f"weak_{weak.name}", password="weak")
    for name, access in (
        ("Gut", good),
        ("Alt", old),
        ("Gesperrt", replace(good, name="nirgends")),
        ("Fremd", empty),
        ("Schwach", weak),
    ):
        kivitendo_dir.add_tenant(name, access)
    scripts = kivitendo_dir.path / "sql/Pg-upgrade2"
    scripts.mkdir(parents=True)
    (scripts / "new.sql").write_text("-- @tag: of_tomorrow\nSELECT 1;\n")
    owner = replace(good, name=weak.name)
    for access in (good, owner):
        execute(access, "INSERT INTO schema_info (tag) VALUES ('of_tomorrow')")
    execute(empty, "DROP TABLE background_jobs CASCADE")
    execute(owner, f"CREATE ROLE {weak.user} LOGIN PASSWORD 'weak'")
    execute(owner, f"GRANT SELECT ON schema_info TO {weak.user}")
    try:
        check = kivitendo_dir.run("check")
    finally:
        execute(owner, f"DROP OWNED BY {weak.user}; DROP ROLE {weak.user}")
    assert check.returncode == 1
    assert check.stdout.splitlines()[0] == "Configuration looks okay"
    head, *troubles = check.stderr.splitlines()
    assert head.endswith("no jobs would run for 4 tenants:")
    for trouble, name, part in zip(
        troubles,
        ("Alt (id 2)", "Gesperrt (id 3)", "Fremd (id 4)", "Schwach (id 5)"),
        ("of_tomorrow", "nirgends", "no table background_jobs", "GRANT CREATE ON DATABASE"),
        strict=True,
    ):
        assert trouble.startswith(f"  tenant {name}: ")
        assert part in trouble
