"""Roots that are not running: images and chroots; what Debian's checkers say of the boot script."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.container import Container, Spec, tree
from system.inside import CHECKOUT, DIRECTORY, PACKAGES

NAME = "kivitendo-task-server"


@pytest.fixture
def image(request: pytest.FixtureRequest) -> Iterator[Container]:
    """A tree of an init system with a kivitendo and our program, not booted."""
    container = Container(tree(Spec("bookworm", request.param, PACKAGES)))
    container.mount()
    try:
        kivitendo = container.root / DIRECTORY.lstrip("/")
        (kivitendo / "config").mkdir(parents=True)
        (kivitendo / "config/kivitendo.conf.default").write_text("[task_server]\n")
        program = container.root / "usr/bin/kivitendo-task-server"
        program.write_text("#!/usr/bin/python3\n")
        program.chmod(0o755)
        yield container
    finally:
        container.unmount()


def installed(image: Container, *words: str) -> str:
    """Run our command outside, on the image."""
    done = subprocess.run(
        [sys.executable, "-m", "kivitendo_task_server", *words, "--root", image.root],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def links(image: Container) -> set[str]:
    found = (image.root / "etc").rglob(f"*{NAME}*")
    return {str(path.relative_to(image.root)) for path in found if path.is_symlink()}


@pytest.mark.parametrize("image", ["systemd"], indirect=True)
def test_an_image_with_systemd(image: Container) -> None:
    output = installed(image, "install")
    assert "not started: this is not the running system" in output
    assert links(image) == {
        f"etc/systemd/system/multi-user.target.wants/{NAME}.service",
        f"etc/systemd/system/{NAME}.service.wants/{NAME}@kivitendo.service",
    }
    # systemd of the image itself sees no fault in the units
    verified = image.chroot("systemd-analyze", "verify", f"{NAME}.service",
                            f"{NAME}@kivitendo.service", check=False)  # fmt: skip
    assert NAME not in verified.stderr
    installed(image, "uninstall", "--purge")
    assert links(image) == set()
    assert not list((image.root / "etc").rglob(f"*{NAME}*"))


@pytest.mark.parametrize("image", ["sysvinit"], indirect=True)
def test_an_image_with_sysvinit(image: Container, tmp_path: Path) -> None:
    installed(image, "install")
    starts = {link for link in links(image) if "/S" in link}
    assert {link.split("/")[1] for link in starts} == {"rc2.d", "rc3.d", "rc4.d", "rc5.d"}
    script = (image.root / "etc/init.d" / NAME).read_text()
    assert init_script_tags(script, tmp_path) == []
    # and the checker is one that finds something
    broken = script.replace("### BEGIN INIT INFO", "#").replace("force-reload", "forced")
    assert {"init.d-script-missing-lsb-section",
            "init.d-script-does-not-implement-required-option"} <= {
        tag.split()[2] for tag in init_script_tags(broken, tmp_path)
    }  # fmt: skip
    installed(image, "uninstall", "--purge")
    assert links(image) == set()


def init_script_tags(script: str, folder: Path) -> list[str]:
    """What lintian says of an init script, in a package that holds nothing else."""
    package = folder / "package"
    for name in ("DEBIAN", "etc/init.d"):
        (package / name).mkdir(parents=True, exist_ok=True)
    path = package / "etc/init.d" / NAME
    path.write_text(script)
    path.chmod(0o755)
    (package / "DEBIAN/conffiles").write_text(f"/etc/init.d/{NAME}\n")
    (package / "DEBIAN/control").write_text(
        f"Package: {NAME}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\n"
        "Section: admin\nPriority: optional\nDescription: a script\n that is checked\n"
    )
    for hook, action in (("postinst", "defaults"), ("postrm", "remove")):
        text = f"#!/bin/sh\nset -e\nupdate-rc.d {NAME} {action} >/dev/null\n"
        (package / "DEBIAN" / hook).write_text(text)
        (package / "DEBIAN" / hook).chmod(0o755)
    path_env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", package, folder / "checked.deb"],
                   check=True, capture_output=True, env=path_env)  # fmt: skip
    told = subprocess.run(
        ["lintian", "--allow-root", "--no-tag-display-limit", folder / "checked.deb"],
        capture_output=True, text=True, check=False, env=path_env,
    )  # fmt: skip
    assert "cannot run" not in told.stderr, told.stderr
    tags = [line for line in told.stdout.splitlines() if line[:2] in ("E:", "W:")]
    # of the script, not of the package around it
    return [tag for tag in tags if tag.split()[2].startswith(("init.d-script", "script-in-etc"))]
