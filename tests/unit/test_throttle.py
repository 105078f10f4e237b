"""When a failure is worth a mail: an injected clock over days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kivitendo_task_server.database.failure_mails import Episode
from kivitendo_task_server.scheduling import throttle

START = datetime(2026, 3, 28, 3, 0, tzinfo=UTC)


def _mails(outcomes: str, step: timedelta) -> list[int]:
    """The numbers of the runs after which a mail goes out; ``F`` fails, ``.`` works."""
    episode, sent = Episode(), []
    for number, outcome in enumerate(outcomes):
        now = START + number * step
        if outcome == "F":
            episode = throttle.failed(episode, now)
            if throttle.mail_is_due(episode, now):
                episode = throttle.reported(episode, now)
                sent.append(number)
        else:
            if episode.reported_at is not None:
                sent.append(-number)
            episode = throttle.recovered(episode)
    return sent


def test_each_failure_of_a_daily_job_is_told() -> None:
    assert _mails("..FFF..", timedelta(days=1)) == [2, 3, 4, -5]


def test_a_job_that_fails_every_minute_gives_one_mail_a_day() -> None:
    """The original sent one every minute (i, 36)."""
    minutes = 2 * 24 * 60 + 10
    assert _mails("F" * minutes + "..", timedelta(minutes=1)) == [0, 1440, 2880, -minutes]


def test_a_new_failure_after_a_recovery_is_told_at_once() -> None:
    assert _mails("F.F.", timedelta(hours=2)) == [0, -1, 2, -3]


def test_fails_and_works_in_turns() -> None:
    sent = _mails("F." * 60, timedelta(minutes=10))
    assert sent == [0, -1, 2, -3, 4, -5], "three episodes, then silence for the day"
    sent = _mails("F." * 150, timedelta(minutes=10))
    assert sent[6:] == [144, -145, 146, -147, 148, -149, 288, -289, 290, -291, 292, -293]


def test_a_quiet_episode_that_goes_on_is_told_when_the_day_is_over() -> None:
    flapping = "F.F.F." + "F" * 200
    sent = _mails(flapping, timedelta(minutes=10))
    assert sent == [0, -1, 2, -3, 4, -5, 144]


def test_memory_does_not_grow() -> None:
    episode = Episode()
    for day in range(100):
        now = START + timedelta(days=day, hours=1)
        episode = throttle.recovered(throttle.reported(throttle.failed(episode, now), now))
    assert len(episode.mails) <= 2
