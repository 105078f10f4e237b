"""Host detection: distribution, init system, kivitendo, user, database, program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kivitendo_task_server.errors import ConfigurationError, NotInstalledError
from kivitendo_task_server.installer import host as hosts
from kivitendo_task_server.installer.installation import Installation, examine, find_directory

from .conftest import CONFIGURED, DEFAULTS, FakeSystem

Make = Callable[..., FakeSystem]


@pytest.mark.parametrize(
    ("distribution", "family", "evidence"),
    [
        ("debian", "debian", "/etc/os-release: ID=debian"),
        ("ubuntu", "debian", "/etc/os-release: ID=ubuntu"),
        ("fedora", "redhat", "/etc/os-release: ID=fedora"),
        ("rocky", "redhat", "/etc/os-release: ID_LIKE=rhel centos fedora"),
        ("opensuse", "suse", "/etc/os-release: ID=opensuse-leap"),
        ("sles", "suse", "/etc/os-release: ID=sles"),
        ("arch", "arch", "/etc/os-release: ID=arch"),
    ],
)
def test_family_by_os_release(system: Make, distribution: str, family: str, evidence: str) -> None:
    found = hosts.detect(system(distribution).root).family
    assert (found.value, found.evidence) == (family, evidence)


def test_unknown_distribution_is_named(system: Make) -> None:
    fake = system()
    fake.file("/etc/os-release", "ID=beos\nID_LIKE=haiku\n")
    with pytest.raises(ConfigurationError, match="ID=beos, ID_LIKE=haiku"):
        hosts.detect(fake.root)


@pytest.mark.parametrize("init", ["systemd", "sysv", "upstart", "openrc"])
def test_init_of_an_image_is_what_is_installed(system: Make, init: str) -> None:
    host = hosts.detect(system("ubuntu", init=init).root)
    assert host.init.value == init
    assert not host.init_runs
    assert host.systemd_version == (252 if init == "systemd" else 0)


@pytest.mark.parametrize(
    ("traces", "expected", "evidence"),
    [
        ({"run/systemd/system/.": ""}, "systemd", "/run/systemd/system exists"),
        ({"run/openrc/softlevel": ""}, "openrc", "/run/openrc exists"),
        ({"proc/1/comm": "init\n"}, "sysv", "process 1 is init"),
        ({"proc/1/comm": "init\n", "sbin/initctl": ""}, "upstart",
         "process 1 is init, and /sbin/initctl exists"),
    ],
)  # fmt: skip
def test_what_runs_counts_more_than_what_is_installed(
    system: Make, traces: dict[str, str], expected: str, evidence: str
) -> None:
    fake = system(init="systemd")
    for path, text in traces.items():
        if path.endswith("/."):
            (fake.root / path).mkdir(parents=True)
        else:
            fake.file(path, text)
    host = hosts.detect(fake.root, live=True)
    assert (host.init.value, host.init.evidence) == (expected, evidence)
    assert host.init_runs


def test_process_1_of_a_container_is_no_init_system(system: Make) -> None:
    fake = system(init="systemd")
    fake.file("/proc/1/comm", "bash\n")
    host = hosts.detect(fake.root, live=True)
    assert host.init.value == "systemd"
    assert not host.init_runs


def test_unknown_init_system_is_refused(system: Make) -> None:
    fake = system(init="sysv")
    fake.file("/proc/1/comm", "runit\n")
    with pytest.raises(ConfigurationError, match=r"init system runit is not known \(process 1"):
        hosts.detect(fake.root, live=True)
    assert hosts.detect(fake.root, init="sysv", live=True).init.evidence == "--init sysv"


def test_no_init_system_at_all(system: Make) -> None:
    fake = system(init="none")
    with pytest.raises(ConfigurationError, match="no init system found"):
        hosts.detect(fake.root)


def test_program_of_another_root_must_be_installed_there(system: Make) -> None:
    fake = system()
    assert hosts.executable(fake.root, "/x").value == "/usr/bin/kivitendo-task-server"
    (fake.root / "usr/bin/kivitendo-task-server").unlink()
    with pytest.raises(NotInstalledError):
        hosts.executable(fake.root, "/usr/bin/kivitendo-task-server")


def test_program_in_a_virtual_environment(tmp_path: Path) -> None:
    program = tmp_path / "venv/bin/kivitendo-task-server"
    program.parent.mkdir(parents=True)
    program.touch()
    found = hosts.executable(Path("/"), str(program))
    assert found.value == str(program)
    # a link in front of it may go
    link = tmp_path / "kivitendo-task-server"
    link.symlink_to(program)
    found = hosts.executable(Path("/"), str(link))
    assert (found.value, found.evidence) == (str(program), f"where {link} leads to")


def examined(fake: FakeSystem, run_as: str | None = None) -> Installation:
    host = hosts.detect(fake.root)
    directory = find_directory(fake.root, None, None)
    return examine(fake.root, directory, host.family.value, run_as)


def test_kivitendo_is_found_in_a_usual_place(system: Make) -> None:
    found = examined(system())
    assert found.directory.value == "/var/www/kivitendo-erp"
    assert found.default_instance == "kivitendo"
    assert found.problem is None


def test_no_kivitendo(system: Make) -> None:
    fake = system()
    (fake.root / "var/www").rename(fake.root / "var/elsewhere")
    with pytest.raises(NotInstalledError, match="no kivitendo directory found"):
        find_directory(fake.root, None, None)
    assert find_directory(fake.root, "/var/elsewhere/kivitendo-erp", None).value
    with pytest.raises(NotInstalledError, match="not a kivitendo directory"):
        find_directory(fake.root, "/var/elsewhere", None)


def test_two_kivitendos_must_be_chosen_from(system: Make) -> None:
    fake = system()
    fake.file("/opt/kivitendo/config/kivitendo.conf.default")
    with pytest.raises(ConfigurationError, match="/var/www/kivitendo-erp, /opt/kivitendo"):
        find_directory(fake.root, None, None)
    assert find_directory(fake.root, None, "/opt/kivitendo").value == "/opt/kivitendo"


def test_a_link_to_kivitendo_is_not_a_second_one(system: Make) -> None:
    fake = system()
    (fake.root / "var/www/kivitendo").symlink_to("kivitendo-erp")
    assert find_directory(fake.root, None, None).value == "/var/www/kivitendo-erp"


@pytest.mark.parametrize(
    ("distribution", "user"),
    [("debian", "www-data"), ("fedora", "apache"), ("sles", "wwwrun"), ("arch", "http")],
)
def test_web_servers_user(system: Make, distribution: str, user: str) -> None:
    found = examined(system(distribution)).user
    assert found.value.name == found.value.group == user
    assert found.value.uid == 33


def test_run_as_of_the_configuration_comes_first(system: Make) -> None:
    fake = system()
    fake.file("/etc/passwd", fake.text("/etc/passwd") + "kivi:x:77:33::/:/bin/false\n")
    fake.configure(CONFIGURED + "[task_server]\nrun_as = kivi\n")
    found = examined(fake).user
    assert (found.value.name, found.value.uid, found.value.group) == ("kivi", 77, "www-data")
    assert found.evidence.endswith("kivitendo.conf:4: [task_server] run_as")


def test_never_as_root(system: Make) -> None:
    with pytest.raises(ConfigurationError, match="must not run as root"):
        examined(system(), run_as="root")


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("", True), ("/run/postgresql", True),
     ("db.example.com", False), ("10.0.0.7", False)],
)  # fmt: skip
def test_database_local_or_remote(system: Make, host: str, local: bool) -> None:
    fake = system()
    fake.configure(f"[authentication/database]\nhost = {host}\npassword = x\n")
    found = examined(fake).database_is_local
    assert found.value is local
    assert "kivitendo.conf:2: [authentication/database] host" in found.evidence


def test_without_configuration_the_problem_is_said(system: Make) -> None:
    found = examined(system(configured=False))
    assert found.default_instance is None
    assert "kivitendo is not configured yet" in str(found.problem)


def test_write_paths_come_from_the_configuration(system: Make) -> None:
    fake = system()
    fake.configure(CONFIGURED + "[debug]\nfile_name = /var/log/kivitendo/debug.log\n")
    assert examined(fake).write_paths == (
        "/var/www/kivitendo-erp/users",
        "/var/www/kivitendo-erp/spool",
        "/var/www/kivitendo-erp/webdav",
        "/srv/documents",
        "/var/log/kivitendo",
    )


def test_paths_of_units_have_no_parent_directory_in_them(
    system: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd refuses such a path."""
    fake = system()
    fake.file("/srv/big/kivitendo/config/kivitendo.conf.default", DEFAULTS)
    (fake.root / "srv/kivitendo").symlink_to("big/kivitendo")
    settings = "[debug]\nfile_name = ../log/debug.log\n[paths]\ndocument_path = ../../documents\n"
    fake.file("/srv/big/kivitendo/config/kivitendo.conf", CONFIGURED + settings)
    named = find_directory(fake.root, "/srv/../srv/kivitendo", None)
    assert named.value == "/srv/big/kivitendo"
    directory = find_directory(fake.root, "/srv/kivitendo", None)
    assert directory.value == "/srv/kivitendo"  # links may be meant to be switched
    found = examine(fake.root, directory, "debian", None)
    assert found.write_paths[-2:] == ("/srv/documents", "/srv/big/log")
    assert found.log_file == "/srv/big/log/debug.log"
    # on the running system the path may be relative
    monkeypatch.chdir(fake.root / "srv/big/kivitendo")
    here = find_directory(Path("/"), "../../kivitendo", None)
    assert here.value == str((fake.root / "srv/big/kivitendo").resolve())


def test_a_path_that_would_break_out_of_a_unit_is_refused(system: Make) -> None:
    fake = system()
    fake.configure(CONFIGURED + '[paths]\ndocument_path = /srv/"x\n')
    with pytest.raises(ConfigurationError, match="boot scripts cannot hold"):
        examined(fake)
