"""Jobs that tidy up: the scenarios of jobs.md, 1.2 to 1.5."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from jobs_bench import Bench

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.background_job_cleanup import BackgroundJobCleanup
from kivitendo_task_server.jobs.clean_auth_sessions import CleanAuthSessions
from kivitendo_task_server.jobs.clean_background_job_history import CleanBackgroundJobHistory
from kivitendo_task_server.jobs.validity_token_cleanup import ValidityTokenCleanup


def test_background_job_cleanup(bench: Bench) -> None:
    ago = {hours: bench.now - timedelta(hours=hours) for hours in (25, 23, 24 * 99, 24 * 40, 216)}
    bench.insert(
        "background_jobs",
        [
            {"id": 901, "type": "once", "active": True, "last_run_at": ago[25]},
            {"id": 902, "type": "once", "active": True, "last_run_at": ago[23]},
            {"id": 903, "type": "once", "active": True, "last_run_at": None},
            {"id": 904, "type": "interval", "active": True, "last_run_at": ago[24 * 99]},
            {"id": 905, "type": "once", "active": False, "last_run_at": ago[24 * 40]},
            {"id": 906, "type": None, "active": True, "last_run_at": ago[216]},
        ],
    )
    assert bench.run(BackgroundJobCleanup).text == "1"
    assert bench.column("SELECT id FROM background_jobs ORDER BY id") == [902, 903, 904, 906]


def test_background_job_cleanup_takes_no_options(bench: Bench) -> None:
    with pytest.raises(JobFailed, match="unknown: days"):
        bench.run(BackgroundJobCleanup, "days: 3")


def _history(bench: Bench, rows: list[tuple[str | None, datetime | None]]) -> None:
    bench.insert(
        "background_job_histories",
        [
            {"id": number, "status": status, "run_at": run_at}
            for number, (status, run_at) in enumerate(rows, 1)
        ],
    )


def _kept(bench: Bench) -> list[int]:
    return bench.column("SELECT id FROM background_job_histories ORDER BY id")


def test_history_scenarios_1_to_5(bench: Bench) -> None:
    midnight = bench.now.replace(hour=0, minute=0, second=0)
    second = timedelta(seconds=1)
    _history(
        bench,
        [
            ("success", midnight - timedelta(days=14)),
            ("success", midnight - timedelta(days=14) - second),
            ("failure", midnight - timedelta(days=90)),
            ("failure", midnight - timedelta(days=90) - second),
            ("weird", midnight - timedelta(days=400)),
            (None, midnight - timedelta(days=400)),
            ("success", None),
        ],
    )
    assert bench.run(CleanBackgroundJobHistory).text == "1"
    assert _kept(bench) == [1, 3, 5, 6, 7]


def test_history_scenario_6_zero_means_the_default(bench: Bench) -> None:
    _history(
        bench,
        [
            ("success", bench.now - timedelta(days=3)),
            ("failure", bench.now - timedelta(days=3)),
            ("failure", bench.now.replace(hour=0, minute=0, second=0) - timedelta(days=90)),
        ],
    )
    bench.run(CleanBackgroundJobHistory, "retention_success: 2\nretention_failure: 0\n")
    assert _kept(bench) == [2, 3]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        # scenario 7: the original takes it as 0, and deletes all successes before today
        ("retention_success: abc", "retention_success must be a whole number"),
        ("retention_success: -3", "retention_success must be a whole number"),
        ("- 1", "Not a HASH reference"),
    ],
)
def test_history_refuses(bench: Bench, data: str, complaint: str) -> None:
    _history(bench, [("success", bench.now - timedelta(days=1))])
    with pytest.raises(JobFailed, match=complaint):
        bench.run(CleanBackgroundJobHistory, data)
    assert _kept(bench) == [1]


def _sessions(bench: Bench, auth: Connection) -> list[str]:
    """Sessions by age; returns those that are left after a run, with content and files."""
    files = bench.kivitendo_dir / "users" / "session_files"
    with auth.cursor() as cursor:
        cursor.execute(
            """INSERT INTO auth.session (id, mtime) VALUES
                   ('old1', now() - interval '8 hours 1 minute'),
                   ('new2', now() - interval '7 hours 59 minutes'),
                   ('null3', NULL);
               INSERT INTO auth.session_content (session_id, sess_key)
               SELECT id, 'key' FROM auth.session"""
        )
        for name in ("old1", "new2", "null3", "aa99"):
            (files / name / "below").mkdir(parents=True)
            (files / name / "below" / "file").write_text("x")
        assert bench.run(CleanAuthSessions).text == "1"
        cursor.execute("SELECT id FROM auth.session ORDER BY id")
        left = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT session_id FROM auth.session_content ORDER BY session_id")
        assert [row[0] for row in cursor.fetchall()] == left
    assert sorted(path.name for path in files.iterdir()) == sorted([*left, "aa99"])
    return left


def test_auth_sessions_scenarios_1_2_3_5(bench: Bench, auth: Connection) -> None:
    assert _sessions(bench, auth) == ["new2", "null3"]


def test_auth_sessions_scenario_4_shorter_timeout(bench: Bench, auth: Connection) -> None:
    bench.change_settings(session_timeout=10)
    assert _sessions(bench, auth) == ["null3"]


def test_auth_sessions_never_leave_their_directory(bench: Bench, auth: Connection) -> None:
    victim = bench.kivitendo_dir / "users" / "etc"
    victim.mkdir(parents=True)
    link = bench.kivitendo_dir / "users" / "session_files" / "feed"
    link.parent.mkdir()
    link.symlink_to(victim)
    with auth.cursor() as cursor:
        cursor.execute(
            "INSERT INTO auth.session (id, mtime) VALUES ('../etc', '2020-01-01'),"
            " ('..', '2020-01-01'), ('feed', '2020-01-01')"
        )
        with pytest.raises(JobFailed, match="files of 1 sessions cannot be removed"):
            bench.run(CleanAuthSessions)
        cursor.execute("SELECT id FROM auth.session")
        assert cursor.fetchall() == [("feed",)]
    assert victim.is_dir()


def test_validity_tokens(bench: Bench) -> None:
    bench.insert(
        "validity_tokens",
        [
            {"id": 1, "scope": "a", "token": "x", "valid_until": bench.now - timedelta(seconds=1)},
            {"id": 2, "scope": "a", "token": "y", "valid_until": bench.now + timedelta(minutes=1)},
            {"id": 3, "scope": "b", "token": "z", "valid_until": bench.now.replace(year=2021)},
        ],
    )
    assert bench.run(ValidityTokenCleanup).text == "1"
    assert bench.column("SELECT id FROM validity_tokens") == [2]
