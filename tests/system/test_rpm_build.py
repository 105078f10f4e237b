"""tools/build-rpm and what it makes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from system.inside import CHECKOUT
from system.rpm import NAME, command

BUILD_RPM = CHECKOUT / "tools/build-rpm"


def test_no_complaints_of_rpmlint(rpm_folder: Path) -> None:
    ours = CHECKOUT / "rpm" / NAME
    found = command(
        "rpmlint", "-r", f"{ours}.rpmlintrc", f"{ours}.spec", *map(str, rpm_folder.glob("*.rpm"))
    )
    assert re.search(r"2 packages and 1 specfiles checked; 0 errors, 0 warnings", found), found


def test_the_same_again_bit_for_bit(rpm_folder: Path, tmp_path: Path) -> None:
    """Whatever the environment is like, with the program's tests or without."""
    command("sh", "-c", f"umask 077; {BUILD_RPM} --without-check --output {tmp_path}",
            TZ="Asia/Tokyo", LANG="de_DE.UTF-8", HOME="/root/x", SOURCE_DATE_EPOCH="5")  # fmt: skip
    names = sorted(path.name for path in rpm_folder.glob("*.rpm"))
    assert names == sorted(path.name for path in tmp_path.glob("*.rpm"))
    for name in names:
        assert (rpm_folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_same_elsewhere(rpm_folder: Path, tmp_path: Path) -> None:
    """From a copy without git; only the source RPM holds the directory."""
    copy = tmp_path / "copy"
    shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns(
        ".git", ".venv", ".cache", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info",
        "__pycache__"))  # fmt: skip
    command(f"{copy}/tools/build-rpm", "--without-check")
    (package,) = rpm_folder.glob("*.noarch.rpm")
    assert (copy / "dist" / package.name).read_bytes() == package.read_bytes()


@pytest.mark.parametrize("name", ["build-rpm", "build-repo"])
def test_what_can_be_asked_is_told(name: str) -> None:
    shown = refused(0, CHECKOUT / "tools" / name, "--help")
    options = re.findall(r"^  (--[a-z-]+)( [A-Z]+)?", shown, re.M)
    assert len(options) >= 3
    for option, value in options:
        if value:
            said = refused(2, CHECKOUT / "tools" / name, option)
            assert said.startswith(f"{name}: {option} needs a{value.lower()}\n")
    said = refused(2, CHECKOUT / "tools" / name, "--outptu")
    assert said.startswith(f"{name}: not an option: --outptu\nusage: {name} ")


def test_the_spec_must_be_about_this_version(tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "tools", tmp_path / "tools")
    shutil.copytree(CHECKOUT / "rpm", tmp_path / "rpm")
    (tmp_path / "kivitendo_task_server").mkdir()
    (tmp_path / "kivitendo_task_server/__init__.py").write_text('__version__ = "9.8.7"\n')
    said = refused(1, tmp_path / "tools/build-rpm", "--without-check")
    assert "the program is 9.8.7: change Version and add an entry to %changelog" in said


def test_a_repository_needs_packages(tmp_path: Path) -> None:
    build_repo = CHECKOUT / "tools/build-repo"
    assert "run tools/build-deb or tools/build-rpm first" in refused(
        1, build_repo, "--packages", str(tmp_path)
    )
    assert f"no such directory: {tmp_path}/none" in refused(
        1, build_repo, "--packages", f"{tmp_path}/none"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_key_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "some.noarch.rpm").touch()
    said = refused(1, CHECKOUT / "tools/build-repo", "--packages", tmp_path, "--key", "0xDEADBEEF")
    assert "build-repo: your gpg has no secret key 0xDEADBEEF" in said


def test_no_agent_of_gpg_goes_on_running(
    rpm_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The key that was made is used again, and the repository signed with it."""
    home = tmp_path_factory.mktemp("gpg")  # the name of a socket in it must not be too long
    for _ in range(2):
        command(str(CHECKOUT / "tools/build-repo"), "--packages", str(rpm_folder),
                "--output", str(home / "repository"), XDG_DATA_HOME=str(home))  # fmt: skip
    keys = home / "kivitendo-task-server/gnupg"
    assert command("pgrep", "-f", f"gpg-agent --homedir {keys}", check=False) == ""
    index = home / "repository/dnf/repodata/repomd.xml"
    said = command("gpg", "--homedir", str(keys), "--verify", f"{index}.asc", str(index))
    assert "Good signature" in said
    assert command("gpg", "--homedir", str(keys), "--list-keys").count("\npub ") == 1


def refused(status: int, *argv: str | Path) -> str:
    """What a command says that ends with this status at once."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == status, done.stdout
    return done.stdout
