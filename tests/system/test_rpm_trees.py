"""The RPM in trees that do not run: images of systems that are being made."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from kivitendo_fixture import DEFAULTS

from system.container import Container, tree
from system.inside import DIRECTORY
from system.rpm import FEDORA, NAME, built_as, call_it, command, dnf_from_outside, put

UNITS = "etc/systemd/system"

SYSTEM_USER = """\
Name: system-user-wwwrun
Version: 1
Release: 1
Summary: As openSUSE's package of this name
License: MIT
BuildArch: noarch
Provides: user(wwwrun) group(www)
%description
For tests. Its system-user-wwwrun.conf has: g www; u wwwrun; m wwwrun www.
%pre
groupadd -r www
useradd -r -U -G www wwwrun
%files
"""


@pytest.fixture
def root(repositories: Path) -> Iterator[Container]:
    """A tree with a kivitendo that is configured."""
    machine = Container(tree(FEDORA))
    machine.mount()
    try:
        call_it(machine, "fedora")
        put(machine, f"{DIRECTORY}/config/kivitendo.conf.default", DEFAULTS)
        put(machine, f"{DIRECTORY}/config/kivitendo.conf",
            "[authentication/database]\nuser = kivitendo\npassword = kivitendo\n")  # fmt: skip
        put(machine, f"{DIRECTORY}/SL/System/TaskServer.pm", "1;\n")
        machine.chroot("install", "-d", "-o", "www-data", f"{DIRECTORY}/users")
        yield machine
    finally:
        machine.unmount()


@pytest.fixture
def ours(repositories: Path) -> list[Path]:
    """What dnf is told to install from."""
    return [repositories / "first/dnf", repositories / "debian"]


def test_into_a_tree_with_systemd(root: Container, ours: list[Path]) -> None:
    """An image is made: enabled, as the configuration is valid, and not started."""
    said = dnf_from_outside(root, ours, "install", NAME)
    assert "not started: systemd does not run here" in said, said
    units = root.root / UNITS
    assert (units / f"multi-user.target.wants/{NAME}.service").is_symlink()
    assert (units / f"{NAME}.service.wants/{NAME}@kivitendo.service").is_symlink()
    dnf_from_outside(root, ours, "remove", NAME)
    assert [path.name for path in (root.root / "etc").rglob(f"*{NAME}*")] == [
        f"{NAME}.conf.rpmsave"
    ]


@pytest.mark.parametrize("name", ["first", "second"])
def test_nothing_is_enabled_without_a_valid_configuration(
    root: Container, repositories: Path, name: str
) -> None:
    """Neither by our installer nor, with the package as built on Fedora, by the family's macros."""
    ours = [repositories / name / "dnf", repositories / "debian"]
    put(root, f"{DIRECTORY}/config/kivitendo.conf", "[task_server]\nmax_parallel_tenants = many\n")
    said = dnf_from_outside(root, ours, "install", NAME)
    assert "not enabled and not started: there is no valid configuration yet" in said
    assert list((root.root / UNITS).rglob(f"*.wants/{NAME}*")) == []


def test_into_a_tree_of_opensuses(root: Container, rpm_folder: Path, repositories: Path) -> None:
    """Its own package, whose user another package brings, with real dependencies."""
    call_it(root, "opensuse-tumbleweed")
    packages = built_as("opensuse", rpm_folder)
    user = rpm_folder / "system-user-wwwrun.spec"
    user.write_text(SYSTEM_USER)
    command("rpmbuild", "-bb", "--define", f"_topdir {rpm_folder}/user",
            "--define", f"_rpmdir {packages}", str(user))  # fmt: skip
    command("createrepo_c", "--quiet", str(packages))
    root.chroot("chown", "root", f"{DIRECTORY}/users")
    sources = [packages, repositories / "debian"]
    said = dnf_from_outside(root, sources, "install", NAME)
    assert "system-user-wwwrun" in said
    # the packaged unit is just what the installer would have written
    packaged = root.root / f"usr/lib/systemd/system/{NAME}.service"
    assert re.search("^User=wwwrun$", packaged.read_text(), re.M)
    assert not (root.root / f"{UNITS}/{NAME}.service").exists()
    unit = (root.root / f"{UNITS}/{NAME}@.service").read_text()
    assert re.search("^User=wwwrun$", unit, re.M)
    assert re.search("^Group=wwwrun$", unit, re.M)  # the other one is added by systemd
    enabled = root.root / f"{UNITS}/multi-user.target.wants/{NAME}.service"
    assert enabled.is_symlink()
    dnf_from_outside(root, sources, "reinstall", NAME)
    assert enabled.is_symlink()  # only a new unit is set to its preset
    dnf_from_outside(root, sources, "remove", NAME)
    assert list((root.root / UNITS).rglob(f"{NAME}*")) == []
    assert not packaged.exists()


def test_what_nobody_signed_is_refused(
    root: Container, rpm_folder: Path, repositories: Path, tmp_path: Path
) -> None:
    place = tmp_path / "unsigned"
    shutil.copytree(repositories / "first/dnf", place)
    (package,) = rpm_folder.glob("*.noarch.rpm")
    shutil.copy(package, place)
    command("createrepo_c", "--quiet", str(place))
    with pytest.raises(AssertionError, match=r"Package kivitendo-task-server.* is not signed"):
        dnf_from_outside(root, [place, repositories / "debian"], "install", NAME)
    assert not (root.root / f"usr/bin/{NAME}").exists()


def test_a_repository_that_somebody_changed_is_refused(
    root: Container, repositories: Path, tmp_path: Path
) -> None:
    """Its index is signed as well: no package can be left out or brought back."""
    place = tmp_path / "changed"
    shutil.copytree(repositories / "first/dnf", place)
    checked = [place], "--setopt=0.repo_gpgcheck=1", "--setopt=0.skip_if_unavailable=0"
    assert NAME in dnf_from_outside(root, *checked, "repoquery", NAME)
    index = place / "repodata/repomd.xml"
    index.write_text(index.read_text().replace("<revision>", "<revision>1"))
    with pytest.raises(AssertionError, match=r"repomd\.xml GPG signature verification error"):
        dnf_from_outside(root, *checked, "repoquery", NAME)


def test_what_is_missing_is_named(root: Container, repositories: Path) -> None:
    """The libraries are required: without what provides them there is no installation."""
    with pytest.raises(
        AssertionError, match=r"nothing provides python3.\d+dist\(croniter\) >= 1.3"
    ):
        dnf_from_outside(root, [repositories / "first/dnf"], "install", NAME)
