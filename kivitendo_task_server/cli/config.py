"""``check-config``: what the configuration comes to, and where each setting is from."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kivitendo_task_server.errors import ConfigurationError, UsageError
from kivitendo_task_server.streams import tell

if TYPE_CHECKING:
    from kivitendo_task_server.config.reader import Effective

NO_FILE_NAMED = "\0"
"""What no argument can be: an empty one is a mistake, such as a variable without a value."""
WIDEST = 60
"""Characters of a setting before its origin stands out of line."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check-config",
        help="check the configuration and show all settings with their origin",
        description="Reads the configuration as the service would and prints every setting in"
        " force with its origin, secrets masked. Warnings go to stderr. Exits with 6 and all"
        " errors if there are any.",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        nargs="?",
        const=NO_FILE_NAMED,
        help="print the sections of one file (default: the configuration file) as JSON instead,"
        " as they stand there, secrets included",
    )
    parser.add_argument(
        "--keys",
        action="store_true",
        help="print all keys the service knows instead, with their meaning and default",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run ``check-config``; raises ConfigurationError with all that is wrong."""
    if arguments.json is not None:
        return _print_sections(arguments)
    if arguments.keys:
        return _print_keys()
    from kivitendo_task_server.cli.target import target
    from kivitendo_task_server.daemon.configuration import read_configuration

    aim = target(arguments)
    loaded = read_configuration(aim.config_file, aim.kivitendo_dir, _warn)
    print(f"# kivitendo directory: {aim.kivitendo_dir} (found by {aim.location.rule})")
    print(f"# configuration files: {', '.join(map(str, loaded.files))}")
    _print_settings(loaded.effective, aim.kivitendo_dir)
    print(f"\n# no errors, {len(loaded.warnings) or 'no'} warning{_plural(loaded.warnings)}")
    return 0


def _warn(text: str) -> None:
    tell(f"warning: {text}")


def _print_settings(effective: Iterable[Effective], kivitendo_dir: Path) -> None:
    from kivitendo_task_server.config.masking import printable, shown_key

    sections: dict[str, list[Effective]] = {}
    for each in effective:
        sections.setdefault(each.section, []).append(each)
    for section, settings in sections.items():
        print(f"\n[{printable(section)}]")
        lines = [f"{shown_key(each.key)} = {each.value}".rstrip() for each in settings]
        width = max((len(line) for line in lines if len(line) <= WIDEST), default=0)
        for line, each in zip(lines, settings, strict=True):
            print(f"{line:{width}}  # {each.origin.removeprefix(f'{kivitendo_dir}{os.sep}')}")


def _print_keys() -> int:
    """Print the table of keys in the form of a configuration file."""
    from kivitendo_task_server.config.keys import KEYS
    from kivitendo_task_server.config.settings import settings_without_files

    defaults = {(each.section, each.key): each.value for each in settings_without_files()}
    for section, keys in KEYS.items():
        print(f"[{section}]")
        for key in keys:
            print(f"# {key.help}")
            print(f"{key.name} = {defaults[section, key.name]}".rstrip())
        print()
    return 0


def _print_sections(arguments: argparse.Namespace) -> int:
    """Print the sections of one file; tests/vectors/config_vectors.json has the same form."""
    from kivitendo_task_server.cli.target import target
    from kivitendo_task_server.config.files import read_file

    named = arguments.json != NO_FILE_NAMED
    if named and not arguments.json:
        raise UsageError("--json needs the name of a file")
    file = Path(arguments.json) if named else target(arguments).config_file
    try:
        parsed = read_file(file)
    except ConfigurationError as error:
        raise error.problems[0] from error
    # in another encoding not every character can be printed as it is
    as_it_is = sys.stdout.encoding.lower() == "utf-8"
    print(json.dumps(parsed.plain(), indent=2, ensure_ascii=not as_it_is))
    return 0


def _plural(items: tuple[str, ...]) -> str:
    return "" if len(items) == 1 else "s"
