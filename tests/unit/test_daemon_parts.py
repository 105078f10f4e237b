"""Small parts of the daemon room: the supervisor in the environment, the unit we are in, files."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
from pathlib import Path

import pytest

from kivitendo_task_server.daemon.notify import Notifier
from kivitendo_task_server.daemon.pidfile import PidFile
from kivitendo_task_server.daemon.privileges import become
from kivitendo_task_server.daemon.process import foreign_unit
from kivitendo_task_server.daemon.report import Report, path_for, read
from kivitendo_task_server.errors import ControlError
from kivitendo_task_server.replacing import replace_file


@pytest.mark.parametrize(
    ("variables", "interval"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_meant_for_us_only_if_it_says_so(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], interval: float | None
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Notifier.from_environment().watchdog_interval == interval
    assert not {"WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ), "children must not see it"


def test_a_supervisor_that_is_gone_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for address in (str(tmp_path / "gone"), "@nobody-listens", "vsock:2:1234", ""):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notifier = Notifier.from_environment()
        assert "NOTIFY_SOCKET" not in os.environ
        notifier.ready("text")
        notifier.reloading()
        notifier.stopping("text")


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/apache2.service\n", "apache2.service"),
        ("9:name=systemd:/system.slice/apache2.service\n8:pids:/\n0::/\n", "apache2.service"),
        ("0::/system.slice/kivitendo-task-server.service\n", None),
        ("0::/system.slice/kivitendo-task-server@one.service\n", None),
        ("0::/user.slice/user-0.slice/session-3.scope\n", None),
        ("0::/\n", None),
    ],
)
def test_whose_unit_we_are_in(cgroups: str, unit: str | None) -> None:
    """Weakness 14: started from the web interface, it dies with the web server."""
    assert foreign_unit(cgroups) == unit


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)  # such a file system cannot be had here
    with pytest.raises(ControlError, match="No locks available"):
        PidFile.acquire(tmp_path / "x.pid")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": 7}', "\x00", '{"pid": "7"}'])
def test_a_broken_status_file_is_no_status_file(tmp_path: Path, content: str) -> None:
    path_for(tmp_path / "x.pid").write_text(content)
    assert read(tmp_path / "x.pid", 7) is None


@pytest.mark.parametrize(
    "value",
    ['"stop_timeout": "60"', '"stop_timeout": Infinity', '"tenants": []', '"reloads": null'],
)
def test_a_status_file_with_nonsense_in_it_is_none(tmp_path: Path, value: str) -> None:
    sound = '"pid": 7, "kivitendo_dir": "/", "found_by": "", "config_file": "", "version": ""'
    path_for(tmp_path / "x.pid").write_text(f"{{{sound}, {value}}}")
    assert read(tmp_path / "x.pid", 7) is None
    path_for(tmp_path / "x.pid").write_text(f"{{{sound}}}")
    assert read(tmp_path / "x.pid", 7) is not None


def test_the_status_of_another_process_is_not_ours(tmp_path: Path) -> None:
    content = '{"pid": 8, "kivitendo_dir": "/", "found_by": "", "config_file": "", "version": ""}'
    path_for(tmp_path / "x.pid").write_text(content)
    assert read(tmp_path / "x.pid", 7) is None
    assert isinstance(read(tmp_path / "x.pid", 8), Report)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: becoming another user needs root")
def test_a_file_that_cannot_be_replaced_leaves_no_draft(tmp_path: Path) -> None:
    in_the_way = tmp_path / "one.status"
    in_the_way.mkdir()
    with pytest.raises(OSError):
        replace_file(in_the_way, "{}")
    assert list(tmp_path.iterdir()) == [in_the_way]


def test_the_environment_is_the_users_and_there_is_no_way_back(tmp_path: Path) -> None:
    """Weakness 13: HOME, USER and the groups stay root's in the original."""
    account = _user_with_groups()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.environ.update(HOME="/root", USER="root", LOGNAME="root", XDG_RUNTIME_DIR="/run/root")
        os.setgroups([0, 4])
        become(account, where="test")
        try:
            os.setuid(0)
            back = True
        except PermissionError:
            back = False
        told = {name: os.environ.get(name) for name in ("HOME", "USER", "LOGNAME")}
        told |= {"runtime": os.environ.get("XDG_RUNTIME_DIR"), "back": back}
        os.write(writing, json.dumps(told | {"groups": os.getgroups()}).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = json.load(pipe)
    os.waitpid(child, 0)
    groups = told.pop("groups")
    assert set(groups) == set(os.getgrouplist(account.pw_name, account.pw_gid))
    assert told == {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "runtime": None,
        "back": False,
    }


def _user_with_groups() -> pwd.struct_passwd:
    """A user that has supplementary groups, if the system knows one."""
    groups = {user: os.getgrouplist(user.pw_name, user.pw_gid) for user in pwd.getpwall()}
    several = [user for user, its in groups.items() if user.pw_uid and len(set(its)) > 1]
    return several[0] if several else pwd.getpwnam("nobody")
