"""SetNumberRange: starts the number ranges of a new year or month (jobs.md, 1.10)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from psycopg2 import sql

from kivitendo_task_server.clock import wall_time
from kivitendo_task_server.database.schema import existing_columns
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import choice, read_options, switch, text
from kivitendo_task_server.log import fields

# Columns of the table defaults; they hold the last number used. Releases before 4.1 lack some.
RANGES = (
    *("invnumber", "cnnumber", "soinumber", "pqinumber", "sonumber", "ponumber", "pocnumber"),
    *("sqnumber", "rfqnumber", "sdonumber", "pdonumber", "sudonumber", "rdonumber"),
    *("s_reclamation_record_number", "p_reclamation_record_number"),
)
LATEST = timedelta(days=31)
_KNOWN_SEQUENCES = re.compile("%[aAbBCdDeFgGhHIjklmMnpPrRStTuUVwWyY%]")
"""Those of the original; others stay as they are, whatever strftime makes of them here."""


@dataclass(frozen=True)
class Options:
    """See docs/jobs.md; ``result`` is the result of the run if it is given, even if empty."""

    digits_year: str = choice("4", "2", "4", zero_means_default=True)
    multiplier: str = choice(
        "100", "10", "100", "1000", "10000", "100000", "1000000", zero_means_default=True
    )
    current_year: bool = switch()
    monthly: bool = switch()
    monthly_strftime: str = text("%y-%m-")
    monthly_postfix: str = text("000")
    result: str = text("1")


class SetNumberRange(Job):
    """Sets the fifteen number ranges of records, all or none.

    Unlike kivitendo it skips ranges that are NULL in the annual mode (the original fails, in
    every fresh database), and goes by the time the run was due, not by the time it began: a run
    due on New Year's Eve at 23:59 that begins after midnight still starts the year that began.
    """

    name = "SetNumberRange"
    default_schedule = "59 23 31 12 *"
    summary = "starts the number ranges of a new year or month"
    Options = Options

    def run(self, context: JobContext) -> str | None:
        """``1``, or the option ``result``."""
        options = read_options(Options, context.options)
        day = _due_day(context)
        ranges = _ranges(context)
        if options.monthly:
            first = _monthly(day, options)
            new = dict.fromkeys(ranges, first)
        else:
            value = _annual_value(day, options)
            new = {name: _annual(old, value) for name, old in ranges.items() if old is not None}
            if skipped := [name for name, old in ranges.items() if old is None]:
                context.log.info(
                    "number ranges without a number are left alone: %s",
                    ", ".join(skipped),
                    extra=fields("number_ranges_skipped", tenant=context.tenant.name),
                )
        _store(context, new)
        result = context.options.get("result", options.result)
        return result if result is None else str(result)


def _due_day(context: JobContext) -> date:
    """The day the run was due; today if it was started by hand, or is more than a month late."""
    now, due = wall_time(context.clock), context.job.next_run_at
    return due.date() if due is not None and now - LATEST <= due <= now else now.date()


def _ranges(context: JobContext) -> dict[str, str | None]:
    """The ranges this release has, with their last numbers, locked."""
    present = existing_columns(context.connection, ["defaults"])["defaults"]
    names = [name for name in RANGES if name in present]
    with context.connection.cursor() as cursor:
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        cursor.execute(sql.SQL("SELECT {} FROM defaults FOR UPDATE").format(columns))
        row = cursor.fetchone() or ()
    return dict(zip(names, row, strict=False))


def _store(context: JobContext, new: dict[str, str]) -> None:
    if not new:
        return
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in new
    )
    with context.connection.cursor() as cursor:
        cursor.execute(sql.SQL("UPDATE defaults SET {}").format(assignments), new)


def _annual_value(day: date, options: Options) -> int:
    year = day.year if options.current_year else day.year + 1
    return (year % 100 if options.digits_year == "2" else year) * int(options.multiplier)


def _annual(last: str, value: int) -> str:
    """The prefix stays; ``value`` takes the place and the width of the digits at the end."""
    found = re.search(r"[0-9]*\Z", last)
    assert found is not None
    width = len(found.group()) or 1
    return last[: found.start()] + str(value).zfill(width)


def _monthly(day: date, options: Options) -> str:
    """The same text for all ranges; a number must end with a digit, so that it can be counted."""
    date_text = _KNOWN_SEQUENCES.sub(
        lambda match: day.strftime(match.group()), options.monthly_strftime
    )
    number = date_text + options.monthly_postfix
    return number if re.search(r"[0-9]\Z", number) else number + "0"
