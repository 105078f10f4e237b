"""Control commands in every state: outputs and exit codes of task-server.md, c.2 and c.3.

Where ours differs on purpose (reload that starts, usage errors that exit 0, and the special
states), the test says so.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kivitendo_fixture import CHECKOUT, KivitendoDir, alive, until

P = "kivitendo-background-jobs"
PRELOADED = (sys.executable, str(CHECKOUT / "tests/preloaded.py"))
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT TESTED: acting as two different users needs root"
)

HOLDER = """
import fcntl, os, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0)
file.write(sys.argv[2].replace("PID", str(os.getpid())))
file.flush()
print("locked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def running(installation: KivitendoDir) -> KivitendoDir:
    """State R."""
    assert installation.run("start").returncode == 0
    return installation


@pytest.fixture
def other_program() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that has nothing to do with us."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def holder(path: Path, content: str = "PID\n") -> subprocess.Popen[str]:
    """Another program that holds the lock of a PID file, as kivitendo's own server does."""
    path.parent.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), content], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def lines(result: subprocess.CompletedProcess[str]) -> list[str]:
    return result.stdout.splitlines()


# --- N: no PID file -----------------------------------------------------------------------------


def test_not_running(installation: KivitendoDir) -> None:
    status = installation.run("status")
    assert (status.returncode, lines(status)[0]) == (3, f"No {P} running")
    check = installation.run("check")
    assert (check.returncode, check.stderr) == (0, "")
    assert lines(check) == ["Configuration looks okay", f"No {P} running"]
    stop = installation.run("stop")
    assert (stop.returncode, lines(stop), stop.stderr) == (0, [f"No {P} running"], "")
    assert not installation.pid_file.parent.exists(), "looking must leave no traces"


def test_reload_of_nothing_starts_nothing(installation: KivitendoDir) -> None:
    """Weakness 3: the original starts a daemon, and exits 0."""
    reload = installation.run("reload")
    assert (reload.returncode, lines(reload)) == (7, [f"No {P} running"])
    assert installation.run("status").returncode == 3


def test_start_and_stop(installation: KivitendoDir) -> None:
    start = installation.run("start")
    assert (start.returncode, lines(start), start.stderr) == (0, [f"Starting {P} server"], "")
    # at once, without waiting: start returns when it runs (weakness 4)
    pid = installation.pid
    assert alive(pid)
    assert installation.pid_file.read_text() == f"{pid}\n"
    stop = installation.run("stop")
    assert (stop.returncode, lines(stop)[0], stop.stderr) == (0, f"Killing {pid}", "")
    assert not alive(pid)
    assert list(installation.pid_file.parent.iterdir()) == []


def test_restart_starts_what_was_not_running(installation: KivitendoDir) -> None:
    restart = installation.run("restart")
    assert restart.returncode == 0
    assert lines(restart) == [f"No {P} running", f"Starting {P} server"]
    assert installation.run("status").returncode == 0


# --- S: a PID file that nobody holds ------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "999999999999999999999\n", "-1\n", "0\n", "rubbish\n"])
def test_stale(installation: KivitendoDir, content: str) -> None:
    installation.pid_file.parent.mkdir()
    installation.pid_file.write_text(content)
    status = installation.run("status")
    assert (status.returncode, lines(status)[0]) == (1, f"{P} dead")
    check = installation.run("check")  # has another word for it than status (c.2)
    assert (check.returncode, check.stderr) == (0, "")
    assert lines(check) == ["Configuration looks okay", f"No {P} running"]
    stop = installation.run("stop")
    assert (stop.returncode, lines(stop)) == (0, [f"No {P} running"])
    assert not installation.pid_file.exists()


def test_start_and_restart_over_a_stale_file(installation: KivitendoDir) -> None:
    for command, output in (
        ("start", [f"Starting {P} server"]),
        ("restart", [f"No {P} running", f"Starting {P} server"]),
    ):
        installation.pid_file.parent.mkdir(exist_ok=True)
        installation.pid_file.write_text("1\n")
        result = installation.run(command)
        assert (result.returncode, lines(result), result.stderr) == (0, output, "")
        assert alive(installation.pid)
        installation.run("stop")


def test_the_pid_of_another_program(
    installation: KivitendoDir, other_program: subprocess.Popen[bytes]
) -> None:
    installation.pid_file.parent.mkdir()
    installation.pid_file.write_text(f"{other_program.pid}\n")
    assert installation.run("status").returncode == 1
    stop = installation.run("stop")
    assert (stop.returncode, lines(stop)) == (0, [f"No {P} running"])
    installation.pid_file.write_text(f"{other_program.pid}\n")
    assert installation.run("start").returncode == 0
    assert installation.pid != other_program.pid
    assert other_program.poll() is None


# --- R: running ---------------------------------------------------------------------------------


def test_running(running: KivitendoDir) -> None:
    pid = running.pid
    status = running.run("status")
    assert (status.returncode, lines(status)[0]) == (0, f"{P} running - pid {pid}")
    check = running.run("check")
    assert (check.returncode, lines(check)) == (
        0,
        ["Configuration looks okay", f"{P} running - pid {pid}"],
    )
    for words in (["start"], ["-f", "start"], ["debug"], ["start", "--run-job=1"]):
        again = running.run(*words)
        assert (again.returncode, lines(again)) == (
            0,
            [f"Kivitendo-background-jobs is already running (pid {pid})"],
        )
    assert running.pid == pid


def test_stop_ends_the_service_also_if_nobody_reads_what_it_says(running: KivitendoDir) -> None:
    pid = running.pid
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as unread:
        stop = subprocess.run(
            [*running.command, "stop"], env=running.environment(), cwd=CHECKOUT, stdout=unread
        )
    assert stop.returncode == 0
    assert not alive(pid)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_whatever_the_caller_has_closed(installation: KivitendoDir, closed: str) -> None:
    """As a cron job or another daemon may call them; nothing may end up in a file of ours."""
    installation.command = ("sh", "-c", f'exec "$@" {closed}', "sh", *installation.command)
    for command, code in (("start", 0), ("status", 0), ("reload", 0), ("restart", 0), ("check", 0),
                          ("stop", 0), ("status", 3), ("reload", 7), ("nonsense", 2)):  # fmt: skip
        assert installation.run(command).returncode == code, command
        if command in ("start", "restart"):
            assert installation.pid_file.read_text() == f"{installation.pid}\n"
    service = installation.popen("-f", "start")
    until(lambda: installation.run("status").returncode == 0)
    for number in (0, 1, 2):
        opened = Path(f"/proc/{installation.pid}/fd/{number}").readlink()
        assert opened == Path("/dev/null") or str(opened).startswith("pipe:")
    assert installation.run("stop").returncode == 0
    service.communicate(timeout=60)
    assert service.returncode == 0


def test_what_cannot_be_said_changes_no_exit_code(installation: KivitendoDir) -> None:
    installation.command = ("sh", "-c", 'exec "$@" 2>/dev/full >&2', "sh", *installation.command)
    installation.configure("task_server", debug="off")  # a warning
    for command, code in (("start", 0), ("restart", 0), ("stop", 0), ("reload", 7), ("-x", 2)):
        assert installation.run(command).returncode == code, command


def test_restart(running: KivitendoDir) -> None:
    old = running.pid
    restart = running.run("restart")
    assert restart.returncode == 0
    assert lines(restart)[0] == f"Killing {old}"
    assert lines(restart)[-1] == f"Starting {P} server"
    assert not alive(old)
    assert alive(running.pid)


def test_restart_with_a_wrong_configuration_leaves_the_service_alone(running: KivitendoDir) -> None:
    running.configure("task_server", max_parallel_tenants="many")
    pid = running.pid
    restart = running.run("restart")
    assert (restart.returncode, restart.stdout) == (6, "")
    assert alive(pid)
    assert running.pid == pid


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("task_server", "login", "nemo", "there is no login 'nemo'"),
        ("task_server", "client", "Niemand", "no client with the name or id 'Niemand'"),
        ("authentication/database", "password", "wrong-secret", "[authentication/database]: "),
        ("authentication/database", "db", "nirgends", "[authentication/database]: "),
    ],
)
def test_restart_with_what_start_would_refuse_leaves_the_service_alone(
    running: KivitendoDir, section: str, key: str, value: str, told: str
) -> None:
    running.configure(section, **{key: value})
    pid = running.pid
    restart = running.run("restart")
    assert (restart.returncode, restart.stdout) == (6, "")
    assert told in restart.stderr
    assert len(restart.stderr.splitlines()) == 1
    assert "wrong-secret" not in restart.stderr
    assert alive(pid)
    assert running.pid == pid


def test_restart_where_the_log_cannot_be_written(running: KivitendoDir) -> None:
    pid = running.pid
    running.configure("debug", file_name="/dev/null/x.log")
    restart = running.run("restart")
    assert "/dev/null/x.log: the log file cannot be written" in restart.stderr
    if Path("/dev/log").exists():
        assert restart.returncode == 0
        assert "the log goes to syslog" in restart.stderr
    else:
        assert (restart.returncode, restart.stdout) == (6, "")
        assert running.pid == pid


def test_restart_without_its_database_is_a_start_without_it(running: KivitendoDir) -> None:
    old = running.pid
    running.configure("authentication/database", port="1")
    restart = running.run("restart")
    assert restart.returncode == 0
    assert lines(restart)[0] == f"Killing {old}"
    assert "warning: " in restart.stderr
    assert alive(running.pid)


def test_restart_beside_kivitendos_own_server_leaves_the_service_alone(
    running: KivitendoDir,
) -> None:
    with holder(running.path / "users/pid/..config.kivitendo.conf.pid") as perl:
        restart = running.run("restart")
        perl.kill()
    assert (restart.returncode, restart.stdout) == (7, "")
    assert f"kivitendo's own task server is running (pid {perl.pid}" in restart.stderr
    assert alive(running.pid)


def test_status_shows_where_and_what(running: KivitendoDir) -> None:
    status = running.run("status")
    assert lines(status)[1] == (
        f"kivitendo directory: {running.path} (found by the environment variable KIVITENDO_DIR)"
    )
    assert any(line.startswith("state: ") for line in lines(status))


def test_stop_and_status_need_neither_configuration_nor_database(running: KivitendoDir) -> None:
    """Weakness 2."""
    pid = running.pid
    (running.path / "config/kivitendo.conf.default").unlink()
    (running.path / "config/kivitendo.conf").write_text("no section\nand no sense")
    status = running.run("status")
    assert (status.returncode, lines(status)[0]) == (0, f"{P} running - pid {pid}")
    (running.path / "config/kivitendo.conf").unlink()
    assert running.run("status").returncode == 0
    stop = running.run("stop")
    assert (stop.returncode, lines(stop)[0]) == (0, f"Killing {pid}")
    assert not alive(pid)


def test_a_service_of_another_configuration_file_is_another_service(running: KivitendoDir) -> None:
    running.write("config/other.conf")
    assert running.run("-c", "config/other.conf", "status").returncode == 3
    assert running.run("start", "-c", "config/other.conf").returncode == 0
    other = running.path / "users/pid/config.other.conf.pid"
    for spelling in (
        "config/other.conf",
        "./config//other.conf",
        f"{running.path}/config/other.conf",
    ):
        status = running.run("status", "--configfile", spelling)
        assert lines(status)[0] == f"{P} running - pid {other.read_text().strip()}"
    assert running.run("stop", "-c", "./config/other.conf").returncode == 0
    assert not other.exists()
    assert running.run("status").returncode == 0


# --- several starts, other servers, half starts -------------------------------------------------


def test_starts_at_once(installation: KivitendoDir) -> None:
    starts = [installation.popen("start") for _ in range(5)]
    outputs = [start.communicate(timeout=120) for start in starts]
    assert [start.returncode for start in starts] == [0] * 5
    assert [error for _, error in outputs] == [""] * 5
    already = f"Kivitendo-background-jobs is already running (pid {installation.pid})"
    winners = [output for output, _ in outputs if already not in output]
    assert winners == [f"Starting {P} server\n"]
    assert alive(installation.pid)


def test_kivitendos_own_server_is_refused_and_can_be_stopped(installation: KivitendoDir) -> None:
    with holder(installation.pid_file) as perl:
        start = installation.run("start")
        assert (start.returncode, start.stdout) == (7, "")
        assert f"kivitendo's own task server is running (pid {perl.pid}" in start.stderr
        status = installation.run("status")
        assert (status.returncode, lines(status)[0]) == (0, f"{P} running - pid {perl.pid}")
        reload = installation.run("reload")  # would kill it (weakness 3)
        assert reload.returncode == 7
        assert perl.poll() is None
        stop = installation.run("stop")
        assert (stop.returncode, lines(stop)[0]) == (0, f"Killing {perl.pid}")
        assert not installation.pid_file.exists()
        perl.wait(10)


def test_kivitendos_own_server_under_another_name_is_refused(installation: KivitendoDir) -> None:
    """The original names its file after the spelling of -c (weakness 10)."""
    with holder(installation.path / "users/pid/..config.kivitendo.conf.pid") as perl:
        start = installation.run("start")
        assert start.returncode == 7
        assert f"(pid {perl.pid}" in start.stderr
        assert "..config.kivitendo.conf.pid" in start.stderr
        perl.kill()


def test_restart_takes_over_from_kivitendos_own_server(installation: KivitendoDir) -> None:
    with holder(installation.pid_file) as perl:
        restart = installation.run("restart")
        assert restart.returncode == 0
        assert lines(restart) == [f"Killing {perl.pid}", f"Starting {P} server"]
        assert installation.pid != perl.pid


@pytest.mark.parametrize("command", ["start", "status", "check", "restart", "reload", "stop"])
def test_locked_but_empty(installation: KivitendoDir, command: str) -> None:
    """Here stop refuses as well: the original removes the locked file of a start under way."""
    with holder(installation.pid_file, "") as process:
        result = installation.run(command)
        assert result.returncode == 7
        expected = f"Pid file {installation.pid_file} is invalid but locked, exiting"
        assert expected in result.stderr
        assert installation.pid_file.exists()
        process.kill()


def test_locked_by_a_process_that_does_not_exist_here(installation: KivitendoDir) -> None:
    """The original says "already running" and exits 0; nothing runs as far as we can see."""
    with holder(installation.pid_file, "2147483647\n") as process:
        status = installation.run("status")
        assert (status.returncode, lines(status)[0]) == (1, f"{P} dead")
        check = installation.run("check")
        assert (check.returncode, lines(check)[-1]) == (0, f"No {P} running")
        for command in ("start", "stop"):
            result = installation.run(command)
            assert result.returncode == 7
            assert "process 2147483647 does not exist here" in result.stderr
        process.kill()


def test_a_command_that_looks_does_not_disturb_a_start(installation: KivitendoDir) -> None:
    installation.pid_file.parent.mkdir()
    with installation.pid_file.open("a+") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        start = installation.popen("start")
        assert start.stdout is not None
        assert start.stdout.readline() == f"Starting {P} server\n"
        fcntl.flock(looking, fcntl.LOCK_UN)
        assert start.wait(60) == 0
        start.communicate()
    assert alive(installation.pid)


# --- other users, missing folders ----------------------------------------------------------------


@needs_root
def test_another_users_service(running: KivitendoDir) -> None:
    """Weakness 7: the original calls it dead, and stop hangs for ever."""
    running.command = (*PRELOADED, "nobody")
    status = running.run("status")
    assert (status.returncode, lines(status)[0]) == (0, f"{P} running - pid {running.pid}")
    stop = running.run("stop")
    assert stop.returncode == 4
    assert f"process {running.pid} belongs to the user root (call this as root)" in stop.stderr
    assert running.run("reload").returncode == 4
    assert alive(running.pid)


@needs_root
def test_restart_as_a_user_who_cannot_become_the_services(running: KivitendoDir) -> None:
    """And what the service's user, not root, is refused costs no running service either."""
    pid = running.pid
    running.command = (*PRELOADED, "-")
    running.configure("task_server", run_as="nobody")  # users/pid belongs to root
    restart = running.run("restart")
    assert (restart.returncode, restart.stdout) == (4, "")
    assert f"{running.pid_file}: cannot be created: Permission denied" in restart.stderr
    running.command = (*PRELOADED, "nobody")
    running.configure("task_server", run_as="daemon")
    (running.path / "config/kivitendo.conf").chmod(0o644)
    restart = running.run("restart")
    assert (restart.returncode, restart.stdout) == (4, "")
    assert "Cannot drop group privileges to daemon" in restart.stderr
    assert running.pid == pid
    assert alive(pid)


@needs_root
def test_no_permission(installation: KivitendoDir) -> None:
    installation.command = (*PRELOADED, "nobody")
    (installation.path / "config/kivitendo.conf").chmod(0o644)
    start = installation.run("start")  # users belongs to root
    assert start.returncode == 4
    assert f"{installation.path}/users/pid: cannot be created: Permission denied" in start.stderr
    installation.pid_file.parent.mkdir()
    installation.pid_file.write_text("1\n")
    stop = installation.run("stop")
    assert stop.returncode == 4
    assert "cannot be removed: Permission denied" in stop.stderr
    installation.pid_file.chmod(0o600)
    for command in ("status", "start", "stop"):
        result = installation.run(command)
        assert result.returncode == 4
        assert f"{installation.pid_file}: cannot be opened: Permission denied" in result.stderr


@needs_root
def test_an_unreadable_configuration(installation: KivitendoDir) -> None:
    installation.command = (*PRELOADED, "nobody")
    (installation.path / "config/kivitendo.conf").chmod(0o600)
    start = installation.run("start")
    assert (start.returncode, start.stdout) == (6, "")
    assert f"{installation.path}/config/kivitendo.conf: " in start.stderr
    assert "permission denied" in start.stderr
    assert len(start.stderr.splitlines()) == 1


def test_the_pid_folder_is_made_when_it_is_missing(installation: KivitendoDir) -> None:
    assert not installation.pid_file.parent.exists()
    before = os.umask(0o077)
    try:
        assert installation.run("start").returncode == 0
    finally:
        os.umask(before)
    # whatever the umask: any user may ask for the status
    assert installation.pid_file.parent.stat().st_mode & 0o777 == 0o755
    assert installation.pid_file.stat().st_mode & 0o777 == 0o644
    installation.run("stop")
    (installation.path / "users/pid").rmdir()
    (installation.path / "users/kivitendo-debug.log").unlink()
    (installation.path / "users").rmdir()
    start = installation.run("start")
    assert start.returncode == 7
    assert f"{installation.path}/users: the folder for the PID file cannot be made" in start.stderr


def test_a_link_in_the_place_of_the_pid_file_is_not_followed(installation: KivitendoDir) -> None:
    victim = installation.path / "victim"
    victim.write_text("precious\n")
    installation.pid_file.parent.mkdir()
    installation.pid_file.symlink_to(victim)
    for command in ("start", "stop", "status"):
        result = installation.run(command)
        assert result.returncode == 7
        assert "is a symbolic link" in result.stderr
    assert victim.read_text() == "precious\n"


def test_something_else_in_the_place_of_the_pid_folder(installation: KivitendoDir) -> None:
    folder = installation.path / "users/pid"
    folder.write_text("no folder")
    for command, code in (("status", 3), ("stop", 0), ("start", 7), ("restart", 7)):
        result = installation.run(command)
        assert result.returncode == code
        if code == 7:
            assert f"{folder}: the folder for the PID file cannot be made: Not a dir" in (
                result.stderr
            )
    assert folder.read_text() == "no folder"


@pytest.mark.skipif(
    subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0,
    reason="NOT TESTED: a full or read-only file system needs the right to mount one",
)
@pytest.mark.parametrize("state", ["read-only", "full"])
def test_a_file_system_that_cannot_be_written(installation: KivitendoDir, state: str) -> None:
    installation.pid_file.parent.mkdir()
    installation.pid_file.write_text("1\n")
    users = installation.path / "users"
    mount = {
        "read-only": 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"',
        "full": 'mount -t tmpfs -o size=64k none "$0" && mkdir "$0/pid"'
        ' && { head -c 1M /dev/zero > "$0/filling" || true; }',
    }[state]
    answers = {}
    for command in ("status", "stop", "start"):
        answers[command] = subprocess.run(
            ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', users,
             *installation.command, command],
            env=installation.environment(), cwd=CHECKOUT, capture_output=True, text=True,
        )  # fmt: skip
    for answer in answers.values():
        assert "internal error" not in answer.stderr
    if state == "full":
        start = answers["start"]
        assert start.returncode == 7
        assert f"{installation.pid_file}: the PID file cannot be locked and written" in start.stderr
        return
    assert answers["status"].returncode == 1
    assert answers["stop"].returncode == 7
    assert "cannot be removed: Read-only file system" in answers["stop"].stderr
    # with syslog in the place of the log, it is the PID file
    assert answers["start"].returncode == (7 if Path("/dev/log").exists() else 6)
    assert "file cannot be" in answers["start"].stderr
    assert "Read-only file system" in answers["start"].stderr


# --- usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [[], ["start", "stop"], ["--nonsense", "status"], ["nonsense"], ["--run-job=x", "start"],
     ["start", "--run-job=0"], ["start", "--run-job=2147483648"],
     ["--run-job=1", "check-config"], ["status", "-c"]],
)  # fmt: skip
def test_usage_errors_exit_2(installation: KivitendoDir, words: list[str]) -> None:
    """Weakness 8: 0 in the original."""
    result = installation.run(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1


def test_help_and_version(installation: KivitendoDir) -> None:
    for words in (["help"], ["--help"]):
        shown = installation.run(*words, environ={"KIVITENDO_DIR": "/nonexistent"})
        assert shown.returncode == 0
        for command in (
            "start",
            "stop",
            "restart",
            "reload",
            "status",
            "check",
            "debug",
            "version",
        ):
            assert f"\n    {command} " in shown.stdout
    version = installation.run("version", environ={"KIVITENDO_DIR": "/nonexistent"})
    assert version.returncode == 0
    assert "?" not in version.stdout
    assert version.stdout.startswith(f"{P} - version ")


def test_debug_option_names_the_pid_file(installation: KivitendoDir) -> None:
    for words in (["-d", "status"], ["status", "--debug"]):
        status = installation.run(*words)
        assert lines(status)[:2] == [
            "PIDFILE=users/pid/config.kivitendo.conf.pid",
            f"No {P} running",
        ]


def test_no_kivitendo_anywhere(installation: KivitendoDir) -> None:
    result = installation.run("status", environ={"KIVITENDO_DIR": "/nonexistent"})
    assert result.returncode == 5
    assert "/nonexistent" in result.stderr


def test_a_start_that_is_killed_leaves_nothing_that_disturbs(installation: KivitendoDir) -> None:
    installation.run("start")
    pid = installation.pid
    os.kill(pid, 9)
    until(lambda: not alive(pid))
    until(lambda: installation.run("status").returncode == 1)  # children let go of nothing
    assert installation.run("start").returncode == 0
    assert installation.pid != pid
