"""``schedule``: what a cron specification means, and when it runs next."""

from __future__ import annotations

import argparse
from datetime import datetime, tzinfo

from kivitendo_task_server.errors import UsageError

DEFAULT_COUNT = 5
LARGEST_COUNT = 10_000


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "schedule",
        help="explain a cron specification and show the next times",
        description="Explains a cron specification as kivitendo understands it and prints the"
        " next times, one a line. A wrong one is told with exit code 2.",
    )
    parser.add_argument(
        "spec",
        metavar="SPEC",
        help="minute hour day month weekday, in quotes; empty means every minute",
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="ISO-TIME",
        help="times later than this one, such as 2026-11-22T15:30 (default: now); without an"
        " offset it is local time",
    )
    parser.add_argument(
        "--timezone", metavar="ZONE", help="such as Europe/Berlin (default: this machine's)"
    )
    parser.add_argument(
        "--count",
        type=_count,
        default=DEFAULT_COUNT,
        metavar="N",
        help="how many times (default: %(default)s)",
    )
    parser.add_argument("--plain", action="store_true", help="print the times and nothing else")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation and the times. Raises CronError and UsageError (exit code 2)."""
    from kivitendo_task_server.clock import SystemClock
    from kivitendo_task_server.scheduling.cron import Schedule

    schedule = Schedule.parse(arguments.spec)
    zone, start = arguments.timezone, arguments.start
    clock = SystemClock(None if zone is None else _zone(zone))
    moment = clock.now() if start is None else _start(start, clock.zone)
    if not arguments.plain:
        print(f"{' '.join(schedule.spec.split())}: {schedule.describe()}")
        for remark in schedule.remarks:
            print(f"note: {remark}")
        print(f"next times in {clock.zone}:")
    for _ in range(arguments.count):
        moment = schedule.next_after(moment)
        print(moment.isoformat())
    return 0


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= LARGEST_COUNT):
        raise argparse.ArgumentTypeError(f"a number from 1 to {LARGEST_COUNT} is needed")
    return int(text)


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"unknown time zone {name!r}", where="--timezone", remedy="such as Europe/Berlin"
        ) from error


def _start(text: str, zone: tzinfo) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is not a time", where="--from", remedy="such as 2026-11-22T15:30"
        ) from error
