"""When jobs run next, remembered for jobs with the same specification."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kivitendo_task_server.scheduling.cron import CronError, Schedule


MOST_MISSED = 100


class Calendar:
    """Asks :mod:`~kivitendo_task_server.scheduling.cron`, once a specification and minute.

    That module is imported when first asked: the supervisor seldom needs it, and starts without.
    """

    def __init__(self) -> None:
        self._schedules: dict[str | None, Schedule | CronError] = {}
        self._next: dict[tuple[str | None, datetime, int], datetime | None] = {}
        self._missed: dict[tuple[str | None, datetime, datetime, int], int] = {}

    def error(self, spec: str | None) -> str | None:
        """Why a specification cannot be followed; None if it can."""
        schedule = self._schedule(spec)
        return str(schedule) if isinstance(schedule, Exception) else None

    def next_run(self, spec: str | None, now: datetime) -> datetime | None:
        """The next time to store, local without zone; None if the specification is wrong.

        Strictly later than ``now`` (aware), when the job has ended (task-server.md, d.2). Times
        are whole minutes, so the answer is the same for all moments of a minute.
        """
        minute = now.replace(second=0, microsecond=0)
        key = (spec, minute, minute.fold)  # equality of times disregards the fold
        if key not in self._next:
            self._next = {kept: value for kept, value in self._next.items() if kept[1] == minute}
            found = self._calculated(spec, now)
            self._next[key] = found and found.replace(tzinfo=None, fold=0)
        return self._next[key]

    def next_but_none_left_out(
        self, spec: str | None, planned: datetime, now: datetime
    ) -> datetime | None:
        """The same for the first time after the ``planned`` one, which may have passed as well."""
        return self.next_run(spec, _meant(planned, now))

    def missed(self, spec: str | None, planned: datetime, now: datetime) -> int:
        """How many runs after the ``planned`` one (local, without zone) were due by ``now``.

        Counts to MOST_MISSED at most; remembered like the next times, for many jobs alike.
        """
        minute = now.replace(second=0, microsecond=0)
        key = (spec, planned, minute, minute.fold)
        if key not in self._missed:
            self._missed = {kept: n for kept, n in self._missed.items() if kept[2] == minute}
            self._missed[key] = self._count_missed(spec, planned, now)
        return self._missed[key]

    def _count_missed(self, spec: str | None, planned: datetime, now: datetime) -> int:
        moment, count = _meant(planned, now), 0
        while count < MOST_MISSED:
            following = self._calculated(spec, moment)
            if following is None or following.astimezone(UTC) > now.astimezone(UTC):
                break
            moment, count = following, count + 1
        return count

    def _calculated(self, spec: str | None, now: datetime) -> datetime | None:
        from kivitendo_task_server.scheduling.cron import CronError

        schedule = self._schedule(spec)
        if isinstance(schedule, CronError):
            return None
        try:
            return schedule.next_after(now)
        except CronError:
            return None

    def _schedule(self, spec: str | None) -> Schedule | CronError:
        from kivitendo_task_server.scheduling.cron import CronError, Schedule

        if spec not in self._schedules:
            try:
                self._schedules[spec] = Schedule.parse(spec)
            except CronError as error:
                self._schedules[spec] = error
        return self._schedules[spec]


def _meant(stored: datetime, now: datetime) -> datetime:
    """When a stored time was: if the clock has shown it twice by ``now``, the second time.

    So what is made up for one by one moves on, and does not go round in the repeated hour.
    """
    second = stored.replace(tzinfo=now.tzinfo, fold=1)
    return second if second.astimezone(UTC) <= now.astimezone(UTC) else second.replace(fold=0)
