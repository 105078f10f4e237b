"""Debian systems that have our apt repository, and the .deb in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from system.container import CLEAN_PATH, Container, Init, Spec, tree
from system.inside import CHECKOUT, DIRECTORY

NAME = "kivitendo-task-server"
OTHER = "/opt/kivitendo-erp"
SETTINGS = f"/etc/{NAME}.conf"
REPOSITORY = "/srv/repository"
OLDER = "0.8.0-1"
QUIET = {"DEBIAN_FRONTEND": "noninteractive"}
PACKAGES = ("debconf", "logrotate", "postgresql", "python3")
# Says what there is of our package, besides kivitendo's own directory and the tests' files.
FIND_OURS = (
    "sh", "-c",
    "find / \\( -path /proc -o -path /sys -o -path /dev -o -path /srv -o -path /tmp"
    # systemd removes a unit's own folder there when it finds the time
    " -o -path '/var/tmp/systemd-private-*'"
    f" -o -path /run/systemd -o -path {DIRECTORY} \\) -prune"
    f" -o -name '*kivitendo?task?server*' -print; debconf-show {NAME}",
)  # fmt: skip
# Not in the trees: apt finds them in the repository, and fetches them because our package needs
# them. autopkgtest is for its own test.
DOWNLOADED = (
    "autopkgtest", "python3-croniter", "python3-daemon", "python3-jinja2", "python3-psycopg2",
    "python3-pyinotify", "python3-tzlocal", "ucf",
)  # fmt: skip


def tool(name: str, *arguments: str | Path, checkout: Path = CHECKOUT, **options: object) -> str:
    """Run one of a checkout's tools; what it said."""
    done = subprocess.run(
        [checkout / "tools" / name, *arguments],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@dataclass(frozen=True)
class Packages:
    """The package of this checkout and an older one, and repositories with them."""

    folder: Path

    @property
    def deb(self) -> Path:
        """The package as tools/build-deb left it."""
        (found,) = (self.folder / "built").glob(f"{NAME}_*.deb")
        return found

    @property
    def version(self) -> str:
        """Of this checkout, as dpkg says it."""
        return self.deb.name.split("_")[1]

    def repository(self, base: Path) -> Path:
        """The repository for a tree: our package, the older one, and what Debian has to give."""
        pool = self.folder / base.name
        finished = pool / "repository/apt"
        if not finished.exists():
            pool.mkdir(exist_ok=True)
            for package in [self.deb, self.older(), *(base / "srv/downloaded").glob("*.deb")]:
                shutil.copy(package, pool)
            # the key is made in a home of its own
            tool("build-repo", "--packages", pool, env={**os.environ, "XDG_DATA_HOME": self.folder})
        return finished

    def older(self) -> Path:
        """The package with an older version, and a unit that has changed since."""
        older = self.folder / f"{NAME}_{OLDER}_all.deb"
        if not older.exists():
            files = self.folder / "older"
            subprocess.run(["dpkg-deb", "-R", self.deb, files], check=True)
            program = files / "usr/lib/python3/dist-packages/kivitendo_task_server"
            _replace(files / "DEBIAN/control", "\nVersion: ", f"\nVersion: {OLDER}\nX-Was: ")
            _replace(program / "__init__.py", '__version__ = "', '__version__ = "0.8.0" # "')
            unit = program / "templates/boot/systemd/kivitendo-task-server@.service.j2"
            _replace(unit, "RestartPreventExitStatus=", "# older\nRestartPreventExitStatus=")
            subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", files, older],
                           check=True, capture_output=True)  # fmt: skip
        return older


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path}: {old!r}"
    path.write_text(text.replace(old, new))


def base_of(suite: str, init: Init) -> Path:
    """The tree of a Debian without our dependencies."""
    return tree(Spec(suite, init, PACKAGES, DOWNLOADED))


@contextmanager
def booted(packages: Packages, suite: str, init: Init) -> Iterator[Container]:
    """A running Debian that has our repository as its only source."""
    base = base_of(suite, init)
    with Container(base) as machine:
        add_repository(machine.root, packages.repository(base))
        machine.run("apt-get", "-q", "update")
        yield machine


def add_repository(root: Path, repository: Path) -> None:
    """Put the repository into a system, and nothing else among apt's sources."""
    subprocess.run(["cp", "-r", repository, f"{root}{REPOSITORY}"], check=True)
    sources = root / "etc/apt"
    for old in [sources / "sources.list", *(sources / "sources.list.d").iterdir()]:
        old.unlink(missing_ok=True)
    line = f"deb [signed-by={REPOSITORY}/{NAME}.gpg] file:{REPOSITORY} ./\n"
    (sources / "sources.list").write_text(line)


def apt(machine: Container, *words: str, environment: dict[str, str] | None = None) -> str:
    """apt-get without questions; both of its outputs."""
    done = machine.run(
        "apt-get", "-q", "-y", "--no-install-recommends", *words,
        environment={**QUIET, **(environment or {})},
    )  # fmt: skip
    return done.stdout + done.stderr


def clean(machine: Container) -> None:
    """Without our package, kivitendo and databases again; what our package needs stays."""
    apt(machine, "purge", NAME)
    machine.shell(f"rm -rf {DIRECTORY} {OTHER} /srv/make_site.py /srv/tree")
    machine.run("service", "postgresql", "start")
    drop = "SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE datname NOT IN"
    machine.shell(
        f"""echo "{drop} ('postgres', 'template0', 'template1') \\gexec
        DROP ROLE IF EXISTS kivitendo" | runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1""",
        cwd="/",
    )


def make_site(machine: Container, directory: str = DIRECTORY) -> None:
    """A kivitendo with two tenants and orders that are due; needs our package inside."""
    machine.write("/srv/make_site.py", (CHECKOUT / "debian/tests/make_site.py").read_bytes())
    machine.run("service", "postgresql", "start")
    machine.run("python3", "/srv/make_site.py", directory)


def make_folder(machine: Container, directory: str) -> None:
    """What looks like a kivitendo, without a configuration."""
    machine.write(f"{directory}/config/kivitendo.conf.default", "[task_server]\n")
    machine.write(f"{directory}/SL/System/TaskServer.pm", "1;\n")
    machine.shell(f"mkdir -p {directory}/users && chown www-data {directory}/users")


def query(machine: Container, statement: str, database: str = "muster") -> str:
    """Ask the container's PostgreSQL."""
    return machine.run(
        "psql", "-X", "-q", "-A", "-t", "-d", database, "-c", statement, user="postgres", cwd="/"
    ).stdout.strip()


def invoices(machine: Container) -> int:
    """How many invoices the first tenant has."""
    return int(query(machine, "SELECT count(*) FROM ar"))


def running(machine: Container, instance: str = "kivitendo") -> bool:
    """Whether an instance says that it runs."""
    file = f"{DIRECTORY}/config/{instance}.conf"
    return machine.run(NAME, "-c", file, "status", check=False).returncode == 0


def pid(machine: Container, instance: str = "kivitendo") -> str:
    """The process that an instance is, by its PID file."""
    return machine.run("cat", f"{DIRECTORY}/users/pid/config.{instance}.conf.pid").stdout.strip()


def failing_package(machine: Container, name: str, *fields: str) -> str:
    """A package that cannot be installed; its path inside."""
    folder = machine.root / "srv" / name
    (folder / "DEBIAN").mkdir(parents=True)
    control = (
        f"Package: {name}", "Version: 99", "Architecture: all",
        "Maintainer: nobody <no@example.org>", *fields, "Description: its preinst fails",
    )  # fmt: skip
    (folder / "DEBIAN/control").write_text("\n".join(control) + "\n")
    preinst = folder / "DEBIAN/preinst"
    preinst.write_text("#!/bin/sh\nexit 1\n")
    preinst.chmod(0o755)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", folder, f"{folder}.deb"],
                   check=True, capture_output=True)  # fmt: skip
    return f"/srv/{name}.deb"


def version(machine: Container) -> str:
    """The version that dpkg has installed."""
    shown = ("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Version}", NAME)
    return machine.run(*shown).stdout


def system_python(path: Path) -> dict[str, str]:
    """The environment for Debian's own programs: no Python of a version manager."""
    return {"PATH": CLEAN_PATH, "HOME": str(path), "LC_ALL": "C.UTF-8"}
