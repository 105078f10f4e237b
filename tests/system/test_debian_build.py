"""What Debian's own checkers say about the package, and how it is built."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from system.apt import (
    NAME,
    OLDER,
    Packages,
    add_repository,
    base_of,
    system_python,
    tool,
)  # fmt: skip
from system.container import Container
from system.inside import CHECKOUT

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("debian")]


def copy_of_checkout(folder: Path) -> Path:
    """Another checkout of the same, without what is not versioned; its files are of now."""
    checkout = folder / "checkout"
    shutil.copytree(CHECKOUT, checkout, copy_function=shutil.copy, ignore=shutil.ignore_patterns(
        ".git", ".venv", "dist", "build", "__pycache__", ".*cache", ".hypothesis", "*.egg-info",
    ))  # fmt: skip
    return checkout


def test_two_builds_are_identical(packages: Packages, tmp_path: Path) -> None:
    """Other times of the files, another time zone, umask, and no lists of apt: no bit changes."""
    checkout = copy_of_checkout(tmp_path)
    subprocess.run(["find", checkout, "-name", "*.py", "-exec", "touch", "-d", "2001-01-01", "{}",
                    "+"], check=True)  # fmt: skip
    tool("build-deb", "--output", tmp_path / "out", checkout=checkout, cwd="/",
         env={**os.environ, "TZ": "Asia/Tokyo", "APT_CONFIG": str(other_apt(packages, tmp_path))},
         umask=0o077)  # fmt: skip
    built = packages.deb.parent
    # the others tell when and where it was built
    names = sorted(path.name for path in built.iterdir()
                   if path.suffix not in (".buildinfo", ".changes"))  # fmt: skip
    assert {Path(name).suffix for name in names} == {".deb", ".dsc", ".gz", ".xz"}
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (built / name).read_bytes(), name


def test_lintian_finds_nothing(packages: Packages, tmp_path: Path) -> None:
    (changes,) = packages.deb.parent.glob("*.changes")
    done = subprocess.run(
        ["lintian", "--allow-root", "--profile", "debian", "--display-level", ">=warning",
         "--fail-on", "error,warning", changes],
        capture_output=True, text=True, check=False, env=system_python(tmp_path),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_contents(packages: Packages) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", packages.deb], capture_output=True, text=True,
                            check=True).stdout  # fmt: skip
    for path in (
        f"usr/bin/{NAME}", f"usr/share/man/man8/{NAME}.8.gz", f"usr/share/man/de/man8/{NAME}.8.gz",
        f"usr/share/doc/{NAME}/README.Debian",
        "usr/lib/python3/dist-packages/kivitendo_task_server/templates/boot/sysv/common.j2",
    ):  # fmt: skip
        assert f" ./{path}\n" in listed
    archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", packages.deb], capture_output=True,
                             check=True).stdout  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        stored = files.extractfile(f"./usr/share/man/man8/{NAME}.8.gz")
        assert stored is not None
        page = gzip.decompress(stored.read()).decode()
    assert ".SH SYNOPSIS" in page  # the English one


def test_a_dependency_without_a_package_becomes_one(tmp_path: Path) -> None:
    """py2dsc-deb makes it from the source distribution that pip finds."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "kts_little.py").write_text("ANSWER = 42\n")
    (library / "setup.py").write_text(
        "from setuptools import setup\n"
        "setup(name='kts-little', version='1.2', description='a little library',"
        " long_description='It knows an answer.', author='nobody', author_email='no@example.org',"
        " py_modules=['kts_little'])\n"
    )
    environment = {**system_python(tmp_path), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path),
                   "PIP_NO_BUILD_ISOLATION": "0"}  # fmt: skip
    subprocess.run(["python3", "setup.py", "-q", "sdist", "-d", tmp_path], cwd=library, check=True,
                   capture_output=True, env=environment)  # fmt: skip
    checkout = copy_of_checkout(tmp_path)
    setup = checkout / "setup.py"
    setup.write_text(
        setup.read_text().replace("install_requires=[", 'install_requires=["kts-little",')
    )
    said = tool("build-deb", "--output", tmp_path / "out", checkout=checkout, env=environment)
    assert "kts-little is no package here" in said
    (made,) = (tmp_path / "out").glob("python3-kts-little_1.2-1_all.deb")
    files = subprocess.run(["dpkg-deb", "-c", made], capture_output=True, text=True, check=True)
    assert "./usr/lib/python3/dist-packages/kts_little.py" in files.stdout
    (ours,) = (tmp_path / "out").glob(f"{NAME}_*.deb")
    depends = subprocess.run(["dpkg-deb", "-f", ours, "Depends"], capture_output=True, text=True,
                             check=True).stdout  # fmt: skip
    assert "python3-kts-little" in depends


def other_apt(packages: Packages, folder: Path, *more: str) -> Path:
    """The configuration of an apt that has our repository as its only source, and no lists yet."""
    for name in ("etc", "lists/partial", "cache"):
        (folder / name).mkdir(parents=True)
    repository = packages.repository(base_of("bookworm", "systemd"))
    line = f"deb [signed-by={repository}/{NAME}.gpg] file:{repository} ./\n"
    (folder / "etc/sources.list").write_text(line)
    settings = (f'Dir::Etc "{folder}/etc"', f'Dir::State::lists "{folder}/lists"',
                'Dir::State::status "/dev/null"', f'Dir::Cache "{folder}/cache"',
                'APT::Sandbox::User "root"', *more)  # fmt: skip
    file = folder / "apt.conf"
    file.write_text("".join(f"{setting};\n" for setting in settings))
    return file


def test_the_repository_serves_every_architecture(packages: Packages, tmp_path: Path) -> None:
    """An apt for arm64 verifies it, and finds our package but none of amd64."""
    arm64 = ('APT::Architecture "arm64"', 'APT::Architectures "arm64"')
    configuration = other_apt(packages, tmp_path, *arm64)

    def ask(*argv: str) -> str:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False,
            env={**system_python(tmp_path), "APT_CONFIG": str(configuration)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    ask("apt-get", "update", "--error-on=any")
    assert f"Candidate: {packages.version}" in ask("apt-cache", "policy", NAME)
    assert "Candidate: (none)" in ask("apt-cache", "policy", "python3-psycopg2")


@pytest.mark.parametrize(
    ("options", "passed"),
    [
        (("--no-upgrade-test", "--install-remove-install"), "Installation and purging test"),
        (("--no-install-purge-test",), "Installation, upgrade and purging tests"),
    ],
    ids=["installed-again", "upgraded"],
)
def test_piuparts(
    packages: Packages, tmp_path: Path, options: tuple[str, ...], passed: str
) -> None:
    """Installed, removed and installed again, or upgraded, then purged: nothing is left over."""
    base = base_of("bookworm", "systemd")
    machine = Container(base)
    machine.mount()
    try:
        add_repository(machine.root, packages.repository(base))
        # what piuparts upgrades is what apt installs by the name
        pin = f"Package: {NAME}\nPin: version {OLDER}\nPin-Priority: 1001\n"
        (machine.root / "etc/apt/preferences.d/older").write_text(pin)
        done = subprocess.run(
            ["piuparts", "--existing-chroot", machine.root, "--keep-sources-list",
             "--distribution", "stable", "--no-eatmydata", *options, "--tmpdir", tmp_path,
             packages.deb],
            capture_output=True, text=True, check=False, env=system_python(tmp_path),
        )  # fmt: skip
    finally:
        machine.unmount()
    assert done.returncode == 0, done.stdout[-6000:]
    assert f"PASS: {passed}." in done.stdout
    upgraded = f"Unpacking {NAME} ({packages.version}) over ({OLDER})"
    assert (upgraded in done.stdout) == ("--no-upgrade-test" not in options)
