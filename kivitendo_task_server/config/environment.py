"""Section ``[environment]``: what the process that starts puts into its environment."""

from __future__ import annotations

from collections.abc import Mapping

APPENDED = {"path": "PATH", "lib": "PERL5LIB"}
"""Keys whose values are appended to a variable; every other key names the variable it sets."""


def environment_changes(section: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to set, with their new values (task-server.md, a.4).

    Values that are empty or "0" count as absent. What a variable already ends with is not
    appended again, so the result is the same after it has been applied once.
    """
    changes: dict[str, str] = {}
    for key, value in section.items():
        if value in ("", "0"):
            continue
        variable = APPENDED.get(key)
        if variable is None:
            changes[key] = value
            continue
        present = environ.get(variable, "")
        separated = value if value.startswith(":") or not present else f":{value}"
        if present == value or present.endswith(separated):
            separated = ""
        changes[variable] = present + separated
    return changes
