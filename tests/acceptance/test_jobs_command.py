"""``jobs``, on real databases; once through the real command, otherwise through its main()."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from database_fixture import NewDatabase, create_database
from job_rows import Rows, add_job, execute
from kivitendo_fixture import KivitendoDir, kivitendo_installation

from kivitendo_task_server.cli.main import main
from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.demo.postgres import EmbeddedPostgres


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


Jobs = Callable[..., Done]


@pytest.fixture(scope="module")
def databases(
    cluster: EmbeddedPostgres, templates: dict[str, str]
) -> tuple[DatabaseAccess, DatabaseAccess]:
    """An authentication and a tenant's database for all tests here."""
    return (
        create_database(cluster, "jobs_command_auth", templates["auth"]),
        create_database(cluster, "jobs_command_tenant", templates["tenant"]),
    )


@pytest.fixture
def tenant_access(databases: tuple[DatabaseAccess, DatabaseAccess]) -> DatabaseAccess:
    """The tenant's database, without jobs."""
    execute(
        databases[1],
        "TRUNCATE background_jobs, background_job_histories;"
        " ALTER SEQUENCE background_jobs_id_seq RESTART",
    )
    return databases[1]


@pytest.fixture
def one(
    databases: tuple[DatabaseAccess, DatabaseAccess], tenant_access: DatabaseAccess
) -> Iterator[KivitendoDir]:
    """An installation with one tenant and two job classes of Perl."""
    auth = databases[0]
    execute(
        auth,
        'TRUNCATE auth."user", auth.clients CASCADE; ALTER SEQUENCE auth.clients_id_seq RESTART',
    )
    with kivitendo_installation(auth) as made:
        made.add_tenant("Eins", tenant_access)
        folder = made.path / "SL/BackgroundJob"
        folder.mkdir(parents=True)
        for name in ("Eigener", "CreateOrUpdateFileFullTexts", "Base"):
            (folder / f"{name}.pm").touch()
        yield made


@pytest.fixture
def jobs(
    one: KivitendoDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Jobs:
    """Runs ``jobs`` with some words in this process."""
    monkeypatch.setenv("KIVITENDO_DIR", str(one.path))

    def run(*words: str) -> Done:
        code = main(["jobs", *words])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


def _rows(access: DatabaseAccess) -> Rows:
    return execute(
        access,
        "SELECT type, package_name, active, cron_spec, data, last_run_at, next_run_at > now()"
        " FROM background_jobs ORDER BY id",
    )


def _fails(jobs: Jobs, *words: str, code: int = 2) -> str:
    done = jobs(*words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "internal error" not in done.stderr
    return done.stderr


def test_the_real_command(one: KivitendoDir, tenant_access: DatabaseAccess) -> None:
    done = one.run("jobs", "create", "Test", "--once", "--tenant", "Eins")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "job 1 created: Test, once, next run: at once\n"
    assert one.run("jobs", "frob").returncode == 2
    assert len(_rows(tenant_access)) == 1


def test_create_and_list(
    jobs: Jobs, one: KivitendoDir, tenant_access: DatabaseAccess, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.write_text("years: 2\ndry_run: 1\n")
    done = jobs("create", "CloseQuotations", "--cron", "5 4 * * *", "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"job 1 created: CloseQuotations, interval, next run: \d{4}-\d\d-\d\d 04:05:00\n",
        done.stdout,
    )
    assert jobs("create", "SetNumberRange").returncode == 0  # its own schedule
    assert jobs("create", "Test", "--once").stdout == (
        "job 3 created: Test, once, next run: at once\n"
    )
    assert jobs("create", "Test", "--once", "--cron", "0 5 1 1 *").stdout.endswith(
        "-01-01 05:00:00\n"
    )
    assert _rows(tenant_access) == [
        ("interval", "CloseQuotations", True, "5 4 * * *", "years: 2\ndry_run: 1\n", None, True),
        ("interval", "SetNumberRange", True, "59 23 31 12 *", None, None, True),
        ("once", "Test", True, None, None, None, True),
        ("once", "Test", True, "0 5 1 1 *", None, None, True),
    ]

    execute(
        tenant_access,
        """UPDATE background_jobs SET last_run_at = '2026-11-22 04:05' WHERE id = 1;
           INSERT INTO background_job_histories (package_name, run_at, status)
           VALUES ('CloseQuotations', '2026-11-22 04:05', 'failure'), ('Test', now(), 'success')""",
    )
    done = jobs("list", "--tenant", "Eins")
    assert done.returncode == 0, done.stderr
    lines = [re.split(r"  +", line) for line in done.stdout.splitlines()]
    assert lines[0] == ["tenant Eins (id 1)"]
    assert lines[1] == ["ID", "JOB", "TYPE", "SCHEDULE", "ACTIVE", "LAST RUN", "STATUS",
                        "NEXT RUN", "RUNNER"]  # fmt: skip
    assert lines[2][:7] == ["1", "CloseQuotations", "interval", "5 4 * * *", "yes",
                            "2026-11-22 04:05", "failure"]  # fmt: skip
    assert lines[2][8] == "native"
    assert lines[4][:7] == ["3", "Test", "once", "-", "yes", "-", "-"]
    assert jobs().stdout == done.stdout


def test_enable_disable_delete(
    jobs: Jobs, one: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    number = str(add_job(tenant_access, "Test", cron_spec="0 3 * * *"))
    done = jobs("disable", number)
    assert done.stdout == f"job {number} (Test) disabled\n"
    assert _rows(tenant_access) == [("interval", "Test", False, "0 3 * * *", None, None, False)]
    done = jobs("enable", number, "--tenant", "1")
    assert re.fullmatch(rf"job {number} \(Test\) enabled, next run: .* 03:00:00\n", done.stdout)
    assert _rows(tenant_access) == [("interval", "Test", True, "0 3 * * *", None, None, True)]
    assert jobs("delete", number).stdout == f"job {number} (Test) deleted\n"
    assert _rows(tenant_access) == []
    for action in ("enable", "disable", "delete"):
        assert f"there is no job with the id {number}" in _fails(jobs, action, number, code=1)


def test_enable_needs_a_good_schedule(jobs: Jobs, tenant_access: DatabaseAccess) -> None:
    number = str(add_job(tenant_access, "Test", cron_spec="61 * * * *", active=False))
    assert "Field value (61) out of range (0-59)" in _fails(jobs, "enable", number)
    assert _rows(tenant_access)[0][2] is False


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["create"], "either NAME or --standard is needed"),
        (["create", "Test", "--standard"], "either NAME or --standard is needed"),
        (["create", "--standard", "--once"], "--standard goes with no other option"),
        (["create", "Nix"], "nobody can run a job 'Nix' here"),
        (["create", "Base::x; rm"], "is not the name of a job class"),
        (["create", "Test", "--cron", "@daily"], "At least five cron entry fields required."),
        (["create", "Test", "--cron", "0 0 30 2 *"], "Impossible last day for provided months."),
        (["create", "Test"], "the job Test has no schedule of its own"),
        (["create", "Test", "--once", "--data", "/nonexistent"], "/nonexistent cannot be read"),
        (
            ["create", "Test", "--once", "--tenant", "Zwei"],
            "no such tenant: Zwei (choices: Eins (id 1))",
        ),
        (["enable", "x"], "'x' is not the id of a job"),
        (["enable", "99999999999"], "is not the id of a job"),
        (["frob"], "invalid choice"),
    ],
)
def test_wrong_usage(
    jobs: Jobs, tenant_access: DatabaseAccess, words: list[str], complaint: str
) -> None:
    assert complaint in _fails(jobs, *words)
    assert _rows(tenant_access) == []


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("SetClosedTo", b"{a: 1}", "--data: YAML Error: Invalid element in map"),
        ("SetClosedTo", b"- a", "--data: Not a HASH reference"),
        ("SetClosedTo", b"days: 3", "unknown: days (known: subtract_days, subtract_month)"),
        ("SetClosedTo", b"subtract_days: x", "subtract_days must be a whole number"),
        ("SetClosedTo", b"job_timeout: soon", "job_timeout must be a whole number"),
        ("SetClosedTo", b"\xff", "is not UTF-8"),
        ("Eigener", b"a: [", "YAML Error: Can't parse inline sequence"),
    ],
)
def test_wrong_data(jobs: Jobs, tenant_access: DatabaseAccess, tmp_path: Path, name: str,
                    text: bytes, complaint: str) -> None:  # fmt: skip
    file = tmp_path / "data"
    file.write_bytes(text)
    assert complaint in _fails(jobs, "create", name, "--once", "--data", str(file))
    assert _rows(tenant_access) == []


def test_good_data_with_a_time_limit_and_for_perl(
    jobs: Jobs, one: KivitendoDir, tenant_access: DatabaseAccess, tmp_path: Path
) -> None:
    file = tmp_path / "data"
    file.write_text("job_timeout: 60\nsubtract_days: 3\n")
    assert jobs("create", "SetClosedTo", "--data", str(file)).returncode == 0
    file.write_text("anything: goes\n")
    assert jobs("create", "Eigener", "--once", "--data", str(file)).returncode == 0
    one.configure("task_server/runners", SetClosedTo="perl")
    (one.path / "SL/BackgroundJob/SetClosedTo.pm").touch()
    assert jobs("create", "SetClosedTo", "--data", str(file)).returncode == 0
    assert len(_rows(tenant_access)) == 3


def test_standard_jobs(jobs: Jobs, one: KivitendoDir, tenant_access: DatabaseAccess) -> None:
    add_job(tenant_access, "SelfTest", active=False, cron_spec="1 1 * * *")
    done = jobs("create", "--standard")
    assert done.returncode == 0, done.stderr
    assert "tenant Eins (id 1): job 3 created: CreatePeriodicInvoices, 0 3 * * *\n" in done.stdout
    assert [(row[1], row[2], row[3]) for row in _rows(tenant_access)] == [
        ("SelfTest", False, "1 1 * * *"),  # an administrator's decision
        ("CleanBackgroundJobHistory", True, "0 3 * * *"),
        ("CreatePeriodicInvoices", True, "0 3 * * *"),
        ("BackgroundJobCleanup", True, "0 3 * * *"),
        ("CleanAuthSessions", True, "30 6 * * *"),
        ("CreateOrUpdateFileFullTexts", True, "20 3 * * *"),
        ("UpdateEmployeeBaseData", True, "*/5 * * * *"),
        ("ValidityTokenCleanup", True, "0 3 * * *"),
    ]
    assert jobs("create", "--standard").stdout == ("tenant Eins (id 1): nothing to create\n")


def test_standard_jobs_without_the_perl_class(
    jobs: Jobs, one: KivitendoDir, tenant_access: DatabaseAccess
) -> None:
    (one.path / "SL/BackgroundJob/CreateOrUpdateFileFullTexts.pm").unlink()
    done = jobs("create", "--standard")
    assert "CreateOrUpdateFileFullTexts is left out: " in done.stdout
    assert len(_rows(tenant_access)) == 7


def test_runners(jobs: Jobs, one: KivitendoDir) -> None:
    one.configure("task_server/runners", CloseQuotations="perl", SelfTest="native")
    done = jobs("--runners")
    assert done.returncode == 0, done.stderr
    found = {line.split()[0]: line.split(maxsplit=2)[1:] for line in done.stdout.splitlines()}
    assert found["JOB"] == ["RUNNER", "WHY"]
    assert found["SelfTest"] == ["native", "built in"]
    assert found["Eigener"] == [
        "perl", "no native job of this name; SL/BackgroundJob/Eigener.pm"
    ]  # fmt: skip
    assert found["CloseQuotations"][0] == "nobody"
    assert found["CloseQuotations"][1].startswith("[task_server/runners] CloseQuotations = perl")
    assert "Base" not in found


def test_several_tenants(
    jobs: Jobs, one: KivitendoDir, tenant_access: DatabaseAccess, new_database: NewDatabase
) -> None:
    other = new_database("tenant")
    one.add_tenant("Zwei", other)
    error = _fails(jobs, "create", "Test", "--once")
    assert "one tenant must be named with --tenant (choices: Eins (id 1), Zwei (id 2))" in error
    assert jobs("create", "Test", "--once", "--tenant", "2").returncode == 0
    assert (len(_rows(tenant_access)), len(_rows(other))) == (0, 1)

    execute(other, "DROP TABLE background_jobs")
    done = jobs("list")
    assert done.returncode == 1
    assert 'tenant Zwei (id 2): relation "background_jobs" does not exist' in done.stderr
    assert done.stdout.startswith("tenant Eins (id 1)\nID  JOB")
