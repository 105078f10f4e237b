"""Makes or mends the private virtual environment of a checkout; standard library only.

Called by tools/environment, which found this Python. A stamp in the environment says for which
setup.py it was filled, so a second call takes a moment. An environment that was left half made,
or whose Python or packages are gone, is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
NAME = "kivitendo-task-server"
STAMP = ".kivitendo-task-server.json"
LOG = "install.log"

# psycopg2 has no wheels: it wants a compiler and PostgreSQL's headers. The same code with the
# library included is good for a private environment.
REPLACED = {"psycopg2": "psycopg2-binary"}

UNREACHABLE = re.compile(
    r"Temporary failure in name resolution|Name or service not known|NewConnectionError"
    r"|Connection (refused|reset|aborted)|ConnectTimeout|Read timed out|ReadTimeout"
    r"|Network is unreachable|from versions: none|SSLError|ProxyError|HTTP error"
)

FETCHED = re.compile(
    r"\s*(?:Downloading|Using cached)\s+(?:\S*/)?(?P<name>[^-\s]+-[^-\s]+?)"
    r"(?:-\S+\.whl|\.tar\.gz|\.zip)(?:\.metadata)?(?:\s+(?P<size>\(.*\)))?$"
)


class SetupError(Exception):
    """One line for the user: what is wrong and what to do."""


def say(text: str) -> None:
    print(f"environment: {text}", file=sys.stderr, flush=True)


def main(extras: set[str]) -> int:
    venv = Path(os.environ.get("KIVITENDO_TASK_SERVER_VENV") or PROJECT / ".venv").absolute()
    try:
        with only_one(PROJECT):
            prepare(venv, extras)
    except SetupError as failure:
        print(f"environment: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("environment: interrupted", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds a lock on the checkout: two tools started at once make one environment."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another installation in this checkout")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def prepare(venv: Path, extras: set[str]) -> None:
    """Bring the environment to what setup.py asks for, doing as little as needed."""
    stamp = read_stamp(venv)
    purpose = fingerprint(venv)
    usable = bool(stamp) and works(venv, stamp)
    if usable and stamp["purpose"] == purpose and extras <= set(stamp["extras"]):
        return
    check_writable(venv)
    if usable:
        extras = extras | set(stamp["extras"])
    else:
        create(venv)
    install(venv, extras)
    write_stamp(
        venv,
        {"purpose": purpose, "extras": sorted(extras), "distributions": installed(venv)},
    )
    say("ready")


def fingerprint(venv: Path) -> str:
    """What an environment was filled for; both paths are written into its files."""
    digest = hashlib.sha256(f"{PROJECT}\0{venv}\0".encode())
    for source in (PROJECT / "setup.py", Path(__file__)):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def read_stamp(venv: Path) -> dict[str, Any]:
    """The stamp of a finished environment; empty if there is none."""
    try:
        stamp = json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(venv: Path, stamp: dict[str, Any]) -> None:
    partial = venv / f"{STAMP}.new"
    partial.write_text(json.dumps(stamp))
    partial.replace(venv / STAMP)


def works(venv: Path, stamp: dict[str, Any]) -> bool:
    """Whether the environment's Python still starts and the packages are all there."""
    python = venv / "bin/python"
    try:
        started = subprocess.run([python, "-I", "-c", ""], capture_output=True, check=False)
    except OSError:
        return False
    return started.returncode == 0 and set(stamp["distributions"]) <= set(installed(venv))


def check_writable(venv: Path) -> None:
    if not os.access(PROJECT, os.W_OK):
        raise SetupError(f"{PROJECT} is not writable for you (make a checkout of your own)")
    target = venv if venv.exists() else venv.parent
    if not os.access(target, os.W_OK):
        raise SetupError(
            f"{target} is not writable for you (remove it, or name another folder in"
            " KIVITENDO_TASK_SERVER_VENV)"
        )


def create(venv: Path) -> None:
    """A new, empty environment, in place of one that does not work."""
    if venv.exists():
        ours = (venv / STAMP).exists() or (venv / "pyvenv.cfg").exists()
        if not ours and any(venv.iterdir()):
            raise SetupError(
                f"{venv} is not a virtual environment (name another folder in"
                " KIVITENDO_TASK_SERVER_VENV)"
            )
        say(f"making {venv} anew, it is not complete")
        shutil.rmtree(venv)
    version = ".".join(map(str, sys.version_info[:3]))
    need_venv_module()
    shown = venv.relative_to(PROJECT) if venv.is_relative_to(PROJECT) else venv
    say(f"making {shown} with Python {version} ({sys.executable})")
    venv.mkdir(parents=True)
    # written first: what is interrupted from here on is known as ours, and as incomplete
    write_stamp(venv, {})
    made = subprocess.run(
        [sys.executable, "-I", "-m", "venv", venv], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        output = (made.stdout + made.stderr).strip().splitlines() or ["no message"]
        raise SetupError(f"the virtual environment cannot be made: {output[-1]}")


def need_venv_module() -> None:
    """Debian keeps it in a package of its own, which root gets and others are told of."""
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return
    debian = shutil.which("apt-get") is not None
    own = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if not (debian and sys.executable.startswith("/usr/bin/")):
        raise SetupError(f"{sys.executable} has no modules venv and ensurepip (install them)")
    if os.geteuid() != 0:
        raise SetupError(f"Python's module venv is missing (as root: apt-get install {own})")
    say(f"installing the package {own}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "-q", "update"],
        ["apt-get", "-q", "-y", "install", "--no-install-recommends", own],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            raise SetupError(f"{' '.join(command)} failed: {(errors or ['no message'])[-1]}")
    importlib.invalidate_caches()


def install(venv: Path, extras: set[str]) -> None:
    """The project itself, as a link to the checkout, and what it and the extras require."""
    (venv / LOG).write_text("")
    say("installing the project")
    # with a build of its own, so its requirements can be read before they are replaced
    pip(venv, ["--no-deps", "--editable", str(PROJECT)])
    wanted = requirements(metadata(venv).requires or [], extras)
    say(f"installing {len(wanted)} packages and what they need")
    pip(venv, wanted)


def metadata(venv: Path) -> importlib.metadata.Distribution:
    """The project's metadata as installed."""
    found = next(importlib.metadata.distributions(name=NAME, path=packages_folders(venv)), None)
    if found is None:
        raise SetupError(f"pip installed no {NAME} into {venv} (see {venv / LOG})")
    return found


def packages_folders(venv: Path) -> list[str]:
    return [str(folder) for folder in venv.glob("lib/python3*/site-packages")]


def installed(venv: Path) -> list[str]:
    """The names of all distributions in the environment."""
    found = importlib.metadata.distributions(path=packages_folders(venv))
    return sorted({str(each.metadata["Name"]) for each in found})


def requirements(declared: Iterable[str], extras: set[str]) -> list[str]:
    """The requirements of the project and of the extras, as pip's arguments.

    pip itself evaluates every marker but ``extra``, which has no meaning on its command line.
    """
    extra = re.compile(r"""(?:\s+and\s+)?extra\s*==\s*(['"])(?P<name>[^'"]+)\1""")
    wanted = []
    for requirement in declared:
        found = extra.search(requirement)
        if found and found["name"] not in extras:
            continue
        requirement = extra.sub("", requirement).strip().removesuffix(";").strip()
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and name[0] in REPLACED:
            requirement = REPLACED[name[0]] + requirement[name.end() :]
        wanted.append(requirement)
    return wanted


def pip(venv: Path, arguments: list[str]) -> None:
    """pip install, with a line of progress per package; all it says goes to the log."""
    command = [
        str(venv / "bin/python"), "-I", "-m", "pip", "install", "--use-pep517",
        "--progress-bar", "off", "--no-input", "--disable-pip-version-check", *arguments,
    ]  # fmt: skip
    # settings that would lead pip out of the environment
    environment = {**os.environ, "PIP_USER": "0"}
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        environment.pop(name, None)
    errors: list[str] = []
    with (
        (venv / LOG).open("a") as log,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            log.flush()
            package = FETCHED.match(line)
            if package:
                print(f"  {package['name']} {package['size'] or ''}", file=sys.stderr, flush=True)
            elif line.lstrip().startswith(("ERROR:", "error:", "WARNING: Retrying")):
                errors.append(line.strip())
    if process.returncode != 0:
        raise SetupError(explain(errors, venv / LOG))


def explain(errors: list[str], log: Path) -> str:
    """One line for a failed pip."""
    last = errors[-1] if errors else "no message"
    if any(UNREACHABLE.search(error) for error in errors):
        return (
            f"the package registry cannot be reached (is there a network?); pip: {last};"
            f" all it said: {log}"
        )
    return f"pip failed: {last}; all it said: {log}"


if __name__ == "__main__":
    sys.exit(main(set(sys.argv[1:])))
