"""Who runs a job: our classes, add-ons, kivitendo's Perl, nobody."""

from __future__ import annotations

from dataclasses import is_dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs import registry
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.perl_bridge import PerlJob
from kivitendo_task_server.jobs.perl_jobs import PERL_JOBS
from kivitendo_task_server.scheduling.cron import Schedule

SIMPLE = {
    *("BackgroundJobCleanup", "CheckBelowMinimumStock", "CleanAuthSessions"),
    *("CleanBackgroundJobHistory", "CloseProjectsBelongingToClosedSalesOrders"),
    *("CloseQuotations", "FailedBackgroundJobsReport", "InventoryClearAll", "SelfTest"),
    *("SendFollowUpReminder", "SetBankAccountsMasterData", "SetClosedTo", "SetNumberRange"),
    *("Test", "UpdateEmployeeBaseData", "UpdateExchangerates", "ValidityTokenCleanup"),
}
"""The verdict "simple" in jobs.md, section 0."""


class AddOn(Job):
    name = "MyOwnJob"
    default_schedule = "0 5 * * *"
    standard = True

    def run(self, context: JobContext) -> str:
        return "1"


@pytest.fixture
def add_ons(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Entry points as an installed package would have them; a test adds to them."""
    values = {"MyOwnJob": f"{__name__}:AddOn"}

    def entry_points(group: str) -> list[EntryPoint]:
        assert group == "kivitendo_task_server.jobs"
        return [EntryPoint(name, value, group) for name, value in values.items()]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    return values


@pytest.fixture
def kivitendo(tmp_path: Path) -> Path:
    """A kivitendo directory with two job classes and two files that are none."""
    folder = tmp_path / "SL" / "BackgroundJob"
    folder.mkdir(parents=True)
    for name in ("Base", "ALL", "Test", "Eigener"):
        (folder / f"{name}.pm").touch()
    return tmp_path


@pytest.mark.parametrize("name", sorted(registry.NATIVE))
def test_every_native_job_is_well_made(name: str) -> None:
    job = registry.find(name, {})
    assert type(job).__name__ == job.name == name
    assert job.summary
    if job.default_schedule is not None:
        assert not Schedule.parse(job.default_schedule).remarks
    assert job.Options is None or is_dataclass(job.Options)
    assert job.standard == (name in registry.standard_schedules())


def test_all_simple_jobs_are_native() -> None:
    assert set(registry.NATIVE) >= SIMPLE
    assert not set(registry.NATIVE) & set(PERL_JOBS)


def test_without_a_setting_ours_then_an_add_on_then_perl(add_ons: dict[str, str]) -> None:
    add_ons["Test"] = f"{__name__}:AddOn"
    assert registry.find("Test", {}).name == "Test"
    assert isinstance(registry.find("MyOwnJob", {}), AddOn)
    assert isinstance(registry.find("CsvImport", {}), PerlJob)


def test_the_configuration_decides(add_ons: dict[str, str]) -> None:
    assert isinstance(registry.find("Test", {"Test": "perl"}), PerlJob)
    assert isinstance(registry.find("MyOwnJob", {"MyOwnJob": "perl"}), PerlJob)
    assert registry.find("Test", {"Test": "native"}).name == "Test"
    with pytest.raises(JobFailed, match=r"\[task_server/runners\] CsvImport: there is no native"):
        registry.find("CsvImport", {"CsvImport": "native"})


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("no_such_module_anywhere:X", "cannot be loaded: ModuleNotFoundError"),
        (f"{__name__}:Missing", "cannot be loaded: AttributeError"),
        (f"{__name__}:SIMPLE", "is no class derived from Job"),
    ],
)
def test_a_broken_add_on(
    add_ons: dict[str, str], kivitendo: Path, value: str, complaint: str
) -> None:
    add_ons["Broken"] = value
    with pytest.raises(JobFailed, match=complaint):
        registry.find("Broken", {})
    choice = registry.choose("Broken", {}, kivitendo)
    assert choice.runner == "nobody" and complaint in choice.why


def test_choices_and_reasons(add_ons: dict[str, str], kivitendo: Path) -> None:
    def choose(name: str, runner: str | None = None) -> tuple[str, str]:
        runners = {name: runner} if runner else {}
        choice = registry.choose(name, runners, kivitendo)  # type: ignore[arg-type]
        return choice.runner, choice.why

    assert choose("CloseQuotations") == ("native", "built in")
    assert choose("MyOwnJob") == ("add-on", f"entry point {__name__}:AddOn")
    assert choose("Eigener") == (
        "perl",
        "no native job of this name; SL/BackgroundJob/Eigener.pm",
    )
    assert choose("Test", "perl") == (
        "perl",
        "[task_server/runners] Test = perl; SL/BackgroundJob/Test.pm",
    )
    runner, why = choose("CsvImport")
    assert runner == "nobody" and "Can't locate SL/BackgroundJob/CsvImport.pm" in why
    runner, why = choose("Eigener", "native")
    assert runner == "nobody" and "there is no such job" in why
    runner, why = choose("os.system('x')")
    assert runner == "nobody" and "is not the name of a job class" in why


def test_no_perl(kivitendo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    choice = registry.choose("Eigener", {}, kivitendo)
    assert choice.runner == "nobody" and "there is no Perl on this machine" in choice.why


def test_known_names(add_ons: dict[str, str], kivitendo: Path) -> None:
    names = registry.known_names({"Typo": "perl"}, kivitendo)
    assert names == sorted(names)
    assert {"MyOwnJob", "Eigener", "CsvImport", "Typo", *SIMPLE} <= set(names)
    assert not {"Base", "ALL"} & set(names)


def test_standard_jobs(add_ons: dict[str, str]) -> None:
    assert registry.standard_schedules() == {
        "CleanBackgroundJobHistory": "0 3 * * *",
        "CreatePeriodicInvoices": "0 3 * * *",
        "BackgroundJobCleanup": "0 3 * * *",
        "SelfTest": "20 2 * * *",
        "CleanAuthSessions": "30 6 * * *",
        "CreateOrUpdateFileFullTexts": "20 3 * * *",
        "UpdateEmployeeBaseData": "*/5 * * * *",
        "ValidityTokenCleanup": "0 3 * * *",
        "MyOwnJob": "0 5 * * *",
    }


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("SetNumberRange", "59 23 31 12 *"),
        ("SetClosedTo", "1 0 10 * *"),
        ("UpdateExchangerates", "35 4 * * *"),
        ("SendFollowUpReminder", "7 6 * * 1-5"),
        ("ConvertTimeRecordings", "7 3 1 * *"),
        ("CloseQuotations", None),
        ("Unknown", None),
    ],
)
def test_default_schedules(name: str, spec: str | None) -> None:
    assert registry.default_schedule(name) == spec
