"""The command ``demo``: see the service at work on two small companies, without any set-up."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kivitendo_task_server.errors import TaskServerError


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="show the service at work, on a PostgreSQL of its own",
        description="Starts a PostgreSQL in a private folder, makes two tenants with recurring"
        " orders, runs the service on them twice, and shows what it did. Nothing outside the"
        " folder is touched, and the folder is removed at the end.",
    )
    after = parser.add_mutually_exclusive_group()
    after.add_argument(
        "--keep",
        action="store_true",
        help="leave PostgreSQL and the service running in the background, and say how to look"
        " around",
    )
    after.add_argument(
        "--stop", action="store_true", help="end what --keep left running, and remove its folder"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIRECTORY",
        help="a new or empty folder to work in (default: one below the system's temporary folder)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, or stop one that was kept."""
    if arguments.stop:
        from kivitendo_task_server.demo.stage import stop_kept

        stopped = stop_kept(arguments.folder)
        for folder in stopped:
            print(f"stopped; {folder} is removed")
        if not stopped:
            print("no demo is running")
        return 0
    if find_spec("tabulate") is None:
        raise TaskServerError(
            "the demo needs the Python package tabulate",
            remedy="pip install 'kivitendo-task-server[demo]', or install python3-tabulate",
        )
    from kivitendo_task_server.demo.show import run_demo

    return run_demo(keep=arguments.keep, folder=arguments.folder)
