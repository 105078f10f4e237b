"""What the options of all commands point at: a kivitendo directory, a configuration file."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.config.location import (
    Location,
    Surroundings,
    configuration_file,
    locate,
)


@dataclass(frozen=True)
class Target:
    """What the command line points at."""

    location: Location
    config_file: Path

    @property
    def kivitendo_dir(self) -> Path:
        """The kivitendo directory found."""
        return self.location.kivitendo_dir


def current_directory() -> Path:
    """The caller's directory, or / if it has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def location(arguments: argparse.Namespace) -> Location:
    """Find kivitendo by ``--kivitendo-dir`` and the rules without it.

    Raises NotInstalledError if it is nowhere.
    """
    return locate(
        Surroundings(
            option=arguments.kivitendo_dir,
            config_option=arguments.configfile,
            called_by=sys.argv[0],
            cwd=current_directory(),
            environ=os.environ,
        )
    )


def target(arguments: argparse.Namespace) -> Target:
    """Find kivitendo and the configuration file by ``-c`` and ``--kivitendo-dir``.

    Raises NotInstalledError or ConfigurationError if there are none.
    """
    found = location(arguments)
    return Target(found, config_file(arguments, found))


def config_file(arguments: argparse.Namespace, found: Location) -> Path:
    """The configuration file that applies. Raises ConfigurationError if there is none."""
    return configuration_file(
        arguments.configfile, kivitendo_dir=found.kivitendo_dir, cwd=current_directory()
    )
