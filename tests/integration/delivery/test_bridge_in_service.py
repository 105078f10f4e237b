"""Jobs of kivitendo's Perl in a pass of the service: what the tables say then (jobs.md, 3.3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from job_rows import add_job
from stand_in import Kivitendo

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import Settings, load
from kivitendo_task_server.scheduling.once import Summary, run_until_idle

NOW = datetime(2026, 11, 22, 15, 22, 10, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.fixture
def settings(kivitendo: Kivitendo) -> Settings:
    with kivitendo.connection as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM background_jobs; DELETE FROM background_job_histories")
    read = load(kivitendo.settings.config_file, kivitendo_dir=kivitendo.directory).settings
    return replace(read, environment=kivitendo.settings.environment)


def run(kivitendo: Kivitendo, settings: Settings) -> Summary:
    return run_until_idle(settings, FixedClock(NOW), kivitendo_dir=kivitendo.directory)


def history(kivitendo: Kivitendo) -> list[tuple[Any, ...]]:
    with kivitendo.connection as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT status, result, error, data FROM background_job_histories ORDER BY id"
        )
        return cursor.fetchall()


def add(kivitendo: Kivitendo, how: str) -> int:
    return add_job(kivitendo.tenant.access, "Behaviour", data=f"---\nhow: {how}\n")


def test_whatever_a_job_does_the_next_one_runs(
    kivitendo: Kivitendo,
    settings: Settings,
) -> None:
    for how in ("exit", "kill", "die", "missing_module"):
        add(kivitendo, how)
    add_job(kivitendo.tenant.access, "Own::Job", data="")
    add_job(kivitendo.tenant.access, "NoSuchClass", data="")
    assert run(kivitendo, settings) == Summary(1, 5, ())
    rows = history(kivitendo)
    assert [row[0] for row in rows] == ["failure"] * 4 + ["success", "failure"]
    for row, text in zip(
        rows,
        [
            "exit status 3",
            "SIGKILL",
            "Äpfel sind aus",
            "libsome-missing-module-perl",
            None,
            "NoSuch",
        ],
        strict=True,
    ):
        assert text in row[2] if text else row[1] == "from a sub-folder"
    with kivitendo.connection as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM background_jobs WHERE next_run_at = '2026-11-23 03:00'"
        )
        assert cursor.fetchone() == (6,)


def test_a_time_limit_in_the_jobs_data(
    kivitendo: Kivitendo,
    settings: Settings,
) -> None:
    add_job(kivitendo.tenant.access, "Behaviour", data="---\nhow: loop\njob_timeout: 1\n")
    assert run(kivitendo, settings) == Summary(0, 1, ())
    [(status, _, error, _)] = history(kivitendo)
    assert status == "failure" and "time limit" in error


def test_the_history_has_the_data_after_the_run(
    kivitendo: Kivitendo,
    settings: Settings,
) -> None:
    job = add(kivitendo, "change_data")
    assert run(kivitendo, settings) == Summary(1, 0, ())
    [(_, result, _, data)] = history(kivitendo)
    assert (result, data) == ("changed", "---\nhow: change_data\nstatus: fertig\n")
    assert kivitendo.column(job, "data") == data


def test_an_open_transaction_takes_nothing_with_it(
    kivitendo: Kivitendo,
    settings: Settings,
) -> None:
    job = add(kivitendo, "open_transaction")
    assert run(kivitendo, settings) == Summary(1, 0, ())
    assert history(kivitendo)[0][:2] == ("success", "left open")
    assert kivitendo.column(job, "description") is None
    assert kivitendo.column(job, "last_run_at") == NOW.replace(tzinfo=None)


def test_what_a_user_changes_meanwhile_survives(
    kivitendo: Kivitendo,
    settings: Settings,
) -> None:
    job = add(kivitendo, "edited_meanwhile")
    run(kivitendo, settings)
    assert kivitendo.column(job, "cron_spec") == "1 1 * * *"
    assert "status: fertig" in kivitendo.column(job, "data")
