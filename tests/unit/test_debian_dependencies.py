"""Which requirements of setup.py a Debian suite lacks (tools/dependencies.py)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/dependencies.py"
_spec = importlib.util.spec_from_file_location("dependencies", TOOL)
dependencies = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dependencies)

REQUIRES = """\
croniter>=1.3
Some_Thing[extra]<3
python-daemon

[:python_version >= "3.0"]
for-all

[:python_version >= "99.1"]
later; whatever

[test]
pytest
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "thing.egg-info"
    folder.mkdir()
    (folder / "requires.txt").write_text(REQUIRES)
    return tmp_path


def test_requirements_of_this_python_without_extras(tree: Path) -> None:
    expected = ["croniter", "Some_Thing", "python-daemon", "for-all"]
    assert dependencies.requirements(tree) == expected


@pytest.mark.parametrize(
    ("requirement", "package"),
    [
        ("croniter", "python3-croniter"),
        ("Some_Thing", "python3-some-thing"),
        ("python-daemon", "python3-daemon"),
        ("Jinja2", "python3-jinja2"),
    ],
)
def test_names_of_packages(requirement: str, package: str) -> None:
    assert dependencies.package_of(requirement) == package


def test_only_what_apt_does_not_know_is_missing(
    tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for apt-cache: it answers as apt-cache does, for packages known and not."""
    apt_cache = tmp_path / "bin/apt-cache"
    apt_cache.parent.mkdir()
    apt_cache.write_text(
        "#!/bin/sh\n"
        "case $2 in\n"
        'python3-croniter) printf "%s:\\n  Installed: (none)\\n  Candidate: 1.3.5-1\\n" "$2" ;;\n'
        'python3-daemon) printf "%s:\\n  Installed: (none)\\n  Candidate: (none)\\n" "$2" ;;\n'
        "esac\n"
    )
    apt_cache.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt_cache.parent}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "argv", ["dependencies.py", "--missing", str(tree)])
    assert dependencies.main() == 0
    assert capsys.readouterr().out.split() == ["Some_Thing", "python-daemon", "for-all"]
