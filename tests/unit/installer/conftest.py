"""Roots of systems that are not there: enough of Debian, Fedora … for the installer to see them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kivitendo_task_server.installer.host import inside

OS_RELEASE = {
    "debian": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
    "ubuntu": "ID=ubuntu\nID_LIKE=debian\n",
    "fedora": "ID=fedora\nVERSION_ID=41\n",
    "rocky": 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
    "opensuse": 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n',
    "sles": 'ID="sles"\nID_LIKE="suse"\n',
    "arch": "ID=arch\n",
}
WEB_USERS = {
    "debian": "www-data", "ubuntu": "www-data", "fedora": "apache", "rocky": "apache",
    "opensuse": "wwwrun", "sles": "wwwrun", "arch": "http",
}  # fmt: skip

DEFAULTS = """\
# delivered with kivitendo
[authentication/database]
host = localhost
port = 5432
db = kivitendo_auth
user = postgres
password =

[paths]
document_path = /srv/documents
spool = spool

[debug]
file_name = users/kivitendo-debug.log

[mail_delivery]
method = smtp

[task_server]
run_as =
"""

# What runs on the "host" only writes down its arguments, and makes the links whose absence is told.
STAND_IN = """\
#!/bin/sh
echo "$(basename "$0") $*" >>"{record}"
case "$*" in
*update-rc.d*defaults*)
    ln -sf ../init.d/kivitendo-task-server "{root}/etc/rc2.d/S01kivitendo-task-server" ;;
*update-rc.d*remove*) rm -f "{root}/etc/rc2.d/S01kivitendo-task-server" ;;
esac
case "$*" in {failing}) echo "no such luck" >&2; exit 3 ;; esac
"""


@dataclass
class FakeSystem:
    """A root directory, and the record of what was called on it."""

    root: Path
    record: Path
    distribution: str = "debian"
    kivitendo: str = "/var/www/kivitendo-erp"
    links: list[str] = field(default_factory=list)

    def file(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        """Make a file with the directories above it."""
        place = inside(self.root, "/" + path.lstrip("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
        return place

    def program(self, name: str) -> None:
        """Make the system have a program; it is not run, the one on PATH is."""
        self.file(f"/usr/sbin/{name}", "#!/bin/sh\n", 0o755)

    def text(self, path: str) -> str:
        """The content of a file."""
        return inside(self.root, path).read_text()

    def calls(self) -> list[str]:
        """What was called so far, without the path of the root."""
        if not self.record.exists():
            return []
        lines = self.record.read_text().replace(str(self.root), "ROOT").splitlines()
        return [line.replace("chroot ROOT ", "") for line in lines]

    def listing(self) -> dict[str, str]:
        """Every file with its content, every directory and link; to see what changed."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            else:
                found[name] = "directory" if path.is_dir() else path.read_text()
        return found

    def configure(self, text: str) -> None:
        """kivitendo's own configuration."""
        self.file(f"{self.kivitendo}/config/kivitendo.conf", text)


CONFIGURED = "[authentication/database]\npassword = secret\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeSystem]:
    """Makes a fake system: ``system("fedora", init="sysv")``."""

    def make(
        distribution: str = "debian", *, init: str = "systemd", version: int = 252,
        configured: bool = True, failing: str = "nothing",
    ) -> FakeSystem:  # fmt: skip
        fake = FakeSystem(tmp_path / "root", tmp_path / "record", distribution)
        _base(fake, WEB_USERS[distribution])
        _init(fake, init, version)
        stand_ins = tmp_path / "stand-ins"
        stand_ins.mkdir()
        for name in ("chroot", "systemctl"):
            (stand_ins / name).write_text(
                STAND_IN.format(record=fake.record, root=fake.root, failing=failing)
            )
            (stand_ins / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{stand_ins}:{os.environ['PATH']}")
        if configured:
            fake.configure(CONFIGURED)
        return fake

    return make


def _base(fake: FakeSystem, web_user: str) -> None:
    fake.file("/etc/os-release", OS_RELEASE[fake.distribution])
    uid, gid = os.geteuid(), os.getegid()
    fake.file("/etc/passwd", f"root:x:0:0:root:/root:/bin/sh\n{web_user}:x:33:33::/:/bin/false\n"
              + (f"tester:x:{uid}:{gid}::/:/bin/sh\n" if uid else ""))  # fmt: skip
    fake.file("/etc/group", f"root:x:0:\n{web_user}:x:33:\n")
    fake.file("/usr/bin/kivitendo-task-server", "#!/usr/bin/python3\n", 0o755)
    fake.file(f"{fake.kivitendo}/config/kivitendo.conf.default", DEFAULTS)
    fake.file(f"{fake.kivitendo}/scripts/task_server.pl", "#!/usr/bin/perl\n", 0o755)
    fake.file(f"{fake.kivitendo}/SL/System/TaskServer.pm", "1;\n")
    folders = ["etc/logrotate.d", "var/lib", "run"]
    if fake.distribution == "debian":
        folders += ["usr/share/bash-completion/completions", "usr/share/zsh/vendor-completions"]
    if fake.distribution == "fedora":
        folders += ["usr/share/zsh/site-functions"]
    for folder in folders:
        (fake.root / folder).mkdir(parents=True)


def _init(fake: FakeSystem, init: str, version: int) -> None:
    if init == "systemd":
        fake.file("/usr/lib/systemd/systemd", mode=0o755)
        fake.file(f"/usr/lib/systemd/libsystemd-shared-{version}.so")
        fake.file("/usr/lib/systemd/system/postgresql.service")
        (fake.root / "sbin").mkdir()
        (fake.root / "sbin/init").symlink_to("/lib/systemd/systemd")
        (fake.root / "etc/systemd/system").mkdir(parents=True)
        fake.program("systemctl")
        return
    (fake.root / "etc/init.d").mkdir(parents=True)
    (fake.root / "etc/rc2.d").mkdir()
    if init == "sysv":
        fake.file("/etc/inittab", "id:2:initdefault:\n")
        fake.program("update-rc.d" if fake.distribution in ("debian", "ubuntu") else "chkconfig")
    elif init == "upstart":
        fake.file("/sbin/initctl", mode=0o755)
        (fake.root / "etc/init").mkdir()
    elif init == "openrc":
        fake.file("/sbin/openrc", mode=0o755)
        fake.program("update-rc.d" if fake.distribution == "debian" else "rc-update")
