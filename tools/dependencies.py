"""Names Debian's packages for the requirements in setup.py, and tells which a suite lacks."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

# where the package is not simply named after the distribution
PACKAGES = {"python-daemon": "python3-daemon"}


def main() -> int:
    """Print the requirements, or with --missing those without a package in apt's lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("tree", type=Path, help="where setup.py has left its metadata")
    arguments = parser.parse_args()
    for requirement in requirements(arguments.tree):
        if not arguments.missing or not available(package_of(requirement)):
            print(requirement)
    return 0


def requirements(tree: Path) -> list[str]:
    """The distributions that the program needs on this Python, from the egg-info of the tree."""
    (listed,) = tree.glob("*.egg-info/requires.txt")
    names = []
    condition = ""
    for line in listed.read_text().splitlines():
        if line.startswith("["):
            condition = line.strip("[]")
        elif line and applies(condition):
            names.append(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0])
    return names


def applies(condition: str) -> bool:
    """Whether the requirements of a section count: no extras, and the Python is the right one."""
    if condition.startswith(":"):
        limit = re.search(r'python_version >= "(\d+)\.(\d+)"', condition)
        return limit is None or sys.version_info >= tuple(map(int, limit.groups()))
    return condition == ""


def package_of(requirement: str) -> str:
    """Debian's package for a distribution."""
    name = requirement.lower().replace("_", "-")
    return PACKAGES.get(name, f"python3-{name}")


def available(package: str) -> bool:
    """Whether apt knows a version of the package."""
    shown = subprocess.run(
        ["apt-cache", "policy", package], capture_output=True, text=True, check=False
    )
    candidate = re.search(r"Candidate: (\S+)", shown.stdout)
    return candidate is not None and candidate.group(1) != "(none)"


if __name__ == "__main__":
    sys.exit(main())
