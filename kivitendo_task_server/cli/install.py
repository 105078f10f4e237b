"""``install``, ``uninstall``, ``adopt``: the service as part of the boot process."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kivitendo_task_server.errors import PrivilegeError, UsageError

if TYPE_CHECKING:
    from kivitendo_task_server.installer.install import Options

INITS = ("auto", "systemd", "sysv", "upstart", "openrc")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    install = commands.add_parser(
        "install",
        help="make the service part of the boot process, and start it",
        description="Finds out what system this is and where kivitendo lies, writes the boot"
        " files, registers them and starts the service. Installing again changes only what"
        " differs; what an administrator edited is never overwritten.",
    )
    _installing(install)
    install.set_defaults(run=run_install)

    uninstall = commands.add_parser(
        "uninstall",
        help="stop the service and remove what install wrote",
        description="Removes the boot files, and puts back what adopt replaced. The generated"
        " configuration stays, so that installing again finds it.",
    )
    uninstall.add_argument(
        "--purge",
        action="store_true",
        help="remove also the generated configuration, the tenants' included",
    )
    _everywhere(uninstall)
    uninstall.set_defaults(run=run_uninstall)

    adopt = commands.add_parser(
        "adopt",
        help="take over from kivitendo's Perl task server",
        description="Stops a Perl task server that runs, takes it out of the boot process and"
        " installs our service instead; replaces kivitendo's scripts/task_server.pl by a wrapper,"
        ' so that "start" and "stop" in kivitendo\'s web interface control our service.',
    )
    adopt.add_argument("--undo", action="store_true", help="put everything back")
    _installing(adopt)
    adopt.set_defaults(run=run_adopt)


def _installing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--init", choices=INITS, default="auto", help="the init system (default: found out)"
    )
    parser.add_argument(
        "--run-as",
        metavar="USER",
        help="the system user to run as (default: run_as of the configuration, the owner of"
        " kivitendo's users/, the web server's user)",
    )
    parser.add_argument(
        "--no-start", action="store_true", help="do not start the service now, only at boot"
    )
    parser.add_argument(
        "--no-enable",
        action="store_true",
        help="leave it as it is what is started at boot (for upgrades)",
    )
    _everywhere(parser)


def _everywhere(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root",
        metavar="DIR",
        default="/",
        help="work on the system below this directory, an image for instance; nothing is started",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")


def run_install(arguments: argparse.Namespace) -> int:
    """Install. Raises TaskServerError."""
    from kivitendo_task_server.cli.completion import command_line
    from kivitendo_task_server.installer.install import install

    install(_options(arguments), command_line(), report)
    return 0


def run_uninstall(arguments: argparse.Namespace) -> int:
    """Uninstall. Raises TaskServerError."""
    from kivitendo_task_server.installer.install import uninstall

    refuse(arguments, "--configfile", "--kivitendo-dir")
    _require_root(arguments)
    uninstall(_root(arguments), report, purge=arguments.purge, dry_run=arguments.dry_run)
    return 0


def run_adopt(arguments: argparse.Namespace) -> int:
    """Take over, or give back. Raises TaskServerError."""
    from kivitendo_task_server.cli.completion import command_line
    from kivitendo_task_server.installer import adopt

    options = _options(arguments)
    if arguments.undo:
        adopt.undo(options.root, report, dry_run=options.dry_run)
    else:
        adopt.adopt(options, command_line(), report)
    return 0


def report(line: str) -> None:
    """Show one line at once, also when the output goes into a file."""
    print(line, flush=True)


def refuse(arguments: argparse.Namespace, *options: str) -> None:
    """Raise UsageError for those options of all commands that mean nothing to this one."""
    for option in options:
        if getattr(arguments, option.removeprefix("--").replace("-", "_")) is not None:
            raise UsageError(
                f"{option} is not an option of {arguments.command}", remedy=_INSTEAD[option]
            )


_INSTEAD = {
    "--configfile": "tenant add NAME makes an instance for config/NAME.conf",
    "--kivitendo-dir": "the directory is the one that install has remembered",
}


def _options(arguments: argparse.Namespace) -> Options:
    from kivitendo_task_server.installer.install import Options

    refuse(arguments, "--configfile")
    _require_root(arguments)
    return Options(
        root=_root(arguments),
        init=arguments.init,
        kivitendo_dir=arguments.kivitendo_dir,
        run_as=arguments.run_as,
        start=not arguments.no_start,
        enable=not arguments.no_enable,
        dry_run=arguments.dry_run,
        called_by=_called_by(),
    )


def _called_by() -> str:
    """The path of this command; found in PATH if the shell found it there."""
    import shutil

    name = sys.argv[0]
    found = name if "/" in name else shutil.which(name) or ""
    return str(Path(found).absolute()) if found else ""


def _root(arguments: argparse.Namespace) -> Path:
    root = Path(arguments.root).resolve()
    if not root.is_dir():
        raise UsageError(f"--root {arguments.root}: there is no such directory")
    return root


def _require_root(arguments: argparse.Namespace) -> None:
    if os.geteuid() != 0 and not arguments.dry_run:
        raise PrivilegeError(
            f"only root may {arguments.command}",
            remedy="call it with sudo, or as root; --dry-run only shows what would be done",
        )
