"""How Fedora and openSUSE read the spec, which cannot be had here; stand-ins for their macros."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from kivitendo_task_server.installer.installation import _WEB_USERS

RPM = Path(__file__).parents[2] / "rpm"
SPEC = RPM / "kivitendo-task-server.spec"

# a macro's stand-in is a comment that names it: it is seen where it is used, and good shell
COMMON = {
    name: f"# {name}" for name in ("pyproject_wheel", "pyproject_install", "systemd_ordering")
}
MACROS = {
    "fedora": COMMON | {
        "fedora": "43", "dist": ".fc43", "python3_sitelib": "/usr/lib/python3.14/site-packages",
        "__python3": "/usr/bin/python3", "pyproject_buildrequires": "# pyproject_buildrequires",
        "pyproject_files": "/pyproject-files", "pyproject_save_files": "# pyproject_save_files",
        "_localstatedir": "/var", "_sysusersdir": "/usr/lib/sysusers.d",
        "_tmpfilesdir": "/usr/lib/tmpfiles.d",
    },
    "opensuse": COMMON | {
        "suse_version": "1699", "python3_sitelib": "/usr/lib/python3.13/site-packages",
        "__python3": "/usr/bin/python3", "tmpfiles_create": "# tmpfiles_create",
        "_localstatedir": "/var", "_tmpfilesdir": "/usr/lib/tmpfiles.d",
    },
    "debian": {},
}  # fmt: skip


def rendered(distribution: str) -> str:
    """The spec as that distribution's rpm sees it."""
    argv = ["rpmspec", "-P", str(SPEC)]
    for name, value in MACROS[distribution].items():
        argv += ["--define", f"{name} {value}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def section(text: str, name: str) -> str:
    """One section of a spec."""
    found = re.search(rf"^%{name}\b.*?\n(.*?)(?=^%(?!defattr|doc|dir|config|license|lang)\w)",
                      text + "\n%end\n", re.M | re.S)  # fmt: skip
    assert found, name
    return found[1]


def test_fedora() -> None:
    text = rendered("fedora")
    for macro in "pyproject_buildrequires", "pyproject_wheel", "pyproject_install":
        assert f"# {macro}\n" in text
    assert "# pyproject_save_files" in section(text, "install")
    assert "setup.py" not in text
    # rpm's own generator knows what is required
    assert not re.search(r"^Requires:", text, re.M)
    assert "%files -f /pyproject-files" in text
    assert "/usr/lib/sysusers.d/kivitendo-task-server.conf" in section(text, "files")
    assert not re.search(r"^Group:", text, re.M)


def test_the_user_on_fedora_is_the_installers() -> None:
    lines = (RPM / "kivitendo-task-server.sysusers").read_text().splitlines()
    (line,) = [line for line in lines if not line.startswith("#")]
    kind, user, number, *_ = line.split()
    assert (kind, number) == ("u", "48")
    assert user == _WEB_USERS["redhat"][0]


def test_opensuse() -> None:
    text = rendered("opensuse")
    assert "# pyproject_wheel\n" in text  # rpmspec leaves out the name of the section after %prep
    assert re.search(r"^Group: +System/Daemons$", text, re.M)
    assert re.search(rf"^Requires: +user\({_WEB_USERS['suse'][0]}\)$", text, re.M)
    assert re.search(r"^Requires: +python3dist\(psycopg2\) >= 2.9$", text, re.M)
    assert "sysusers.d" not in text
    assert "/etc/sysconfig/services" in section(text, "pre")
    assert "# tmpfiles_create /usr/lib/tmpfiles.d/kivitendo-task-server.conf" in text


def test_opensuse_requires_all_that_setup_names() -> None:
    names = set(
        re.findall(r"^Requires: +\(?python3dist\(([a-z0-9-]+)\)", rendered("opensuse"), re.M)
    )
    setup = (SPEC.parents[1] / "setup.py").read_text()
    (listed,) = re.findall(r"install_requires=\[(.*?)\]", setup, re.S)
    assert names == set(re.findall(r'"([a-z0-9-]+)', listed))


@pytest.mark.parametrize("distribution", MACROS)
@pytest.mark.parametrize("name", ["pre", "post", "posttrans", "preun"])
def test_scripts_are_sound(distribution: str, name: str) -> None:
    script = section(rendered(distribution), name)
    assert script.rstrip().endswith("exit 0")
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("distribution", MACROS)
def test_files_of_every_distribution(distribution: str) -> None:
    text = rendered(distribution)
    files = section(text, "files")
    assert "%config(noreplace) /etc/kivitendo-task-server.conf\n" in files
    assert "/tmpfiles.d/kivitendo-task-server.conf\n" in files
    assert "%dir /var/lib/kivitendo-task-server\n" in files
    assert "systemctl enable" not in text


def test_opensuse_administrators_may_forbid_restarts(tmp_path: Path) -> None:
    """The script itself, with a systemctl that writes down its calls."""
    services = tmp_path / "services"
    calls = tmp_path / "calls"
    stopped = tmp_path / "stopped"
    (tmp_path / "systemctl").write_text(
        f'#!/bin/sh\necho "$1" >>{calls}\n'
        '[ "$1" = stop ] || echo "kivitendo-task-server@a.service x"\n'
    )
    (tmp_path / "systemctl").chmod(0o755)
    script = section(rendered("opensuse"), "pre")
    for here, there in (
        ("/etc/sysconfig/services", services), ("/run/systemd/system", tmp_path),
        ("/run/kivitendo-task-server.stopped-for-upgrade", stopped),
    ):  # fmt: skip
        script = script.replace(here, str(there))

    def run(installed: int) -> str:
        calls.write_text("")
        subprocess.run(["sh", "-e", "-c", script, "sh", str(installed)], check=True,
                       env={"PATH": f"{tmp_path}:/usr/bin:/bin"})  # fmt: skip
        return calls.read_text()

    assert run(1) == ""  # a first installation
    assert run(2) == "list-units\nstop\n"
    assert stopped.read_text() == "kivitendo-task-server@a.service\n"
    services.write_text('DISABLE_RESTART_ON_UPDATE="yes"\n')
    assert run(2) == ""
