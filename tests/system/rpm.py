"""Our package, repositories for dnf, and trees in which dnf installs from them.

The systems are Debian's, as nothing else can be had here, and call themselves Fedora or openSUSE;
an RPM ``debian-tree`` tells dnf what is really in them, with the true versions.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from system.apt import tool
from system.container import Container, Spec, tree
from system.inside import PACKAGES

NAME = "kivitendo-task-server"
REPOSITORY = "/srv/repository"
FEDORA = Spec("bookworm", "systemd", (*PACKAGES, "dnf", "rpm"))
MACROS = Path(__file__).parent / "macros"

DEBIAN_TREE = """\
Name: debian-tree
Version: 12
Release: 1
Summary: What a Debian tree holds
License: MIT
BuildArch: noarch
AutoReqProv: no
{provides}
%description
For tests: tells dnf what dpkg has installed.
%install
install -d %{{buildroot}}/usr/lib/python3/dist-packages
echo {site_packages} >%{{buildroot}}/usr/lib/python3/dist-packages/debian-tree.pth
%files
/usr/lib/python3/dist-packages/debian-tree.pth
"""

# What the Python of the tree can import, by the names and versions that rpm's generators use.
PROVIDES = """
import importlib.metadata as metadata, re, sys
python = "%d.%d" % sys.version_info[:2]
print("python3 = " + sys.version.split()[0])
print("python(abi) = " + python)
print("/usr/bin/python3\\n/bin/sh")
for each in metadata.distributions():
    name = re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower()
    for of in python, "3":  # openSUSE's asks for the second
        print(f"python{of}dist({name}) = {each.version}")
"""


def make_repositories(folder: Path, place: Path, keys: Path) -> None:
    """From the packages in ``folder``; signed with a key that is made and kept in ``keys``.

    ``first`` has the package as built on Debian, with the spec's own fallbacks; ``second`` the one
    built as on Fedora, which is newer by its release; ``debian`` what the tree holds.
    """
    place.chmod(0o755)
    for name, packages in ("first", folder), ("second", built_as("fedora", folder)):
        tool("build-repo", "--packages", packages, "--output", place / name,
             env={**os.environ, "XDG_DATA_HOME": str(keys)})  # fmt: skip
    _build_debian_tree(place / "debian", folder)


def built_as(distribution: str, folder: Path) -> Path:
    """Build the source package with the macros of a distribution; the folder of the package."""
    (source,) = folder.glob("*.src.rpm")
    command("rpmbuild", "--rebuild", "--nodeps", "--nocheck",
            "--load", str(MACROS / distribution),
            "--define", f"_topdir {folder}/{distribution}", str(source))  # fmt: skip
    return folder / distribution / "RPMS/noarch"


def _build_debian_tree(place: Path, work: Path) -> None:
    """The repository with the package that tells what is in the tree."""
    machine = Container(tree(FEDORA))
    machine.mount()
    try:
        provides = machine.chroot("python3", "-c", PROVIDES).stdout.splitlines()
    finally:
        machine.unmount()
    python = next(line.split()[2] for line in provides if line.startswith("python(abi)"))
    spec = work / "debian-tree.spec"
    spec.write_text(DEBIAN_TREE.format(
        provides="\n".join(f"Provides: {line}" for line in provides),
        site_packages=f"/usr/lib/python{python}/site-packages",
    ))  # fmt: skip
    place.mkdir()
    command("rpmbuild", "-bb", "--define", f"_topdir {work}/tree", "--define", f"_rpmdir {place}",
            str(spec))  # fmt: skip
    command("createrepo_c", "--quiet", str(place))


def command(*argv: str, check: bool = True, **environment: str) -> str:
    """Run a command of this machine; both of its outputs."""
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


def make_fedora(machine: Container, repositories: Path) -> None:
    """Have the tree call itself Fedora and know our repositories."""
    call_it(machine, "fedora")
    subprocess.run(["cp", "-r", repositories, f"{machine.root}{REPOSITORY}"], check=True)
    for name in ("first", "second"):
        put(machine, f"/etc/yum.repos.d/{name}.repo", repository_file(name))
    put(machine, "/etc/yum.repos.d/debian.repo",
        f"[debian]\nname=debian\nbaseurl=file://{REPOSITORY}/debian\ngpgcheck=0\n")  # fmt: skip


def call_it(machine: Container, distribution: str) -> None:
    """So that the installer takes it for one of that family; nothing is enabled by itself there."""
    release = machine.root / "usr/lib/os-release"
    release.write_text(re.sub("(?m)^ID=.*$", f"ID={distribution}", release.read_text()))
    put(machine, "/usr/lib/systemd/system-preset/99-default-disable.preset", "disable *\n")


def repository_file(name: str) -> str:
    """What build-repo says to write, with all signatures checked."""
    place = f"file://{REPOSITORY}/{name}/dnf"
    enabled = int(name == "first")
    return (
        f"[{name}]\nname={name}\nbaseurl={place}\nenabled={enabled}\ngpgcheck=1\nrepo_gpgcheck=1\n"
        f"gpgkey={place}/RPM-GPG-KEY-{NAME}\n"
    )


def put(machine: Container, path: str, text: str, mode: int = 0o644) -> None:
    """Make a file in a tree that does not run."""
    place = machine.root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)


def dnf(machine: Container, *words: str) -> str:
    """dnf without questions; both of its outputs."""
    done = machine.run(
        "dnf", "-y", "--releasever=12", "--setopt=install_weak_deps=False", *words, check=False
    )
    said: str = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "scriptlet failed" not in said
    return said


def dnf_from_outside(machine: Container, repositories: list[Path], *words: str) -> str:
    """This machine's dnf on the tree; the packages' scripts run inside."""
    argv = ["dnf", "-y", f"--installroot={machine.root}", "--releasever=12", "--refresh",
            "--setopt=reposdir=/nonexistent", "--setopt=install_weak_deps=False"]  # fmt: skip
    for number, place in enumerate(repositories):
        key = place / f"RPM-GPG-KEY-{NAME}"
        argv += [f"--repofrompath={number},file://{place}",
                 f"--setopt={number}.gpgcheck={int(key.exists())}",
                 f"--setopt={number}.gpgkey=file://{key}"]  # fmt: skip
    said = command(*argv, *words)
    assert "scriptlet failed" not in said, said
    return said
