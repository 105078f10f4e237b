"""Install, install again, uninstall on roots of many kinds; refusals leave nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kivitendo_task_server.errors import (
    ConfigurationError,
    NotInstalledError,
    TaskServerError,
)
from kivitendo_task_server.installer import adopt as adopting
from kivitendo_task_server.installer.boot import (
    PACKAGED_UNITS,
    UMBRELLA,
    packaged_umbrella,
    unit_name,
)
from kivitendo_task_server.installer.install import Options, install, uninstall
from kivitendo_task_server.installer.tree import FileError, Tree

from .conftest import CONFIGURED, FakeSystem
from .test_boot_files import COMMANDS

Make = Callable[..., FakeSystem]

UNIT = "/etc/systemd/system/kivitendo-task-server.service"
SCRIPT = "/etc/init.d/kivitendo-task-server"
SETTINGS = "/etc/kivitendo-task-server.conf"
MANIFEST = "/var/lib/kivitendo-task-server/manifest"


def installed(fake: FakeSystem, **options: object) -> list[str]:
    lines: list[str] = []
    install(replace(Options(root=fake.root), **options), COMMANDS, lines.append)  # type: ignore[arg-type]
    return lines


def uninstalled(fake: FakeSystem, *, purge: bool = False, dry_run: bool = False) -> list[str]:
    lines: list[str] = []
    uninstall(fake.root, lines.append, purge=purge, dry_run=dry_run)
    return lines


def test_systemd(system: Make) -> None:
    fake = system()
    lines = installed(fake)
    assert (fake.root / UNIT[1:]).stat().st_mode & 0o777 == 0o644
    assert fake.calls() == [
        "systemctl --root=ROOT enable kivitendo-task-server.service"
        " kivitendo-task-server@kivitendo.service"
    ]
    settings = fake.text(SETTINGS)
    for line in ("kivitendo_dir = /var/www/kivitendo-erp", "run_as = www-data",
                 "init = systemd", "instances = kivitendo"):  # fmt: skip
        assert line in settings.splitlines()
    assert "not started: this is not the running system" in lines
    assert any(line.startswith("distribution  debian (/etc/os-release") for line in lines)


def test_the_unit_of_a_package_is_not_written_again(system: Make) -> None:
    """It counts only as long as there is none in /etc, which is needed for another user."""
    fake = system("fedora")
    fake.file(f"{PACKAGED_UNITS}/{UMBRELLA}", packaged_umbrella("apache"))
    installed(fake)
    assert not (fake.root / UNIT[1:]).exists()
    assert fake.calls() == [f"systemctl --root=ROOT enable {UMBRELLA} {unit_name('kivitendo')}"]
    fake.program("systemd-sysusers")
    installed(fake, run_as="kivitendo")
    assert "\nUser=kivitendo\n" in fake.text(UNIT)
    installed(fake, run_as="apache")
    assert "\nUser=apache\n" in fake.text(UNIT)
    uninstalled(fake)
    assert not (fake.root / UNIT[1:]).exists()
    assert (fake.root / PACKAGED_UNITS[1:] / UMBRELLA).exists()


@pytest.mark.parametrize(
    ("distribution", "init", "call"),
    [
        ("debian", "sysv", "update-rc.d kivitendo-task-server defaults"),
        ("rocky", "sysv", "chkconfig --add kivitendo-task-server"),
        ("sles", "sysv", "chkconfig --add kivitendo-task-server"),
        ("debian", "openrc", "update-rc.d kivitendo-task-server defaults"),
        ("arch", "openrc", "rc-update add kivitendo-task-server default"),
    ],
)
def test_registration_with_what_the_system_has(
    system: Make, distribution: str, init: str, call: str
) -> None:
    fake = system(distribution, init=init)
    lines = installed(fake)
    assert fake.calls() == [call]
    assert any(line.endswith(f"{call}: ok") for line in lines)
    assert os.access(fake.root / SCRIPT[1:], os.X_OK)


def test_insserv_where_update_rc_d_does_not_call_it(
    system: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = system(init="sysv")
    fake.program("insserv")
    stand_in = tmp_path / "stand-ins/chroot"
    old = stand_in.read_text()
    # an update-rc.d that makes no links, as long as insserv is there to make them
    stand_in.write_text(old.replace("*update-rc.d*defaults*", "*' insserv '*"))
    installed(fake)
    assert fake.calls() == [
        "update-rc.d kivitendo-task-server defaults",
        "insserv kivitendo-task-server",
    ]


def test_upstart_needs_no_registration(system: Make) -> None:
    fake = system("ubuntu", init="upstart")
    installed(fake)
    assert fake.calls() == []
    assert "setuid www-data" in fake.text("/etc/init/kivitendo-task-server-instance.conf")


def test_a_failing_command_is_an_error_with_its_output(system: Make) -> None:
    fake = system(init="sysv", failing="*update-rc.d*")
    with pytest.raises(TaskServerError, match="failed with status 3: no such luck"):
        installed(fake)
    # what was written is known, so that it can be repeated or removed
    assert SCRIPT in fake.text(MANIFEST)


def test_installing_again_changes_nothing(system: Make) -> None:
    fake = system()
    installed(fake)
    before = fake.listing()
    lines = installed(fake)
    assert fake.listing() == before
    assert not [line for line in lines if line.startswith(("write", "update", "remove"))]


def test_what_an_administrator_disabled_stays_disabled(system: Make) -> None:
    """systemctl enable is called once; after it failed, again."""
    fake = system(failing="*enable*")
    with pytest.raises(TaskServerError, match="no such luck"):
        installed(fake)
    stand_in = fake.root.parent / "stand-ins/systemctl"
    stand_in.write_text(stand_in.read_text().replace("*enable*", "nothing"))
    fake.record.unlink()
    installed(fake)
    assert len(fake.calls()) == 1
    fake.record.unlink()
    installed(fake)
    assert fake.calls() == []
    uninstalled(fake)
    installed(fake)
    assert fake.calls()[-1].endswith("enable kivitendo-task-server.service"
                                     " kivitendo-task-server@kivitendo.service")  # fmt: skip


def test_a_log_that_is_rotated_already_is_left_alone(system: Make) -> None:
    fake = system()
    fake.file(
        "/etc/logrotate.d/kivitendo", "/var/www/kivitendo-erp/users/kivitendo-debug.log {\n}\n"
    )
    installed(fake)
    assert not (fake.root / "etc/logrotate.d/kivitendo-task-server").exists()


def test_dry_run_changes_nothing(system: Make) -> None:
    fake = system()
    before = fake.listing()
    lines = installed(fake, dry_run=True)
    assert fake.listing() == before
    assert fake.calls() == []
    assert f"write     {UNIT}" in lines
    assert lines[-1] == "nothing was changed (--dry-run)"
    installed(fake)
    before = fake.listing()
    assert f"remove    {UNIT}" in uninstalled(fake, dry_run=True)
    assert fake.listing() == before


def test_an_administrators_edit_is_kept_and_the_new_version_put_beside_it(system: Make) -> None:
    fake = system()
    installed(fake)
    edited = fake.text(UNIT).replace("[Install]", "# mine\n[Install]")
    fake.file(UNIT, edited)
    fake.configure("[authentication/database]\nhost = elsewhere\n[task_server]\nrun_as=daemon\n")
    fake.file("/etc/passwd", fake.text("/etc/passwd") + "daemon:x:5:33::/:/bin/false\n")
    lines = installed(fake)
    assert fake.text(UNIT) == edited
    assert "User=daemon" in fake.text(UNIT + ".dpkg-dist")
    assert "User=daemon" in fake.text(UNIT.replace(".service", "@.service"))  # not edited
    assert any("edited by the administrator" in line and UNIT in line for line in lines)
    before = fake.listing()
    installed(fake)
    assert fake.listing() == before


def test_an_edit_that_comes_to_the_same_is_none(system: Make) -> None:
    fake = system()
    installed(fake)
    text = fake.text(UNIT)
    fake.file(UNIT, text + "# mine\n")
    installed(fake)
    fake.file(UNIT, text)
    lines = installed(fake)
    assert not [line for line in lines if "edited" in line]
    assert not (fake.root / f"{UNIT[1:]}.dpkg-dist").exists()


def test_settings_keep_what_the_administrator_wrote(system: Make) -> None:
    fake = system()
    installed(fake)
    fake.file(SETTINGS, "# mine\n" + fake.text(SETTINGS) + "other = 1\n")
    fake.file("/etc/passwd", fake.text("/etc/passwd") + "kivi:x:77:33::/:/bin/false\n")
    installed(fake, run_as="kivi")
    text = fake.text(SETTINGS)
    assert text.startswith("# mine\n")
    assert "other = 1" in text
    assert "run_as = kivi" in text
    # and they count at the next installation
    installed(fake)
    assert "User=kivi\n" in fake.text(UNIT)


def test_uninstall_leaves_only_the_configuration_and_purge_nothing(system: Make) -> None:
    fake = system()
    before = fake.listing()
    installed(fake)
    uninstalled(fake)
    left = sorted(set(fake.listing()) - set(before))
    assert left == [SETTINGS[1:], MANIFEST[1:].rpartition("/")[0], MANIFEST[1:]]
    uninstalled(fake, purge=True)
    assert fake.listing() == before
    assert uninstalled(fake, purge=True) == ["nothing of ours is installed"]


@pytest.mark.parametrize(
    ("distribution", "init"),
    [("rocky", "sysv"), ("sles", "sysv"), ("ubuntu", "upstart"), ("debian", "openrc"),
     ("arch", "systemd")],
)  # fmt: skip
def test_purge_leaves_nothing_anywhere(system: Make, distribution: str, init: str) -> None:
    fake = system(distribution, init=init)
    before = fake.listing()
    installed(fake)
    uninstalled(fake, purge=True)
    assert fake.listing() == before


def test_uninstall_puts_edited_files_aside(system: Make) -> None:
    fake = system("fedora")
    before = fake.listing()
    installed(fake)
    fake.file(UNIT, "# all mine\n")
    lines = uninstalled(fake)
    assert not (fake.root / UNIT[1:]).exists()
    assert fake.text(UNIT + ".rpmsave") == "# all mine\n"
    assert any(line.startswith(f"put aside {UNIT}") for line in lines)
    uninstalled(fake, purge=True)
    assert fake.listing() == before


def test_uninstall_removes_nothing_of_others(system: Make) -> None:
    fake = system()
    installed(fake)
    drop_in = "/etc/systemd/system/kivitendo-task-server@.service.d/mine.conf"
    fake.file(drop_in, "[Service]\n")
    uninstalled(fake, purge=True)
    assert fake.text(drop_in) == "[Service]\n"


def test_another_init_system_replaces_the_old_boot_files(system: Make) -> None:
    fake = system(init="sysv")
    installed(fake)
    fake.program("systemctl")
    lines = installed(fake, init="systemd")
    assert not (fake.root / SCRIPT[1:]).exists()
    assert (fake.root / UNIT[1:]).exists()
    assert f"remove    {SCRIPT} (no longer needed)" in lines
    assert not (fake.root / "etc/rc2.d/S01kivitendo-task-server").is_symlink()


def refusal(fake: FakeSystem, expected: type[TaskServerError], **options: object) -> str:
    """The message of a refused installation, which must leave everything as it was."""
    before = fake.listing()
    with pytest.raises(expected) as raised:
        installed(fake, **options)
    assert fake.listing() == before
    assert fake.calls() == []
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_refuses_without_kivitendo(system: Make) -> None:
    fake = system()
    (fake.root / "var/www/kivitendo-erp").rename(fake.root / "elsewhere")
    message = refusal(fake, NotInstalledError)
    assert "no kivitendo directory found" in message
    assert "--kivitendo-dir" in message


def test_refuses_a_foreign_file_in_the_way(system: Make) -> None:
    fake = system()
    # the last of the files, so that the others would have been written before
    fake.file("/etc/logrotate.d/kivitendo-task-server", "# not ours\n")
    message = refusal(fake, FileError)
    assert "a file that is not ours is in the way" in message
    assert "/etc/logrotate.d/kivitendo-task-server" in message


def test_refuses_the_perl_servers_boot_script_and_names_the_way(system: Make) -> None:
    fake = system(init="sysv")
    fake.file(SCRIPT, "#!/bin/sh\nDAEMON=/var/www/kivitendo-erp/scripts/task_server.pl\n")
    assert "kivitendo-task-server adopt takes over" in refusal(fake, FileError)


@pytest.mark.parametrize("target", ["/etc/passwd", "/nowhere", "/dev/null"])
def test_refuses_a_symbolic_link_in_the_way(system: Make, target: str) -> None:
    fake = system()
    (fake.root / UNIT[1:]).symlink_to(target)
    assert "a symbolic link is in the way" in refusal(fake, FileError)


def test_refuses_a_strangers_link_on_the_way(system: Make) -> None:
    fake = system()
    (fake.root / "etc/systemd/system").rmdir()
    (fake.root / "etc/systemd/system").symlink_to("../../tmp")
    (fake.root / "tmp").mkdir()
    (fake.root / "etc/systemd").chmod(0o777)  # anybody could have put it there
    assert "put there by somebody else" in refusal(fake, FileError)
    (fake.root / "etc/systemd").chmod(0o755)
    installed(fake)  # the administrator's own link is followed
    assert (fake.root / "tmp/kivitendo-task-server.service").exists()


def test_links_do_not_lead_out_of_the_root(system: Make, tmp_path: Path) -> None:
    fake = system()
    outside = tmp_path / "outside"
    outside.mkdir()
    (fake.root / "etc/systemd/system").rmdir()
    (fake.root / "etc/systemd/system").symlink_to(f"/../../..{outside}")
    installed(fake)
    assert not list(outside.iterdir())
    assert (fake.root / str(outside).lstrip("/") / "kivitendo-task-server.service").exists()


def test_refuses_an_unknown_user(system: Make) -> None:
    message = refusal(system(), ConfigurationError, run_as="nobody-knows")
    assert "the user nobody-knows does not exist" in message


def test_a_user_made_for_the_service_stays_the_services(system: Make) -> None:
    """systemd-sysusers makes the user; later installations leave the file that says so."""
    fake = system("opensuse", version=254)
    fake.program("systemd-sysusers")
    assert "runs as       kivitendo (--run-as; is new)" in installed(fake, run_as="kivitendo")
    made = "/etc/sysusers.d/kivitendo-task-server.conf"
    assert f"systemd-sysusers {made}" in fake.calls()
    for file, line in (
        ("passwd", "kivitendo:x:499:499::/:/bin/false"),
        ("group", "kivitendo:x:499:"),
    ):
        with (fake.root / "etc" / file).open("a") as table:
            table.write(f"{line}\n")
    before = fake.listing()
    installed(fake)
    assert fake.listing() == before
    uninstalled(fake)
    assert not (fake.root / made.lstrip("/")).exists()


def test_refuses_an_unknown_init_system(system: Make) -> None:
    fake = system(init="sysv")
    fake.file("/sbin/runit-init")
    assert "the init system runit is not known" in refusal(fake, ConfigurationError)


@pytest.mark.parametrize(
    ("distribution", "init", "missing"),
    [("debian", "sysv", "update-rc.d, chkconfig, insserv"), ("arch", "openrc", "rc-update")],
)
def test_refuses_a_system_without_any_registration(
    system: Make, distribution: str, init: str, missing: str
) -> None:
    fake = system(distribution, init=init)
    (fake.root / "usr/sbin" / missing.partition(",")[0]).unlink()
    assert f"nothing here registers a boot file of {init}: no {missing}" in refusal(
        fake, ConfigurationError
    )
    installed(fake, enable=False)
    assert os.access(fake.root / SCRIPT[1:], os.X_OK)


def test_what_links_lead_to_decides_about_home(system: Make) -> None:
    """ProtectHome would shut the service out of its own directory, and of the documents."""
    fake = system()
    installed(fake)
    unit = UNIT.replace(".service", "@.service")
    assert "ProtectHome=yes" in fake.text(unit)
    (fake.root / "home/erp").mkdir(parents=True)
    (fake.root / fake.kivitendo[1:]).rename(fake.root / "home/erp/kivitendo")
    (fake.root / fake.kivitendo[1:]).symlink_to("/home/erp/kivitendo")
    fake.configure(CONFIGURED)
    installed(fake)
    assert "ProtectHome=read-only" in fake.text(unit)
    uninstalled(fake, purge=True)
    (fake.root / fake.kivitendo[1:]).unlink()
    (fake.root / "home/erp/kivitendo").rename(fake.root / fake.kivitendo[1:])
    fake.configure(CONFIGURED + "[paths]\ndocument_path = /home/erp/documents\n")
    installed(fake)
    assert "ProtectHome=read-only" in fake.text(unit)


def test_refuses_another_user_than_the_configurations(system: Make) -> None:
    """The service would be started as one, and could not change to the other."""
    fake = system()
    fake.file("/etc/passwd", fake.text("/etc/passwd") + "kivi:x:77:33::/:/bin/false\n")
    fake.configure("[task_server]\nrun_as = www-data\n")
    message = refusal(fake, ConfigurationError, run_as="kivi")
    assert "kivitendo.conf:2: [task_server] run_as" in message
    assert "--run-as kivi" in message
    installed(fake, run_as="www-data")


def test_what_was_written_is_taken_back_if_writing_fails(
    system: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full after the first files, which no check before can know."""
    fake = system()
    before = fake.listing()
    write, written = Tree.write, []

    def failing(self: Tree, path: str, content: bytes, **how: object) -> list[str]:
        if len(written) == 3:
            raise FileError("no space left on device", where=path)
        written.append(path)
        return write(self, path, content, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Tree, "write", failing)
    with pytest.raises(FileError, match="no space left"):
        installed(fake)
    monkeypatch.undo()
    assert len(written) == 3
    assert fake.listing() == before


def test_adopt_replaces_the_script_and_the_boot_script(system: Make) -> None:
    fake = system(init="sysv")
    perl = fake.file(SCRIPT, "#!/bin/sh\nDAEMON=/var/www/x/scripts/task_server.pl\n", 0o755)
    before = fake.listing()
    lines: list[str] = []
    adopting.adopt(Options(root=fake.root), COMMANDS, lines.append)
    assert fake.calls() == [
        "update-rc.d -f kivitendo-task-server remove",
        "update-rc.d kivitendo-task-server defaults",
    ]
    wrapper = fake.root / "var/www/kivitendo-erp/scripts/task_server.pl"
    assert "kivitendo-task-server adopt" in wrapper.read_text()
    assert os.access(wrapper, os.X_OK)
    assert "task_server.pl" not in perl.read_text()
    fake.record.unlink()
    adopting.undo(fake.root, lines.append, dry_run=False)
    uninstalled(fake, purge=True)
    (fake.root / "etc/rc2.d/S01kivitendo-task-server").unlink()  # of their script, again
    assert fake.listing() == before
    assert fake.calls() == [
        "update-rc.d kivitendo-task-server remove",
        "update-rc.d kivitendo-task-server defaults",
    ]


@pytest.mark.parametrize(
    ("init", "path", "text", "calls"),
    [
        ("systemd", "/etc/systemd/system/kivi-jobs.service",
         "[Service]\nExecStart=/var/www/kivitendo/scripts/task_server.pl start\n",
         ["systemctl --root=ROOT disable kivi-jobs.service",
          "systemctl --root=ROOT enable kivi-jobs.service"]),
        ("sysv", "/etc/init.d/kivi-jobs",
         '#!/bin/sh\nDAEMON="/var/www/kivitendo-erp/scripts/task_server.pl"\n',
         ["update-rc.d -f kivi-jobs remove", "update-rc.d kivi-jobs defaults"]),
    ],
)  # fmt: skip
def test_adopt_knows_a_boot_file_by_the_script_it_starts(
    system: Make, init: str, path: str, text: str, calls: list[str]
) -> None:
    """Whatever its name: it would start and stop the service at the same time as ours."""
    fake = system(init=init)
    (fake.root / "var/www/kivitendo").symlink_to("/var/www/kivitendo-erp")
    fake.file(path, text, 0o755)
    # neither what only mentions the script nor what starts that of another kivitendo
    folder = path.rpartition("/")[0]
    suffix = ".service" if init == "systemd" else ""
    fake.file(f"{folder}/backup{suffix}", "# /var/www/kivitendo-erp/scripts/task_server.pl\n"
              "ExecStart=/srv/kivitendo/scripts/task_server.pl stop\n")  # fmt: skip
    before = fake.listing()
    for _ in range(2):
        adopting.adopt(Options(root=fake.root), COMMANDS, print)
        assert fake.text(f"{path}.orig") == text
    assert calls[0] in fake.calls()
    adopting.undo(fake.root, print, dry_run=False)
    assert fake.calls()[-1] == calls[1]
    uninstalled(fake, purge=True)
    (fake.root / "etc/rc2.d/S01kivitendo-task-server").unlink(missing_ok=True)
    assert fake.listing() == before


def test_adopt_after_an_update_of_kivitendo_keeps_the_new_script(system: Make) -> None:
    fake = system()
    script = f"{fake.kivitendo}/scripts/task_server.pl"
    adopting.adopt(Options(root=fake.root), COMMANDS, print)
    fake.file(script, "#!/usr/bin/perl\n# newer\n", 0o755)
    adopting.adopt(Options(root=fake.root), COMMANDS, print)
    assert "newer" not in fake.text(script)
    adopting.undo(fake.root, print, dry_run=False)
    assert "newer" in fake.text(script)
    assert not (fake.root / script[1:]).with_suffix(".pl.orig").exists()


def test_undo_leaves_a_script_alone_that_is_kivitendos_again(system: Make) -> None:
    fake = system()
    script = f"{fake.kivitendo}/scripts/task_server.pl"
    adopting.adopt(Options(root=fake.root), COMMANDS, print)
    fake.file(script, "#!/usr/bin/perl\n# newer\n", 0o755)
    adopting.undo(fake.root, print, dry_run=False)
    assert "newer" in fake.text(script)
    assert not (fake.root / script[1:]).with_suffix(".pl.orig").exists()


def test_uninstall_undoes_adopt(system: Make) -> None:
    fake = system()
    before = fake.listing()
    adopting.adopt(Options(root=fake.root), COMMANDS, print)
    assert fake.calls()[1].endswith("enable kivitendo-task-server@kivitendo.path")
    uninstalled(fake, purge=True)
    assert fake.listing() == before
