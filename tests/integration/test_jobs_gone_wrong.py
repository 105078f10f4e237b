"""What jobs may do to their worker, their connection and their row, and what is recorded then."""

from __future__ import annotations

import signal
from datetime import datetime
from pathlib import Path

import pytest
from job_rows import execute
from one_tenant import LOCAL_NOW, TOMORROW, OneTenant

from kivitendo_task_server.scheduling.once import Summary


def effects(tenant: OneTenant) -> list[int]:
    return [row[0] for row in tenant.execute("SELECT job_id FROM effects ORDER BY 1")]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("exit", "the job called exit(3)"),
        ("_exit", "the job ended its process (exit code 3)"),
        ("_exit\ncode: 0", "the job ended its process (exit code 0)"),
        (str(int(signal.SIGSEGV)), "the job ended its process (signal SIGSEGV)"),
        (str(int(signal.SIGABRT)), "the job ended its process (signal SIGABRT)"),
    ],
)
def test_a_job_that_ends_its_process_fails_and_the_rest_goes_on(
    add_on: OneTenant, how: str, error: str
) -> None:
    first = add_on.add()
    bad = add_on.add("Exit", data=f"how: {how}")
    last = add_on.add()
    assert add_on.run() == Summary(2, 1, ())
    assert add_on.history() == [
        ("Test", "success", "1", None),
        ("Exit", "failure", None, error),
        ("Test", "success", "1", None),
    ]
    for job in (first, bad, last):
        assert add_on.times(job) == (LOCAL_NOW, TOMORROW)
    assert effects(add_on) == []  # rolled back
    assert add_on.marks() == []


def test_a_killed_job_is_repeated_but_not_for_ever(add_on: OneTenant) -> None:
    job = add_on.add("Exit", data=f"how: {int(signal.SIGKILL)}")
    assert add_on.run() == Summary(0, 3, ())
    reason = "interrupted: the process ended (signal SIGKILL)"
    assert add_on.history() == [
        ("Exit", "failure", None, reason),
        ("Exit", "failure", None, reason),
        ("Exit", "failure", None, f"{reason}; this was so 3 times in a row, so it is not repeated"),
    ]
    assert add_on.times(job) == (LOCAL_NOW, TOMORROW)


def test_what_a_job_leaves_open_is_committed_with_its_record(add_on: OneTenant) -> None:
    jobs = [add_on.add("Effect"), add_on.add("Effect")]
    assert add_on.run() == Summary(2, 0, ())
    assert effects(add_on) == jobs
    assert add_on.times(jobs[0]) == (LOCAL_NOW, TOMORROW)


def test_what_cannot_be_committed_is_a_failure(add_on: OneTenant) -> None:
    add_on.execute("CREATE TABLE deferred_parent (id integer PRIMARY KEY)")
    add_on.execute(
        "CREATE TABLE deferred_child (parent integer REFERENCES deferred_parent"
        " DEFERRABLE INITIALLY DEFERRED)"
    )
    job = add_on.add("Deferred")
    add_on.add()
    assert add_on.run() == Summary(1, 1, ())
    (package, status, _, error), success = add_on.history()
    assert (package, status) == ("Deferred", "failure")
    assert error.startswith("what the job has done cannot be committed: ")
    assert "deferred_child_parent_fkey" in error
    assert success == ("Test", "success", "1", None)
    assert add_on.times(job) == (LOCAL_NOW, TOMORROW)


def test_a_swallowed_database_error_is_a_failure(add_on: OneTenant) -> None:
    job = add_on.add("Swallow")
    add_on.add()
    assert add_on.run() == Summary(1, 1, ())
    assert add_on.history()[0] == (
        "Swallow",
        "failure",
        None,
        "what the job has done cannot be committed: a statement of the job failed, and the job"
        " went on without a rollback",
    )
    assert add_on.times(job) == (LOCAL_NOW, TOMORROW)


def test_a_job_that_closes_the_connection_is_given_up(add_on: OneTenant) -> None:
    job = add_on.add("Disconnect")
    other = add_on.add(next_run_at="2021-01-01")
    assert add_on.run() == Summary(1, 3, ())
    assert "the connection to the database was lost" in add_on.history()[0][3]
    assert add_on.times(job) == (LOCAL_NOW, TOMORROW)
    assert add_on.times(other) == (LOCAL_NOW, TOMORROW)


def test_session_settings_of_a_job_end_with_it(add_on: OneTenant) -> None:
    add_on.add("Settings")
    add_on.add("SleepInDatabase", data="seconds: 0.05")
    assert add_on.run() == Summary(2, 0, ())


def test_a_changed_session_is_as_it_was_for_the_next_job(add_on: OneTenant) -> None:
    add_on.add("ChangeSession")
    effect = add_on.add("Effect")
    add_on.add("Print")
    assert add_on.run() == Summary(3, 0, ())
    assert effects(add_on) == [effect]
    assert str(add_on.installation.path) in add_on.history()[2][2]


def test_a_job_that_gives_up_its_claim_runs_once_if_nobody_takes_it_over(add_on: OneTenant) -> None:
    job = add_on.add("GiveUpClaim", data="how: SELECT pg_advisory_unlock_all()")
    last = add_on.add()
    assert add_on.run() == Summary(2, 0, ())
    assert effects(add_on) == [job]
    assert add_on.times(last) == (LOCAL_NOW, TOMORROW)


@pytest.mark.parametrize("how", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_a_job_that_discards_what_is_not_its_own_fails(add_on: OneTenant, how: str) -> None:
    job = add_on.add("GiveUpClaim", data=f"how: {how}")
    last = add_on.add()
    assert add_on.run() == Summary(1, 1, ())
    assert "has discarded what is prepared in the session" in add_on.history()[0][3]
    assert effects(add_on) == []  # rolled back
    assert add_on.times(job) == add_on.times(last) == (LOCAL_NOW, TOMORROW)


def test_only_the_two_times_of_the_row_are_written(add_on: OneTenant) -> None:
    job = add_on.add("ChangeOwnRow", description="before", data="step: 1")
    assert add_on.run() == Summary(1, 0, ())
    assert add_on.execute(
        "SELECT type, package_name, active, cron_spec, data, description, last_run_at, next_run_at"
        " FROM background_jobs WHERE id = %s",
        job,
    ) == [
        ("interval", "Test", False, "5 5 * * *", "step: 2", "changed", LOCAL_NOW, None),
    ]
    # the history has the data as they are after the run, the rest as it was claimed
    assert add_on.execute(
        "SELECT package_name, description, data FROM background_job_histories"
    ) == [("ChangeOwnRow", "before", "step: 2")]


@pytest.mark.parametrize(
    ("planned", "following"),
    [
        # kivitendo's page sets the next time together with the schedule, other programs may not
        ("2026-11-29 05:05", datetime(2026, 11, 29, 5, 5)),
        ("~", TOMORROW.replace(hour=5, minute=5)),
    ],
)
def test_a_schedule_changed_meanwhile_is_in_force(
    add_on: OneTenant, planned: str, following: datetime
) -> None:
    job = add_on.add("ChangeOwnRow", data=f"planned: {planned}")
    assert add_on.run() == Summary(1, 0, ())
    assert add_on.times(job) == (LOCAL_NOW, following)


def test_a_deleted_row_stays_deleted(add_on: OneTenant) -> None:
    add_on.add("DeleteOwnRow", data="a: b")
    assert add_on.run() == Summary(1, 0, ())
    assert add_on.execute("SELECT * FROM background_jobs") == []
    assert add_on.execute("SELECT status, result, data FROM background_job_histories") == [
        ("success", "deleted", "a: b")
    ]


def test_failures_have_the_description(tenant: OneTenant) -> None:
    tenant.add(description="Testlauf", data="exception: nein")
    assert tenant.run() == Summary(0, 1, ())
    assert tenant.execute("SELECT status, description FROM background_job_histories") == [
        ("failure", "Testlauf")
    ]


def test_texts_of_any_length(tenant: OneTenant, caplog: pytest.LogCaptureFixture) -> None:
    long = 3_000_000
    tenant.add(description="ä" * long, data=f"exception: {'€' * long}")
    tenant.add(data=f"result: {'r' * long}")
    tenant.add("X" * 255, cron_spec="0 3 * * * " + "x" * 240)
    assert tenant.run() == Summary(1, 2, ())
    assert tenant.execute(
        "SELECT length(description), length(result), length(error) >= 3000000"
        " FROM background_job_histories ORDER BY id LIMIT 2"
    ) == [(long, None, True), (None, long, None)]
    assert not [r for r in caplog.records if "cannot be read" in r.getMessage()]


def test_a_wrong_schedule_fails_once_and_starves_nobody(tenant: OneTenant) -> None:
    bad = tenant.add(cron_spec="0 0 99 * *", last_run_at="2019-01-01")
    good = tenant.add(next_run_at="2021-01-01")
    assert tenant.run() == Summary(1, 1, ())
    assert tenant.run() == Summary(0, 0, ())
    error = tenant.history()[0][3]
    assert error.startswith("the job was not run because its schedule is wrong: ")
    assert "99" in error
    assert tenant.times(bad)[1] is None
    assert tenant.times(good) == (LOCAL_NOW, TOMORROW)
    tenant.execute("UPDATE background_jobs SET cron_spec = '0 4 * * *' WHERE id = %s", bad)
    assert tenant.run() == Summary(0, 0, ())
    assert tenant.times(bad)[1] == TOMORROW.replace(hour=4)


@pytest.mark.parametrize("planned", ["-infinity", "0001-01-01", "4713-01-01 BC"])
def test_times_beyond_the_calendar_are_due_like_others(add_on: OneTenant, planned: str) -> None:
    """PostgreSQL has them and Python has not: they must not end the worker."""
    jobs = [add_on.add(next_run_at=planned), add_on.add(last_run_at=planned)]
    jobs.append(add_on.add(last_run_at="infinity"))
    wrong = add_on.add(next_run_at=planned, cron_spec="0 0 99 * *")
    assert add_on.run() == Summary(3, 1, ())
    assert [add_on.times(job) for job in jobs] == [(LOCAL_NOW, TOMORROW)] * 3
    assert add_on.times(wrong) == (None, None)


def test_a_once_job_runs_whatever_its_schedule(tenant: OneTenant) -> None:
    job = tenant.add(type="once", cron_spec="nonsense", next_run_at=None)
    plain = tenant.add(type="once", cron_spec="", next_run_at=None)
    assert tenant.run() == Summary(2, 0, ())
    assert tenant.run() == Summary(0, 0, ())
    assert tenant.times(job) == (LOCAL_NOW, None)
    assert tenant.times(plain) == (LOCAL_NOW, LOCAL_NOW.replace(minute=23, second=0))


def test_interval_jobs_without_a_next_time_get_one(tenant: OneTenant) -> None:
    job = tenant.add(next_run_at=None)
    inactive = tenant.add(next_run_at=None, active=False)
    assert tenant.run() == Summary(0, 0, ())
    assert tenant.times(job) == (None, TOMORROW)
    assert tenant.times(inactive) == (None, None)


def test_missed_runs_are_one_run_unless_they_are_to_be_made_up_for(
    tenant: OneTenant, caplog: pytest.LogCaptureFixture
) -> None:
    missed = "2026-11-20 03:00"  # and the 21st and the 22nd
    plain = tenant.add(next_run_at=missed)
    thorough = tenant.add(next_run_at=missed, data="catch_up: 1\nresult: made up for")
    with caplog.at_level("INFO"):
        assert tenant.run() == Summary(4, 0, ())
    results = [row[2] for row in tenant.history()]
    assert (results.count("1"), results.count("made up for")) == (1, 3)
    assert tenant.times(plain) == tenant.times(thorough) == (LOCAL_NOW, TOMORROW)
    told = {record.getMessage() for record in caplog.records if "later runs" in record.getMessage()}
    assert told == {
        "2 later runs were due as well; this one stands for all of them",
        "2 later runs were due as well; they follow",
        "1 later runs were due as well; they follow",
    }


def test_order_by_time_and_id_with_failing_jobs_last(tenant: OneTenant) -> None:
    late = tenant.add(next_run_at="2022-01-01", data="result: late")
    failing = tenant.add(next_run_at="2020-01-01", data="exception: failing")
    early = [tenant.add(next_run_at="2021-01-01", data=f"result: early {n}") for n in (1, 2)]
    tenant.run()
    assert [row[2] or row[3] for row in tenant.history()] == [
        "Oh cruel world: failing",
        "early 1",
        "early 2",
        "late",
    ]
    tenant.execute("DELETE FROM background_job_histories")
    for job, due in (
        (late, "2022-01-01"),
        (failing, "2020-01-01"),
        *((e, "2021-01-01") for e in early),
    ):
        tenant.execute("UPDATE background_jobs SET next_run_at = %s WHERE id = %s", due, job)
    tenant.run()
    assert [row[2] or row[3] for row in tenant.history()] == [
        "early 1",
        "early 2",
        "late",
        "Oh cruel world: failing",
    ]


def test_a_job_over_its_time_limit(add_on: OneTenant) -> None:
    add_on.installation.configure("task_server", job_timeout="1")
    by_setting = add_on.add("SleepInDatabase", data="seconds: 600")
    by_data = add_on.add("Sleep", data="seconds: 600\njob_timeout: 2")
    unlimited = add_on.add("Sleep", data="seconds: 1.5\njob_timeout: 0")
    assert add_on.run() == Summary(1, 2, ())
    assert add_on.history() == [
        ("SleepInDatabase", "failure", None, "the job exceeded its time limit of 1 s"),
        ("Sleep", "failure", None, "the job exceeded its time limit of 2 s"),
        ("Sleep", "success", "slept", None),
    ]
    for job in (by_setting, by_data, unlimited):
        assert add_on.times(job)[1] == TOMORROW
    # the statement of the first one did not go on in PostgreSQL
    assert (
        add_on.execute(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%'"
            " AND datname = current_database()"
        )
        == []
    )


def test_memory_limits(add_on: OneTenant) -> None:
    add_on.installation.configure("system", memory_limit_rss="150 MB", memory_limit_vsz="1200 MB")
    add_on.add("Eat", data="megabytes: 2000")
    add_on.add("Eat", data="megabytes: 250\nseconds: 60")
    add_on.add("Eat", data="megabytes: 250\nseconds: 60\nprogram: 1")
    add_on.add("Eat", data="megabytes: 5")
    assert add_on.run() == Summary(1, 3, ())
    errors = [row[3] for row in add_on.history()]
    assert errors[0].startswith("not enough memory")
    assert "memory_limit_rss" in errors[1]
    assert "memory_limit_rss" in errors[2]
    assert errors[3] is None


def test_output_environment_and_place_of_a_job(
    add_on: OneTenant, caplog: pytest.LogCaptureFixture
) -> None:
    add_on.installation.configure("environment", KTS_TEST="from the configuration")
    add_on.add("Print", data="variable: KTS_TEST")
    with caplog.at_level("INFO"):
        assert add_on.run() == Summary(1, 0, ())
    assert add_on.history()[0][2] == f"from the configuration {add_on.installation.path} True"
    lines = {record.getMessage() for record in caplog.records}
    assert {"printed by the job", "and on stderr", "printed by a program"} <= lines


def test_actions_after_commit(add_on: OneTenant, tmp_path: Path) -> None:
    done, undone = tmp_path / "done", tmp_path / "undone"
    add_on.add("AfterCommit", data=f"file: {done}")
    add_on.add("AfterCommit", data=f"file: {undone}\nfail: 1")
    assert add_on.run() == Summary(1, 1, ())
    assert done.read_text() == "after"
    assert not undone.exists()


def test_names_from_the_database_are_not_executed(tenant: OneTenant, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    names = (
        # what Python, Perl or a shell would do something with
        *(f'open("{proof}", "w")', f'Test; open("{proof}", "w")'),
        *(f'Test; system("touch {proof}")', f"Test; touch {proof}", f"$(touch {proof})"),
        *("../Test", "os", "Test::", "", "test.Test", "A'B", None),
    )
    for name in names:
        tenant.add(name)  # type: ignore[arg-type]
    assert tenant.run() == Summary(0, len(names), ())
    assert not proof.exists()
    assert all(row[1] == "failure" for row in tenant.history())


def test_no_session_rows_are_made(tenant: OneTenant) -> None:
    tenant.add()
    tenant.run()
    assert execute(tenant.installation.auth, "SELECT count(*) FROM auth.session") == [(0,)]


def test_number_of_runs_and_duration_are_kept(tenant: OneTenant) -> None:
    job = tenant.add(data="exception: x")
    for _ in range(2):
        tenant.execute("UPDATE background_jobs SET next_run_at = '2020-01-01'")
        tenant.run()
    ((runs, failures, started, seconds, node),) = tenant.execute(
        "SELECT runs, failures_in_a_row, last_started_at, last_seconds, last_node"
        " FROM kivitendo_task_server.job_runs WHERE job_id = %s",
        job,
    )
    assert (runs, failures, started, node) == (2, 2, LOCAL_NOW, "vm")
    assert seconds >= 0
