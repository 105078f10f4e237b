"""The service as a process: detaching, signals, run_as, notification, log, calls through links."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kivitendo_fixture import CHECKOUT, KivitendoDir, alive, nobody, until

PRELOADED = (sys.executable, str(CHECKOUT / "tests/preloaded.py"))
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT TESTED: becoming another user needs root"
)


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    pairs = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {key: value.strip() for key, _, value in pairs}


@contextmanager
def foreground(
    installation: KivitendoDir, *words: str, **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """A service in the foreground that is up."""
    process = installation.popen(*(words or ("-f", "start")), environ=environ)
    try:
        until(lambda: "up and running" in (report := installation_log(process)) or not report)
        yield process
    finally:
        process.kill()
        process.communicate()


def installation_log(process: subprocess.Popen[str]) -> str:
    """The next line that a service in the foreground writes."""
    assert process.stderr is not None
    return process.stderr.readline()


# --- detaching -----------------------------------------------------------------------------------


def test_a_detached_service_keeps_nothing_of_its_caller(installation: KivitendoDir) -> None:
    assert installation.run("start").returncode == 0  # returns although our pipes are its stdout
    pid = installation.pid
    status = status_of(pid)
    assert int(status["PPid"]) != os.getpid()
    assert os.getsid(pid) not in (os.getsid(0), pid), "a session of its own that it does not lead"
    assert Path(f"/proc/{pid}/cwd").readlink() == installation.path
    assert int(status["Umask"], 8) & 0o002
    for number in (0, 1, 2):
        assert Path(f"/proc/{pid}/fd/{number}").readlink() == Path("/dev/null")
    opened = [entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert installation.pid_file in opened
    assert Path(f"/proc/{pid}/comm").read_text() == "kivitendo-tasks\n"


def test_only_the_service_itself_holds_the_lock(installation: KivitendoDir) -> None:
    """Otherwise a child that outlives it would keep the next start away."""
    installation.run("start")
    pid = installation.pid
    holders = [
        entry.parent.parent.name
        for entry in Path("/proc").glob("[0-9]*/fd/*")
        if _link(entry) == installation.pid_file
    ]
    assert holders == [str(pid)]


def _link(entry: Path) -> Path | None:
    try:
        return entry.readlink()
    except OSError:
        return None


def test_the_log_is_kivitendos_file_also_after_rotation(installation: KivitendoDir) -> None:
    installation.run("start")
    line = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (\d+) \[\1\] (\w*): .+")
    assert all(line.fullmatch(each) for each in installation.log.splitlines())
    assert "The task server for node" in installation.log
    file = installation.path / "users/kivitendo-debug.log"
    file.rename(file.with_suffix(".1"))
    installation.run("stop")
    assert "The task server has ended." in installation.log


def test_a_failure_to_go_on_is_in_the_log_without_any_debug(installation: KivitendoDir) -> None:
    """Weakness 35."""
    installation.configure("task_server", login="nemo")
    assert installation.run("start").returncode == 6
    assert "[task_server] login" in installation.log


# --- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(installation: KivitendoDir, number: signal.Signals) -> None:
    """Weakness 5: the original leaves the PID file, and dies by TERM."""
    with foreground(installation) as service:
        assert installation.pid == service.pid
        service.send_signal(number)
        service.communicate(timeout=60)
    assert service.returncode == 0
    assert not installation.pid_file.exists()
    assert list(installation.pid_file.parent.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP])
def test_signals_at_any_moment_of_the_start(
    installation: KivitendoDir, number: signal.Signals
) -> None:
    """The original can be killed by a wake-up while it starts (task-server.md, c.6)."""
    for delay in (0.0, 0.05):
        service = installation.popen("-f", "start")
        until(lambda: installation.pid_file.exists() and installation.pid_file.read_text() != "")
        time.sleep(delay)  # varies the moment; nothing is asserted about time
        service.send_signal(number)
        if number in (signal.SIGTERM, signal.SIGINT):
            service.communicate(timeout=60)
            assert service.returncode == 0
            assert not installation.pid_file.exists()
        else:
            assert installation.run("status").returncode == 0
            assert installation.run("stop").returncode == 0
            service.communicate(timeout=60)


def test_wake_ups_do_not_harm(installation: KivitendoDir) -> None:
    installation.run("start")
    pid = installation.pid
    for _ in range(200):
        os.kill(pid, signal.SIGALRM)
    assert installation.run("reload").returncode == 0
    assert installation.pid == pid


def test_reload_tells_what_came_of_it(installation: KivitendoDir) -> None:
    """Weakness 3: in the original it kills the idle daemon, and reports success."""
    installation.run("start")
    pid = installation.pid
    reload = installation.run("reload")
    assert (reload.returncode, reload.stdout, reload.stderr) == (
        0,
        "Requested reconfiguration\n",
        "",
    )
    installation.configure("task_server", stop_timeout="soon")
    reload = installation.run("reload")
    assert (reload.returncode, reload.stdout) == (6, "Requested reconfiguration\n")
    assert "[task_server] stop_timeout = soon" in reload.stderr
    assert "the old configuration stays in force" in reload.stderr
    status = installation.run("status")
    assert status.returncode == 0
    assert "the last reload failed" in status.stdout
    installation.configure("task_server", stop_timeout="5")
    assert installation.run("reload").returncode == 0
    assert "failed" not in installation.run("status").stdout
    assert installation.pid == pid


def test_a_reload_refuses_a_run_as_with_which_the_next_start_would_fail(
    installation: KivitendoDir,
) -> None:
    installation.run("start")
    for user, told in (("no-such-user", "user does not exist"), ("root", "the administrator")):
        installation.configure("task_server", run_as=user)
        reload = installation.run("reload")
        assert reload.returncode == 6
        assert f"Cannot drop privileges to {user}: " in reload.stderr
        assert told in reload.stderr
    assert "action=run_as_changed" not in installation.log


def test_a_reload_changes_also_how_and_where_is_logged(installation: KivitendoDir) -> None:
    installation.run("start")
    pid = installation.pid
    os.kill(pid, signal.SIGALRM)
    assert installation.run("reload").returncode == 0
    assert "action=wake_up" not in installation.log, "a detail, for debug"
    installation.configure("task_server", debug="1", run_as="nobody")
    installation.configure("debug", file_name="users/other.log")
    assert installation.run("reload").returncode == 0
    os.kill(pid, signal.SIGALRM)
    other = installation.path / "users/other.log"
    until(lambda: "action=wake_up" in other.read_text())
    assert "action=run_as_changed" in other.read_text()
    installation.configure("debug", file_name="no/such/folder/x.log")
    assert installation.run("reload").returncode == 0
    assert installation.run("stop").returncode == 0
    if not Path("/dev/log").exists():  # which would take its place
        assert "the log stays where it is" in other.read_text()
        assert "The task server has ended." in other.read_text()


# --- run_as --------------------------------------------------------------------------------------


@pytest.fixture
def run_as_nobody(installation: KivitendoDir) -> KivitendoDir:
    """An installation that belongs to nobody, as kivitendo's belongs to the web server's user."""
    installation.command = (*PRELOADED, "-")
    installation.configure("task_server", run_as="nobody")
    os.chown(installation.path / "users", nobody().pw_uid, nobody().pw_gid)
    return installation


@needs_root
def test_run_as_is_that_user_in_every_respect(run_as_nobody: KivitendoDir) -> None:
    """Weakness 13: the original keeps root's groups, and its first start fails."""
    account = nobody()
    before = os.getgroups()
    os.setgroups([0, 4, 27])  # what the command is started with
    try:
        start = run_as_nobody.run("start")
    finally:
        os.setgroups(before)
    assert (start.returncode, start.stderr) == (0, "")
    children = subprocess.run(
        ["ps", "-o", "pid=", "-g", str(os.getsid(run_as_nobody.pid))],
        capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    for pid in {run_as_nobody.pid, *map(int, children)}:
        status = status_of(pid)
        assert status["Uid"].split() == [str(account.pw_uid)] * 4
        assert status["Gid"].split() == [str(account.pw_gid)] * 4
        expected = os.getgrouplist(account.pw_name, account.pw_gid)
        assert {int(group) for group in status["Groups"].split()} == set(expected)
    for path in (
        run_as_nobody.pid_file.parent,
        run_as_nobody.pid_file,
        run_as_nobody.path / "users/kivitendo-debug.log",
    ):
        assert path.stat().st_uid == account.pw_uid, path
    # and the user may control it
    run_as_nobody.command = (*PRELOADED, "nobody")
    assert run_as_nobody.run("stop").returncode == 0


@needs_root
def test_run_as_where_only_root_may_make_the_pid_folder(run_as_nobody: KivitendoDir) -> None:
    os.chown(run_as_nobody.path / "users", 0, 0)
    log = run_as_nobody.path / "users/kivitendo-debug.log"
    log.touch()
    os.chown(log, nobody().pw_uid, nobody().pw_gid)
    start = run_as_nobody.run("start")
    assert (start.returncode, start.stderr) == (0, "")
    assert run_as_nobody.pid_file.parent.stat().st_uid == nobody().pw_uid


@needs_root
def test_run_as_a_user_who_cannot_read_the_configuration_is_warned(
    run_as_nobody: KivitendoDir,
) -> None:
    (run_as_nobody.path / "config/kivitendo.conf").chmod(0o600)
    start = run_as_nobody.run("start")
    assert start.returncode == 0
    assert "cannot read it, so a reload will fail" in start.stderr
    assert run_as_nobody.run("reload").returncode == 6


@needs_root
@pytest.mark.parametrize(("owner", "code"), [("nobody", 0), ("root", 6)])
def test_check_sees_what_the_services_user_sees(
    run_as_nobody: KivitendoDir, owner: str, code: int
) -> None:
    """Here a password that only one of them may read, in place of PostgreSQL's own ways."""
    auth = run_as_nobody.auth
    file = run_as_nobody.path / "pgpass"
    file.write_text(f"*:*:*:{auth.user}:{auth.password}\n")
    file.chmod(0o600)
    shutil.chown(file, owner)
    run_as_nobody.configure("authentication/database", password="")
    run_as_nobody.configure("environment", PGPASSFILE=str(file))
    for command in ("check", "start", "restart"):
        result = run_as_nobody.run(command)
        assert result.returncode == code, result.stderr
        assert "password" in result.stderr or code == 0


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("no-such-user", "Cannot drop privileges to no-such-user: user does not exist"),
        ("root", "Cannot drop privileges to root: it is the administrator"),
    ],
)
def test_run_as_nonsense(installation: KivitendoDir, user: str, text: str) -> None:
    installation.configure("task_server", run_as=user)
    for command in ("start", "check", "check-config"):
        result = installation.run(command)
        assert (result.returncode, result.stdout) == (6, "")
        assert f"{text} (" in result.stderr
        assert re.search(r"config/kivitendo\.conf:\d+: \[task_server\] run_as: ", result.stderr)


@needs_root
def test_run_as_somebody_else_than_the_caller(run_as_nobody: KivitendoDir) -> None:
    run_as_nobody.configure("task_server", run_as="daemon")
    run_as_nobody.command = (*PRELOADED, "nobody")
    (run_as_nobody.path / "config/kivitendo.conf").chmod(0o644)
    start = run_as_nobody.run("start")
    assert (start.returncode, start.stdout.count("running")) == (4, 0)
    assert "Cannot drop group privileges to daemon (group ID " in start.stderr
    assert "Operation not permitted" in start.stderr


@needs_root
def test_run_as_the_caller(run_as_nobody: KivitendoDir) -> None:
    run_as_nobody.command = (*PRELOADED, "nobody")
    (run_as_nobody.path / "config/kivitendo.conf").chmod(0o644)
    assert run_as_nobody.run("start").returncode == 0
    assert status_of(run_as_nobody.pid)["Uid"].split()[0] == str(nobody().pw_uid)


@needs_root
def test_a_log_made_by_root_still_is_kivitendos(installation: KivitendoDir) -> None:
    """Weakness 13: without run_as too, what root makes can be used by kivitendo later."""
    os.chown(installation.path / "users", nobody().pw_uid, nobody().pw_gid)
    assert installation.run("start").returncode == 0
    assert "running as the administrator" in installation.log
    for path in ("users/kivitendo-debug.log", "users/pid"):
        assert (installation.path / path).stat().st_uid == nobody().pw_uid


# --- notification --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_readiness_reload_watchdog_and_end_are_told(
    installation: KivitendoDir, tmp_path: Path, kind: str
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        name = str(tmp_path / "n") if kind == "path" else f"@kivitendo-test-{os.getpid()}"
        supervisor.bind(name if kind == "path" else "\0" + name[1:])
        supervisor.settimeout(60)
        told: list[str] = []

        def wait_for(wanted: str) -> str:
            while not told or wanted not in told[-1]:
                told.append(supervisor.recv(4096).decode())
            return told[-1]

        # the watchdog's time is long enough for any machine and short enough for a test
        service = installation.popen(
            "-f", "start", environ={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"}
        )
        ready = wait_for("READY=1")
        assert f"MAINPID={service.pid}" in ready
        assert "STATUS=" in ready
        wait_for("WATCHDOG=1")
        earliest = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        service.send_signal(signal.SIGHUP)
        reloading = wait_for("RELOADING=1")
        moment = re.search(r"^MONOTONIC_USEC=(\d+)$", reloading, re.M)
        assert moment is not None
        assert int(moment[1]) >= earliest
        wait_for("READY=1")
        service.send_signal(signal.SIGTERM)
        wait_for("STOPPING=1")
        service.communicate(timeout=60)
        assert service.returncode == 0


def test_the_journal_gets_priorities(installation: KivitendoDir, tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as journal:
        found = os.fstat(journal.fileno())
        service = subprocess.Popen(
            [*installation.command, "-f", "start"],
            env=installation.environment() | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
            cwd=CHECKOUT,
            stderr=journal,
        )
        until(lambda: "up and running" in (tmp_path / "journal").read_text())
        service.terminate()
        service.wait(60)
    lines = (tmp_path / "journal").read_text().splitlines()
    assert lines[0] == "Starting up..."
    assert all(re.match(r"<[2-7]>\w", line) for line in lines[1:])


# --- through links -------------------------------------------------------------------------------


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    """The command as packages install it: a small program in a folder of programs."""
    program = tmp_path / "usr/bin/kivitendo-task-server"
    program.parent.mkdir(parents=True)
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n"
        "from kivitendo_task_server.cli.main import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    return program


def without_hints() -> dict[str, str]:
    """An environment that does not say where kivitendo is."""
    return {key: value for key, value in os.environ.items() if key != "KIVITENDO_DIR"}


def test_called_by_kivitendos_own_path(installation: KivitendoDir, executable: Path) -> None:
    """Weakness 11; the web interface calls scripts/task_server.pl, from anywhere (c.9)."""
    link = installation.path / "scripts/task_server.pl"
    link.symlink_to(executable)
    for words, output in (
        (["start"], "Starting kivitendo-background-jobs server\n"),
        (["status"], "kivitendo-background-jobs running - pid "),
        (["stop"], "Killing "),
    ):
        done = subprocess.run(
            [link, *words], cwd="/", env=without_hints(), capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(output)
        if words == ["status"]:
            assert f"kivitendo directory: {installation.path} (found by the path of" in done.stdout


def test_called_as_a_boot_link(
    installation: KivitendoDir, executable: Path, tmp_path: Path
) -> None:
    for folder, name, word in (("rc2.d", "S01kivitendo-task-server", "start"),
                               ("rc0.d", "K01kivitendo-task-server", "stop")):  # fmt: skip
        link = tmp_path / "etc" / folder / name
        link.parent.mkdir(parents=True)
        link.symlink_to(executable)
        done = subprocess.run(
            [link, word], cwd="/", env=installation.environment(), capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert not installation.pid_file.exists()


def test_the_web_interface_finds_a_service_whose_configuration_is_a_link(
    installation: KivitendoDir, tmp_path: Path
) -> None:
    """Weakness 10, and c.9: the interface looks for users/pid/config.kivitendo.conf.pid only."""
    usual = installation.path / "config/kivitendo.conf"
    real = tmp_path / "kivitendo-one.conf"
    shutil.move(usual, real)  # perhaps to another file system
    usual.symlink_to(real)
    assert installation.run("start").returncode == 0
    assert alive(installation.pid)
    for spelling in (str(real), "config/kivitendo.conf"):
        again = installation.run("start", "-c", spelling)
        assert "already running" in again.stdout


@pytest.mark.parametrize("name", ["Größe Öl", os.fsdecode(b"Gr\xfc\xdfe")])
def test_a_folder_of_any_name_in_any_locale(installation: KivitendoDir, name: str) -> None:
    """Boot scripts have the locale C; folders from the time of Latin-1 are no UTF-8."""
    folder = installation.path / name
    for part in list(installation.path.iterdir()):
        folder.mkdir(exist_ok=True)
        part.rename(folder / part.name)
    installation.path = folder
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environ = {**installation.environment(), **plain}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind(f"\0kivitendo-test-{os.getpid()}")
            told = {"NOTIFY_SOCKET": f"@kivitendo-test-{os.getpid()}"}
            assert installation.run("start", environ=environ | told).returncode == 0
            pid = installation.pid
            # the watch on the configuration has begun, too
            installation.configure("task_server", stop_timeout="5")
            until(lambda: "action=reloaded" in installation.log)
            installation.configure("task_server", stop_timeout="soon")
            assert installation.run("reload", environ=environ).returncode == 6
        status = installation.run("status", environ=environ)
        assert "the last reload failed" in status.stdout
        assert installation.pid == pid
        assert "internal error" not in installation.log
    finally:
        assert installation.run("stop", environ=environ).returncode == 0


# --- one job only --------------------------------------------------------------------------------


def test_run_job_ends_by_itself(installation: KivitendoDir) -> None:
    for words in (["debug", "--run-job=4711"], ["--run-job", "4711", "-f", "start"]):
        done = installation.run(*words)
        assert done.returncode == 0
        assert "job 4711 has run in 0 tenants" in done.stderr
        assert not installation.pid_file.exists()
    assert installation.run("start", "--run-job=4711").returncode == 0
    until(lambda: "job 4711 has run" in installation.log)
    until(lambda: not installation.pid_file.exists())
