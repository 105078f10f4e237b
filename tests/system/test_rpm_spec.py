"""How Fedora and openSUSE, which cannot be had here, read the spec.

Their macros are stand-ins, in the folder ``macros``.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from kivitendo_task_server.installer.installation import _WEB_USERS

RPM = Path(__file__).parents[2] / "rpm"
SPEC = RPM / "kivitendo-task-server.spec"
UNIT = "kivitendo-task-server.service"

# Files of macros, each of which names itself in a comment: it is seen where it was used.
MACROS = {
    "fedora": Path(__file__).parent / "macros/fedora",
    "opensuse": Path(__file__).parent / "macros/opensuse",
    "debian": None,
}


def rendered(distribution: str) -> str:
    """The spec as that distribution's rpm sees it."""
    file = MACROS[distribution]
    argv = ["rpmspec", *(["--load", str(file)] if file else []), "--define", f"_sourcedir {RPM}"]
    done = subprocess.run([*argv, "-P", str(SPEC)], capture_output=True, text=True, check=False)
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
    assert re.search("^%files -f .*/pyproject-files$", text, re.M)
    assert "/usr/lib/sysusers.d/kivitendo-task-server.conf" in section(text, "files")
    assert not re.search(r"^Group:", text, re.M)


def test_the_user_on_fedora_is_the_installers() -> None:
    lines = (RPM / "kivitendo-task-server.sysusers").read_text().splitlines()
    (line,) = [line for line in lines if not line.startswith("#")]
    kind, user, number, *_ = line.split()
    assert (kind, number) == ("u", "48")
    assert user == _WEB_USERS["redhat"][0]
    assert line in section(rendered("fedora"), "pre")
    assert f'packaged_umbrella("{user}")' in section(rendered("fedora"), "install")


def test_opensuse() -> None:
    text = rendered("opensuse")
    assert "# pyproject_wheel\n" in text  # rpmspec leaves out the name of the section after %prep
    assert re.search(r"^Group: +System/Daemons$", text, re.M)
    assert re.search(rf"^Requires: +user\({_WEB_USERS['suse'][0]}\)$", text, re.M)
    assert f'packaged_umbrella("{_WEB_USERS["suse"][0]}")' in section(text, "install")
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
@pytest.mark.parametrize("name", ["pre", "post", "posttrans", "preun", "postun"])
def test_scripts_are_sound(distribution: str, name: str) -> None:
    text = rendered(distribution)
    if name == "postun" and distribution == "debian":
        assert "%postun" not in text
        return
    script = section(text, name)
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


@pytest.mark.parametrize("distribution", MACROS)
def test_the_packaged_unit_is_seen_to_by_the_macros_of_the_family(distribution: str) -> None:
    """Which are named by the policies; no macro restarts, as %pre and %posttrans do."""
    text = rendered(distribution)
    macros = {
        "fedora": {"post": "systemd_post", "preun": "systemd_preun", "postun": "systemd_postun"},
        "opensuse": {
            "pre": "service_add_pre", "post": "service_add_post", "preun": "service_del_preun",
            "postun": "service_del_postun_without_restart",
        },
        "debian": {},
    }[distribution]  # fmt: skip
    for name, macro in macros.items():
        assert f"# {macro} {UNIT}\n" in section(text, name)
    assert (f"/usr/lib/systemd/system/{UNIT}\n" in section(text, "files")) is bool(macros)
    assert set(re.findall(rf"^# (\w+) {UNIT}$", text, re.M)) == set(macros.values())


@pytest.mark.parametrize("distribution", ["fedora", "opensuse"])
def test_a_new_unit_is_set_to_its_preset(tmp_path: Path, distribution: str) -> None:
    """Once, and never one that somebody may have enabled."""
    calls = recording(tmp_path, "systemctl")
    scripts = [
        # nothing of ours runs here, whatever this machine is
        re.sub("(?=/etc/|/usr/lib/systemd/|/run/)", str(tmp_path), section(text, name))
        for text in [rendered(distribution).replace("systemd-sysusers", "true")]
        for name in ("pre", "post")
    ]
    packaged, own = (tmp_path / f"{folder}/systemd/system" for folder in ("usr/lib", "etc"))
    for folder in (packaged, own):
        folder.mkdir(parents=True)

    def installed(number: int, *before: Path) -> list[str]:
        for folder in (packaged, own):
            (folder / UNIT).unlink(missing_ok=True)
        for folder in before:
            (folder / UNIT).touch()
        pre, post = scripts
        said = run(pre, number, tmp_path, calls)
        (packaged / UNIT).touch()
        said += run(post, number, tmp_path, calls)
        return [line for line in said.splitlines() if "preset" in line]

    assert installed(1) == [f"--no-reload preset {UNIT}"]
    assert installed(2, packaged) == []  # an upgrade
    assert installed(1, own) == []  # our installer was there before the package
    assert installed(2, packaged, own) == []  # the service has another user


@pytest.mark.parametrize(
    ("distribution", "macro"), [("fedora", "systemd_preun"), ("opensuse", "service_del_preun")]
)
def test_a_removal_uses_the_macro_of_the_family(
    tmp_path: Path, distribution: str, macro: str
) -> None:
    """It stops and disables the service even if our program cannot run any more."""
    script = section(rendered(distribution), "preun")
    assert f"# {macro} kivitendo-task-server.service\n" in script
    calls = recording(tmp_path, "systemctl")
    broken = tmp_path / "kivitendo-task-server"
    broken.write_text(f'#!/bin/sh\necho "$@" >>{calls}\nexit 1\n')
    broken.chmod(0o755)
    script = script.replace("/usr/bin/kivitendo-task-server", str(broken))
    script = script.replace("/var/lib/kivitendo-task-server", str(tmp_path))

    assert run(script, 1, tmp_path, calls) == ""  # an upgrade
    assert run(script, 0, tmp_path, calls) == (
        "--no-reload disable --now kivitendo-task-server.service\nuninstall\n"
    )


def recording(folder: Path, command: str, answer: str = "") -> Path:
    """A stand-in for a command that writes down its calls; where to."""
    calls = folder / "calls"
    (folder / command).write_text(f'#!/bin/sh\necho "$@" >>{calls}\n{answer}\n')
    (folder / command).chmod(0o755)
    return calls


def run(script: str, argument: int, folder: Path, calls: Path) -> str:
    """Run a script of the package with the stand-ins; the calls of them."""
    calls.write_text("")
    subprocess.run(["sh", "-e", "-c", script, "sh", str(argument)], check=True,
                   capture_output=True, env={"PATH": f"{folder}:/usr/bin:/bin"})  # fmt: skip
    return calls.read_text()


def test_opensuse_administrators_may_forbid_restarts(tmp_path: Path) -> None:
    services = tmp_path / "services"
    stopped = tmp_path / "stopped"
    calls = recording(
        tmp_path, "systemctl", '[ "$1" = stop ] || echo "kivitendo-task-server@a.service x"'
    )
    script = section(rendered("opensuse"), "pre")
    for here, there in (
        ("/etc/sysconfig/services", services), ("/run/systemd/system", tmp_path),
        ("/run/kivitendo-task-server.stopped-for-upgrade", stopped),
    ):  # fmt: skip
        script = script.replace(here, str(there))

    assert run(script, 1, tmp_path, calls) == ""  # a first installation
    listed, stop = run(script, 2, tmp_path, calls).splitlines()
    assert listed.startswith("list-units ")
    assert stop == "stop kivitendo-task-server@a.service"
    assert stopped.read_text() == "kivitendo-task-server@a.service\n"
    services.write_text('DISABLE_RESTART_ON_UPDATE="yes"\n')
    assert run(script, 2, tmp_path, calls) == ""
