"""When a failure is worth a mail.

The first failure is, at once; then, while it goes on, one mail a day. Something that fails and
works in turns begins a new episode each time: at most three of them are reported within a day.
That it works again is told once, if the failure was.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from kivitendo_task_server.database.failure_mails import Episode

DAY = timedelta(days=1)
EPISODES_A_DAY = 3


def failed(episode: Episode, now: datetime) -> Episode:
    """It failed, for the first time or again."""
    return episode if episode.failing_since else replace(episode, failing_since=now)


def mail_is_due(episode: Episode, now: datetime) -> bool:
    """Whether this failure is to be reported now."""
    return now >= quiet_until(episode, now)


def quiet_until(episode: Episode, now: datetime) -> datetime:
    """From when on a further failure in this episode is to be reported."""
    if episode.reported_at is not None:
        return episode.reported_at + DAY
    recent = _recent(episode, now)
    return now if len(recent) < EPISODES_A_DAY else recent[-EPISODES_A_DAY] + DAY


def reported(episode: Episode, now: datetime) -> Episode:
    """The mail is on its way."""
    return replace(episode, reported_at=now, mails=(*_recent(episode, now), now))


def recovered(episode: Episode) -> Episode:
    """It works: the episode is over."""
    return replace(episode, failing_since=None, reported_at=None)


def _recent(episode: Episode, now: datetime) -> tuple[datetime, ...]:
    return tuple(sorted(at for at in episode.mails if at > now - DAY))
