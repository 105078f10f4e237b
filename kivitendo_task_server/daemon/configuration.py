"""The configuration as the process needs it: besides its own rules, ``run_as`` must name a user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kivitendo_task_server.config.settings import Loaded, load
from kivitendo_task_server.daemon import privileges
from kivitendo_task_server.errors import ConfigurationError

Warn = Callable[[str], None]


def read_configuration(
    config_file: Path, kivitendo_dir: Path, warn: Warn = lambda text: None
) -> Loaded:
    """Load the settings, and see that ``run_as`` names a user. Raises ConfigurationError.

    ``warn`` is given what is doubtful in them, also if there are errors besides: who mends these
    does not want to come back for the rest.
    """
    try:
        loaded = load(config_file, kivitendo_dir=kivitendo_dir, look_up=privileges.look_up)
    except ConfigurationError as error:
        for warning in error.warnings:
            warn(warning)
        raise
    for warning in loaded.warnings:
        warn(warning)
    return loaded


def run_as_place(loaded: Loaded) -> str:
    """Where ``run_as`` stands, for messages."""
    origin = loaded.origins.get(("task_server", "run_as"), "")
    return f"{origin}: [task_server] run_as"
