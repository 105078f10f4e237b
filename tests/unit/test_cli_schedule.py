"""The command ``schedule``."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

import pytest

from kivitendo_task_server.cli.main import main
from kivitendo_task_server.scheduling.cron import Schedule


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["schedule", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_words_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(
        capsys, "0 3 * * 1,FRI", "--from", "2026-11-22T15:22:10", "--timezone", "Europe/Berlin",
        "--count", "2",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "0 3 * * 1,FRI: at 03:00, on Monday",
        "note: 'FRI' in the weekday field is not understood and left out",
        "next times in Europe/Berlin:",
        "2026-11-23T03:00:00+01:00",
        "2026-11-30T03:00:00+01:00",
    ]


def test_plain_prints_times_only_and_tells_the_two_hours_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = _run(
        capsys, "0 * * * *", "--plain", "--count", "3", "--timezone", "Europe/Berlin",
        "--from", "2026-10-24T23:30:00Z",
    )  # fmt: skip
    assert code == 0
    assert out.splitlines() == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_the_machines_zone_and_now_are_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now().astimezone()
    code, out, _ = _run(capsys, "", "--plain")
    times = [datetime.fromisoformat(line) for line in out.splitlines()]
    assert code == 0 and len(times) == 5 and times[0] > before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["* * * * MON"], "Malformed cron field 'MON'"),
        (["@daily"], "At least five cron entry fields required."),
        (["* * * * *", "--timezone", "Europe/Bielefeld"], "unknown time zone 'Europe/Bielefeld'"),
        (["* * * * *", "--timezone", "../../../etc/passwd"], "unknown time zone"),
        (["* * * * *", "--timezone", "Europe"], "unknown time zone"),
        (["* * * * *", "--from", "gestern"], "'gestern' is not a time"),
        (["* * * * *", "--from", "0001-01-01T00:00+14:00"], "is not a time"),
        (["* * * * *", "--timezone", ""], "unknown time zone ''"),
        (["* * * * *", "--from", ""], "'' is not a time"),  # a variable without a value
        (["* * * * *", "--count", "0"], "a number from 1"),
        (["* * * * *", "--count", "²"], "a number from 1"),
        ([], "SPEC"),
        (["0 0 29 2 *", "--from", "9999-01-01"], "There is no next time."),
    ],
)
def test_errors_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, _, err = _run(capsys, *arguments)
    assert code == 2 and message in err and "Traceback" not in err


def test_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kivitendo_task_server", "schedule", "-1 * * * *"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Malformed cron field '-1'" in done.stderr


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("* * * * *", "every minute, every day"),
        ("*/5 * * * *", "every 5 minutes, every day"),
        ("0,30 8-17 * * 1-5", "every 30 minutes in hours 8 to 17, on Monday to Friday"),
        ("*/7 3 * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of hour 3, every day"),
        ("* 2,3 * * *", "every minute of hours 2 and 3, every day"),
        ("0 * * * *", "every hour, on the hour, every day"),
        ("7 * 1 * *", "at minute 7 of every hour, on day 1 of the month"),
        ("*/20 2 * * *", "at 02:00, 02:20 and 02:40, every day"),
        ("0 0 13 * 5", "at 00:00, on day 13 of the month and also on Friday"),
        ("0 0 1-31 * 5", "at 00:00, on Friday"),
        ("0 0 1-7 * 1-7,5", "at 00:00, every day"),
        ("0 0 5 * 1-5,5,5", "at 00:00, on day 5 of the month"),
        ("0 0 1,2,4-6 1-3,12 *", "at 00:00, on days 1, 2 and 4 to 6 of the month,"
                                 " in January to March and December"),
    ],
)  # fmt: skip
def test_descriptions(spec: str, words: str) -> None:
    assert Schedule.parse(spec).describe() == words
