"""``check-config`` as users call it: the real command in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEFAULTS = """\
[authentication/database]
host = localhost
db = kivitendo_auth
user = postgres
password = geheim
[task_server]
debug = 0
"""


@pytest.fixture
def kivitendo(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/kivitendo.conf.default").write_text(DEFAULTS)
    (tmp_path / "config/kivitendo.conf").write_text("[task_server]\nmax_parallel_tenants = 7\n")
    return tmp_path


def check_config(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "KIVITENDO_DIR"}
    return subprocess.run(
        [sys.executable, "-m", "kivitendo_task_server", "check-config", *arguments],
        cwd=cwd,
        env={**clean, "PYTHONPATH": str(Path(__file__).parents[2]), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_effective_settings_with_origins(kivitendo: Path) -> None:
    result = check_config(cwd=kivitendo)
    assert (result.returncode, result.stderr) == (0, "")
    words = [line.split() for line in result.stdout.splitlines()]
    assert ["max_parallel_tenants", "=", "7", "#", "config/kivitendo.conf:2"] in words
    assert ["debug", "=", "0", "#", "config/kivitendo.conf.default:7"] in words
    assert ["stop_timeout", "=", "60", "#", "default"] in words
    assert ["password", "=", "********", "#", "config/kivitendo.conf.default:5"] in words
    assert "geheim" not in result.stdout
    assert f"{kivitendo} (found by the current directory" in result.stdout


def test_another_file_by_option(kivitendo: Path) -> None:
    (kivitendo / "config/b.conf").write_text("[task_server]\nnode_id = b\n")
    for place in (["-c", "config/b.conf"], ["-c", "b.conf"], ["-c", f"{kivitendo}/config/b.conf"]):
        cwd = kivitendo / "config" if place[1] == "b.conf" else Path("/")
        result = check_config(*place, "--kivitendo-dir", str(kivitendo), cwd=cwd)
        assert "node_id = b" in result.stdout, result.stderr
    result = check_config("-c", f"{kivitendo}/config/b.conf", cwd=Path("/"))
    assert "(found by the place of -c" in result.stdout


def test_a_password_with_an_equals_sign_that_lacks_its_own(kivitendo: Path) -> None:
    """Its first half is a part of the key."""
    (kivitendo / "config/kivitendo.conf").write_text(
        "[own]\nmy password erste=zweite\n[task_server]\npassword erste=zweite\n"
    )
    result = check_config(cwd=kivitendo)
    assert result.returncode == 0
    assert "\nmy ******** = ********  #" in result.stdout
    assert "[task_server] password ******** = ********: unknown key" in result.stderr
    assert not re.search("erste|zweite", result.stdout + result.stderr)


def test_warnings_on_stderr(kivitendo: Path) -> None:
    (kivitendo / "config/kivitendo.conf").write_text("[task_server]\ndebug = no\nx = y\n")
    result = check_config(cwd=kivitendo)
    assert result.returncode == 0
    assert [line.split(" = ")[0] for line in result.stderr.splitlines()] == [
        f"warning: {kivitendo}/config/kivitendo.conf:3: [task_server] x",
        f"warning: {kivitendo}/config/kivitendo.conf:2: [task_server] debug",
    ]
    assert result.stdout.endswith("# no errors, 2 warnings\n")


def test_all_errors_on_stderr(kivitendo: Path) -> None:
    file = kivitendo / "config/kivitendo.conf"
    file.write_text(
        "[task_server]\njob_timeout = x\nrun_as = nobody-so\n[authentication/database]\nuser =\n"
    )
    result = check_config(cwd=kivitendo)
    assert (result.returncode, result.stdout) == (6, "")
    first, *others = result.stderr.splitlines()
    assert first == "kivitendo-task-server: 3 errors in the configuration:"
    assert len(others) == 3
    assert others[0].startswith(f"  {file}:5: [authentication/database] user is empty (")
    assert others[1].startswith(f"  {file}:2: [task_server] job_timeout = x: not allowed; allowed")
    assert others[2].startswith(f"  {file}:3: [task_server] run_as: Cannot drop privileges to")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["-c", "config/typo.conf"], 6, "the configuration file does not exist"),
        (["-c", ""], 2, "-c needs the name of a file"),
        (["--kivitendo-dir", "/"], 5, "not a kivitendo directory"),
        (["--unknown"], 2, "unrecognized arguments"),
        (["--json", "typo.conf"], 6, "the configuration file does not exist"),
        (["--json", "config"], 6, "not a regular file"),
        (["--json", ""], 2, "--json needs the name of a file"),
    ],
)
def test_one_clear_line(kivitendo: Path, arguments: list[str], code: int, text: str) -> None:
    result = check_config(*arguments, cwd=kivitendo)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith("kivitendo-task-server: ") and text in result.stderr
    assert result.stderr.count("\n") == 1


def test_all_keys(kivitendo: Path) -> None:
    """What --keys prints is itself a valid configuration: that of the defaults."""
    result = check_config("--keys", cwd=Path("/"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "# how many tenants may be busy at a time\nmax_parallel_tenants = 4\n" in result.stdout
    (kivitendo / "config/kivitendo.conf.default").write_text(result.stdout)
    (kivitendo / "config/kivitendo.conf").write_text(
        "[authentication/database]\nhost = h\ndb = d\nuser = u\n"
    )
    assert check_config(cwd=kivitendo).stdout.endswith("# no errors, no warnings\n")


def test_json_of_one_file(kivitendo: Path) -> None:
    file = kivitendo / "any.conf"
    file.write_bytes("[a]\nk = 1\nk = 2\npassword = ü\r\n[b]\n".encode())
    expected = {"a": {"k": ["1", "2"], "password": "ü"}, "b": {}}
    result = check_config("--json", "any.conf", cwd=kivitendo)
    assert (result.returncode, json.loads(result.stdout)) == (0, expected)
    result = check_config("--json", "any.conf", cwd=kivitendo, PYTHONIOENCODING="ascii")
    assert (result.returncode, json.loads(result.stdout)) == (0, expected)


def test_json_of_the_configuration_file(kivitendo: Path) -> None:
    result = check_config("--json", cwd=kivitendo)
    assert json.loads(result.stdout) == {"task_server": {"max_parallel_tenants": "7"}}


def test_json_of_a_wrong_file(kivitendo: Path) -> None:
    (kivitendo / "wrong.conf").write_text("[a]\nfirst\nsecond\n")
    result = check_config("--json", "wrong.conf", cwd=kivitendo)
    assert (result.returncode, result.stdout) == (6, "")
    assert result.stderr.startswith("kivitendo-task-server: wrong.conf:2: ")
    assert result.stderr.count("\n") == 1
