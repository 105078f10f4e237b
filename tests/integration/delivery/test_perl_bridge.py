"""The bridge with a real Perl, a stand-in kivitendo directory and real databases (jobs.md, 3.3)."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from kivitendo_fixture import until
from stand_in import Kivitendo

from kivitendo_task_server.config.settings import SystemSettings
from kivitendo_task_server.database.connection import connect
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs import perl_bridge, perl_process
from kivitendo_task_server.jobs.interface import JobContext, JobResult
from kivitendo_task_server.jobs.perl_bridge import PerlJob
from kivitendo_task_server.jobs.process_family import MARK


def job_context(kivitendo: Kivitendo, package_name: str, data: str | None) -> JobContext:
    job = kivitendo.add_job(package_name, data)
    return kivitendo.context(job, package_name, data)


@pytest.fixture
def run(kivitendo: Kivitendo):
    """Runs a job class with a data text, as a worker does."""

    def run(package_name: str, data: str | None = None, **changes) -> JobResult:
        context = job_context(kivitendo, package_name, data)
        context.settings = replace(context.settings, **changes)
        result = PerlJob(package_name).run(context)
        assert isinstance(result, JobResult)
        return result

    return run


def behave(run, how: str, **more: str) -> JobResult:
    data = "".join(f"{key}: {value}\n" for key, value in {"how": how, **more}.items())
    return run("Behaviour", f"---\n{data}")


# ---- results and failures ----------------------------------------------------------------------


def test_the_result_is_the_jobs(run):
    assert run("Test", "result: x") == JobResult("x")
    assert run("Test") == JobResult("1")


def test_a_failure_has_the_perl_text(run):
    with pytest.raises(JobFailed, match=r"^Oh cruel world: ä at .*Test\.pm line \d+.*\.\n$"):
        run("Test", "exception: ä")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("list", "three"),
        ("array", '{"1","2","a \\"quoted\\\\\\" text",NULL,{"3"}}'),
        ("nothing", None),
        ("empty", ""),
        ("zero", "0"),
        ("long", "ä" * 100_000),
        ("nul", "before"),
        ("unicode", "Grüße, 日本語, €, 😀"),
        ("bytes", "Grüße"),
        ("object", "übersetzt"),
        ("report_lookalike", "true result"),
        ("children", "psql psql"),  # the stand-in's; a job may wait for all its children
        ("broken_pipe", "still alive"),
    ],
)
def test_results(run, how, text):
    assert behave(run, how) == JobResult(text)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("hash", "Cannot bind a reference"),
        ("code", "Cannot bind a reference"),
        ("die", r"Äpfel sind aus at "),
        ("die_object", "^ein Ausnahmeobjekt$"),
        ("die_empty", "^Died without a message\n$"),
        ("form_error", "Fehler im Formular"),
        ("exit", "ended with exit status 3 before it could report"),
        ("quiet_exit", "ended with exit status 0 before it could report"),
        ("kill", r"was killed by signal 9 \(SIGKILL\)"),
    ],
)
def test_failures(run, how, message):
    with pytest.raises(JobFailed, match=message):
        behave(run, how)


def test_sub_folders_and_overrides_are_found(run):
    assert run("Own::Job").text == "from a sub-folder"
    assert run("Overridden").text == "the override"


# ---- what is missing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        "test",
        "Test.pm",
        "../Test",
        "Test;exit",
        "Test\n",
        "Ä",
        "Own::",
        "::Own",
        "Own::job",
        "Own:Job",
    ],
)
def test_a_name_that_is_no_class_name_starts_nothing(kivitendo, monkeypatch, name):
    monkeypatch.setattr(perl_bridge, "supervise", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(JobFailed, match="is not the name of a job class"):
        PerlJob(name).run(job_context(kivitendo, name, None))


def test_a_missing_class_starts_nothing(kivitendo, monkeypatch):
    monkeypatch.setattr(perl_bridge, "supervise", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(JobFailed, match=r"^Can't locate SL/BackgroundJob/NoSuchJob\.pm in "):
        PerlJob("NoSuchJob").run(job_context(kivitendo, "NoSuchJob", None))


def test_a_class_with_a_syntax_error_fails_with_perls_message(run):
    with pytest.raises(JobFailed, match=r"syntax error at .*Broken\.pm line 3"):
        run("Broken")


def test_a_missing_module_names_what_to_install(run):
    with pytest.raises(JobFailed) as failure:
        behave(run, "missing_module")
    assert "Can't locate Some/Missing/Module.pm in @INC" in failure.value.what
    assert failure.value.remedy == (
        "install the Perl module Some::Missing::Module: probably apt install"
        " libsome-missing-module-perl, or dnf install 'perl(Some::Missing::Module)'"
    )


def test_a_missing_part_of_kivitendo_is_no_package(kivitendo, run):
    (kivitendo.directory / "SL" / "Mailer.pm").unlink()
    with pytest.raises(JobFailed) as failure:
        run("Test")
    assert "is its directory complete" in (failure.value.remedy or "")


def test_without_perl_the_failure_says_so(run, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(JobFailed) as failure:
        run("Test")
    assert "no Perl on this machine" in failure.value.what
    assert "install the package perl" in (failure.value.remedy or "")


def test_an_unknown_client_fails(kivitendo):
    kivitendo.tenant = replace(kivitendo.tenant, id=99)
    with pytest.raises(JobFailed, match="There is no client with the ID 99"):
        PerlJob("Test").run(job_context(kivitendo, "Test", None))


def test_a_deleted_row_fails(kivitendo):
    with pytest.raises(JobFailed, match="ID 4711 does not exist any more"):
        PerlJob("Test").run(kivitendo.context(4711, "Test"))


# ---- the environment -----------------------------------------------------------------------------


def test_the_environment_is_the_tenants(kivitendo, run):
    lines = (behave(run, "environment").text or "").split("\n")
    directory = kivitendo.directory
    assert lines == [
        "login=buchhaltung",
        "email=buchhaltung@musterfirma.example",
        "language=de",
        "client=7",
        f"scripts={directory}/scripts",
        f"cwd={directory}",
        f"first={directory}/modules/override",
        f"last={directory}",
        "stdin=empty",
        "cgi=CGI",
        # the report, and the pipes to the two psql of the stand-in; nothing of ours
        "descriptors=" + ",".join(["pipe"] * 5),
    ]


def test_secrets_stay_out_of_the_command_line(kivitendo, tmp_path):
    job = kivitendo.add_job("Behaviour", f"how: progress\nfolder: {tmp_path}")
    context = kivitendo.context(job, "Behaviour")
    thread = threading.Thread(target=lambda: PerlJob("Behaviour").run(context))
    thread.start()
    until(lambda: "step: 1" in kivitendo.column(job, "data"))
    words = [word for process in perl_processes() for word in process.cmdline()]
    for step in (1, 2, 3):
        (tmp_path / f"seen_{step}").touch()
    thread.join()
    assert any(word.endswith("perl_driver.pl") for word in words)
    password = kivitendo.settings.auth_database.password
    assert not any("buchhaltung" in word or word == password for word in words)


def test_output_goes_to_the_log_and_not_into_the_result(run, caplog):
    caplog.set_level(logging.INFO)
    assert behave(run, "print").text == "printed"
    assert {"auf der Standardausgabe", "auf der Fehlerausgabe", "vom Formular"} <= set(
        caplog.messages
    )


def test_binary_output_is_survived(run):
    assert behave(run, "binary").text == "printed"


def test_a_flood_of_output_is_cut_and_never_blocks(run, caplog):
    caplog.set_level(logging.INFO)
    assert behave(run, "flood").text == "flooded"
    logged = sum(len(message) for message in caplog.messages if message.startswith("xxx"))
    assert 100_000 < logged <= 256 * 1024
    assert any("more than is logged" in message for message in caplog.messages)


# ---- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["loop", "stubborn"])
def test_an_endless_job_is_ended_at_its_time_limit(kivitendo, how):
    job = kivitendo.add_job("Behaviour", f"how: {how}")
    context = kivitendo.context(job, "Behaviour", time_limit=1)
    with pytest.raises(JobFailed, match="time limit of 1 s"):
        PerlJob("Behaviour").run(context)
    assert perl_processes() == []


def test_time_in_which_it_is_stopped_itself_does_not_count(monkeypatch, tmp_path):
    monkeypatch.setattr(perl_process, "TIME_CHECKS", 0.05)

    def be_stopped():
        ended = perl_process.supervise(
            ["/bin/sh", "-c", "kill -STOP $PPID; sleep 1.5; kill -CONT $PPID"],
            b"",
            directory=tmp_path,
            environment={},
            limits=perl_process.Limits(time=1),
            on_line=lambda *_: None,
        )
        os._exit(0 if (ended.timed_out, ended.exit_code) == (False, 0) else 1)

    supervisor = multiprocessing.get_context("fork").Process(target=be_stopped)
    supervisor.start()
    supervisor.join()
    assert supervisor.exitcode == 0


def test_it_is_ended_when_the_claim_is_lost(kivitendo, tmp_path):
    """Another node may begin the job again as soon as PostgreSQL has ended our session."""
    file = tmp_path / "pid"
    job = kivitendo.add_job("Behaviour", f"how: stubborn\nfile: {file}")
    context = kivitendo.context(job, "Behaviour", time_limit=60)

    def end_the_session():
        until(lambda: file.exists() and file.read_text().endswith("\n"))
        with kivitendo.another_connection() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", (backend,))

    backend = context.connection.info.backend_pid
    thread = threading.Thread(target=end_the_session)
    thread.start()
    with pytest.raises(JobFailed, match="the connection to the database was lost"):
        PerlJob("Behaviour").run(context)
    thread.join()
    assert context.connection.closed
    assert perl_processes() == []


def test_memory_is_limited(run):
    megabyte = 1024**2
    with pytest.raises(JobFailed, match="more memory than its limit of 500 MB"):
        run(
            "Behaviour",
            f"how: allocate\nbytes: {1024**3}",
            system=SystemSettings(memory_limit_vsz=500 * megabyte),
        )
    # the same job has room under the default limit
    assert behave(run, "allocate", bytes=str(1024**3)).text == str(1024**3)


@pytest.mark.parametrize("hidden", ["", "1"])
def test_grandchildren_that_outlive_the_job_are_ended(run, caplog, tmp_path, hidden):
    file = tmp_path / "outlived"
    assert behave(run, "grandchild", file=str(file), hidden=hidden).text == "left somebody behind"
    assert not psutil.pid_exists(int(file.read_text()))
    assert any("left processes behind" in message for message in caplog.messages)


def test_the_whole_family_is_ended_at_the_time_limit(kivitendo, tmp_path):
    # waits for a file that never comes, with the stand-in's psql as children
    job = kivitendo.add_job("Behaviour", f"how: progress\nfolder: {tmp_path}")
    with pytest.raises(JobFailed, match="time limit"):
        PerlJob("Behaviour").run(kivitendo.context(job, "Behaviour", time_limit=1))
    assert perl_processes() == []


def test_a_killed_worker_takes_its_perl_along(kivitendo, tmp_path):
    """kill -9 of the process that supervises: nobody is left to enforce anything."""
    file = tmp_path / "pid"
    job = kivitendo.add_job("Behaviour", f"how: stubborn\nfile: {file}")
    context = kivitendo.context(job, "Behaviour")
    worker = multiprocessing.get_context("fork").Process(
        target=lambda: PerlJob("Behaviour").run(context)
    )
    worker.start()
    until(lambda: file.exists() and file.read_text().endswith("\n"))
    perls = [psutil.Process(int(pid)) for pid in file.read_text().split()]
    worker.kill()
    worker.join()
    until(lambda: not any(map(runs, perls)))


# ---- the database --------------------------------------------------------------------------------


def test_progress_is_visible_while_the_job_runs(kivitendo, tmp_path):
    data = f"---\nfolder: {tmp_path}\nhow: progress\n"
    job = kivitendo.add_job("Behaviour", data)
    results = []
    context = kivitendo.context(job, "Behaviour", data)
    context.connection = kivitendo.another_connection()  # a worker has its own to itself
    thread = threading.Thread(target=lambda: results.append(PerlJob("Behaviour").run(context)))
    thread.start()
    for step in (1, 2, 3):
        until(lambda step=step: f"step: {step}\n" in kivitendo.column(job, "data"))
        (tmp_path / f"seen_{step}").touch()
    thread.join()
    context.connection.close()
    assert results == [JobResult("three steps")]


def test_changed_data_is_stored_and_nothing_else(kivitendo):
    job = kivitendo.add_job("Behaviour", "how: edited_meanwhile")
    PerlJob("Behaviour").run(kivitendo.context(job, "Behaviour"))
    assert "status: fertig" in kivitendo.column(job, "data")
    assert kivitendo.column(job, "cron_spec") == "1 1 * * *"
    assert kivitendo.column(job, "last_run_at") is None


def test_changed_data_is_stored_after_a_failure_too(kivitendo):
    job = kivitendo.add_job("Behaviour", "how: change_data_and_die")
    with pytest.raises(JobFailed, match="half way"):
        PerlJob("Behaviour").run(kivitendo.context(job, "Behaviour"))
    assert "status: halb" in kivitendo.column(job, "data")


def test_what_a_job_left_open_is_rolled_back(kivitendo):
    job = kivitendo.add_job("Behaviour", "how: open_transaction")
    assert PerlJob("Behaviour").run(kivitendo.context(job, "Behaviour")) == JobResult("left open")
    assert kivitendo.column(job, "description") == "a job"
    assert "status: offen" in kivitendo.column(job, "data")


@pytest.mark.parametrize(("how", "sessions"), [("change_data", 0), ("session_file", 1)])
def test_a_session_is_stored_only_for_files(kivitendo, how, sessions):
    job = kivitendo.add_job("Behaviour", f"how: {how}")
    PerlJob("Behaviour").run(kivitendo.context(job, "Behaviour"))
    auth = connect(kivitendo.settings.auth_database, purpose="test")
    with auth, auth.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM auth.session")
        assert cursor.fetchone() == (sessions,)
    auth.close()


def runs(process):
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def perl_processes():
    """The Perl that this test's bridge started, and everything marked as started by it."""
    ours = ("PYTEST_CURRENT_TEST", "PYTEST_XDIST_TESTRUNUID")  # others run at the same time
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            if (
                MARK in environment
                and all(environment.get(name) == os.environ.get(name) for name in ours)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found
