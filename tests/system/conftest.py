"""What the system tests share: the programs they need, this checkout as wheel and as package."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from system import rpm
from system.apt import Packages, tool
from system.inside import build_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Root on Debian has had them installed by tools/test: a missing one must not go unnoticed."""
    wanted = ("mmdebstrap", "systemd-nspawn", "lintian", "piuparts", "dpkg-deb", "zsh",
              "rpmbuild", "rpmlint", "dnf", "createrepo_c")  # fmt: skip
    missing = [name for name in wanted if not shutil.which(name)]
    if missing:
        pytest.fail(f"not installed: {', '.join(missing)} (tools/test installs what is needed)")


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """The Debian package of this checkout, by tools/build-deb."""
    folder = tmp_path_factory.mktemp("debian")
    tool("build-deb", "--output", folder / "built")
    return Packages(folder)


@pytest.fixture(scope="session")
def rpm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The RPM and the source RPM of this checkout, by tools/build-rpm."""
    folder = tmp_path_factory.mktemp("rpm")
    said = tool("build-rpm", "--output", folder)
    assert re.search(r"^build-rpm: %check: \d{3,} passed", said, re.M), said
    return folder


@pytest.fixture(scope="session")
def repositories(rpm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repositories for dnf: folders ``first``, ``second`` and ``debian``."""
    place = tmp_path_factory.mktemp("repositories")
    rpm.make_repositories(rpm_folder, place, tmp_path_factory.mktemp("keys"))
    return place
