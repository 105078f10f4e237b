"""A schedule in words, for people who want to know what a specification means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kivitendo_task_server.scheduling.cron_fields import CronField

_MOST_TIMES = 6  # times of day that are listed one by one
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def in_words(
    minute: CronField, hour: CronField, day: CronField, month: CronField, weekday: CronField
) -> str:
    """When it runs: ``at 03:00, every day``."""
    parts = [_time(minute, hour), _days(day, weekday)]
    if not month.complete:
        parts.append("in " + _list(month.values, lambda n: _MONTHS[n - 1]))
    return ", ".join(parts)


def _time(minute: CronField, hour: CronField) -> str:
    if minute.complete and hour.complete:
        return "every minute"
    if minute.complete:
        return f"every minute of {_hours(hour)}"
    if len(minute.values) * len(hour.values) <= _MOST_TIMES:
        return "at " + _and([f"{h:02}:{m:02}" for h in hour.values for m in minute.values])
    if hour.complete and minute.values == (0,):
        return "every hour, on the hour"
    step = _even_step(minute.values)
    if step:
        often = f"every {step} minutes"
        return often if hour.complete else f"{often} in {_hours(hour)}"
    plural = "" if len(minute.values) == 1 else "s"
    return f"at minute{plural} {_list(minute.values, str)} of {_hours(hour)}"


def _hours(hour: CronField) -> str:
    if hour.complete:
        return "every hour"
    return f"hour{'' if len(hour.values) == 1 else 's'} {_list(hour.values, str)}"


def _even_step(minutes: Sequence[int]) -> int:
    """The distance if the minutes are evenly spread over each hour, otherwise 0."""
    step = 60 // len(minutes)
    return step if len(minutes) > 1 and tuple(minutes) == tuple(range(0, 60, step)) else 0


def _days(day: CronField, weekday: CronField) -> str:
    of_month = f"on day{'' if len(day.values) == 1 else 's'} {_list(day.values, str)} of the month"
    of_week = "on " + _list(weekday.values, lambda n: _WEEKDAYS[n - 1])
    if not day.restricted and not weekday.restricted:
        return "every day"
    if not weekday.restricted:
        return of_month
    if not day.restricted:
        return of_week
    if day.complete or weekday.complete:
        return "every day"
    return f"{of_month} and also {of_week}"


def _list(values: Sequence[int], name: Callable[[int], str]) -> str:
    """Names with runs of three and more joined: ``1 to 5, 7 and 9``."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    words: list[str] = []
    for run in runs:
        if len(run) > 2:
            words.append(f"{name(run[0])} to {name(run[-1])}")
        else:
            words += [name(value) for value in run]
    return _and(words)


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
