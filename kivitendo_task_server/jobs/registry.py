"""Which class runs a job: ours, an installed add-on's, or kivitendo's own by the Perl bridge.

Names come from the database, where every user of the web interface can write them: they are
looked up, never imported or executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job
from kivitendo_task_server.jobs.perl_jobs import PERL_JOBS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PACKAGE = "kivitendo_task_server.jobs"
ENTRY_POINTS = "kivitendo_task_server.jobs"
"""Group of entry points by which an add-on offers jobs: ``PackageName = module:Class``."""

NATIVE: Mapping[str, str] = {
    "BackgroundJobCleanup": "background_job_cleanup",
    "CheckBelowMinimumStock": "check_below_minimum_stock",
    "CleanAuthSessions": "clean_auth_sessions",
    "CleanBackgroundJobHistory": "clean_background_job_history",
    "CloseProjectsBelongingToClosedSalesOrders": "close_projects",
    "CloseQuotations": "close_quotations",
    "CreatePeriodicInvoices": "periodic_invoices.job",
    "FailedBackgroundJobsReport": "failed_background_jobs_report",
    "InventoryClearAll": "inventory_clear_all",
    "SelfTest": "self_test",
    "SendFollowUpReminder": "send_follow_up_reminder",
    "SetBankAccountsMasterData": "set_bank_accounts_master_data",
    "SetClosedTo": "set_closed_to",
    "SetNumberRange": "set_number_range",
    "Test": "test",
    "UpdateEmployeeBaseData": "update_employee_base_data",
    "UpdateExchangerates": "update_exchangerates",
    "ValidityTokenCleanup": "validity_token_cleanup",
}
"""Our own jobs: package_name, also the name of the class -> module below PACKAGE. Imported when
first needed."""

NO_JOBS = frozenset({"ALL", "Base"})
"""Files beside kivitendo's job classes that are none."""

Runners = Mapping[str, Literal["native", "perl"]]


@dataclass(frozen=True)
class Choice:
    """Who runs a job, and why."""

    name: str
    runner: Literal["native", "add-on", "perl", "nobody"]
    why: str


def find(name: str, runners: Runners) -> Job:
    """A fresh job of that package_name, run by whom ``[task_server/runners]`` says.

    Without a setting there, ours if there is one, else an add-on's, else kivitendo's Perl. Raises
    JobFailed if the name is none, or a native one is demanded and there is none, or an add-on is
    broken.
    """
    runner = runners.get(name)
    kind = None if runner == "perl" else job_class(name)
    if kind is not None:
        return kind()
    if runner == "native":
        raise JobFailed(
            f"there is no native job {name}",
            where=f"[task_server/runners] {name}",
            remedy="remove the key, or install what provides the job",
        )
    from kivitendo_task_server.jobs.perl_bridge import PerlJob

    return PerlJob(name)


def job_class(name: str) -> type[Job] | None:
    """Our own or an add-on's class for a package_name; None if only Perl can have one.

    Raises JobFailed if an add-on's cannot be loaded.
    """
    module = NATIVE.get(name)
    if module is not None:
        kind: type[Job] = getattr(import_module(f"{PACKAGE}.{module}"), name)
        return kind
    entry = _add_ons().get(name)
    return _loaded(entry) if entry is not None else None


def choose(name: str, runners: Runners, kivitendo_dir: Path) -> Choice:
    """What :func:`find` would do, in words; ``nobody`` if it would fail."""
    runner = runners.get(name)
    if runner == "perl":
        return _choose_perl(name, kivitendo_dir, f"[task_server/runners] {name} = perl")
    if name in NATIVE:
        return Choice(name, "native", "built in")
    entry = _add_ons().get(name)
    if entry is not None:
        package = f" of the package {entry.dist.name}" if entry.dist else ""
        try:
            _loaded(entry)
        except JobFailed as error:
            return Choice(name, "nobody", str(error))
        return Choice(name, "add-on", f"entry point {entry.value}{package}")
    if runner == "native":
        return Choice(
            name, "nobody", f"[task_server/runners] {name} = native, but there is no such job"
        )
    return _choose_perl(name, kivitendo_dir, "no native job of this name")


def known_names(runners: Runners, kivitendo_dir: Path) -> list[str]:
    """All jobs there are, here or in kivitendo's directory, and those the configuration names."""
    files = [
        *(kivitendo_dir / "SL" / "BackgroundJob").glob("*.pm"),
        *(kivitendo_dir / "modules" / "override" / "SL" / "BackgroundJob").glob("*.pm"),
    ]
    classes = {file.stem for file in files} - NO_JOBS
    return sorted({*NATIVE, *_add_ons(), *PERL_JOBS, *classes, *runners})


def standard_schedules() -> dict[str, str]:
    """The jobs every tenant should have, with their schedules, in kivitendo's order of creation."""
    order = (
        *("CleanBackgroundJobHistory", "CreatePeriodicInvoices", "BackgroundJobCleanup"),
        *("SelfTest", "CleanAuthSessions", "CreateOrUpdateFileFullTexts"),
        *("UpdateEmployeeBaseData", "ValidityTokenCleanup"),
    )
    schedules = {name: default_schedule(name) for name in order}
    add_ons = {name: job_class(name) for name in sorted(_add_ons())}
    schedules |= {
        name: kind.default_schedule
        for name, kind in add_ons.items()
        if kind is not None and kind.standard
    }
    return {name: spec for name, spec in schedules.items() if spec is not None}


def default_schedule(name: str) -> str | None:
    """The cron specification a new row of this job gets; None if the user must say."""
    if name in PERL_JOBS:
        return PERL_JOBS[name].default_schedule
    kind = job_class(name)
    return kind.default_schedule if kind is not None else None


def _choose_perl(name: str, kivitendo_dir: Path, why: str) -> Choice:
    from kivitendo_task_server.jobs.perl_bridge import check_runnable, class_file

    try:
        check_runnable(kivitendo_dir, name)
    except JobFailed as error:
        return Choice(name, "nobody", f"{why}; {error}")
    file = class_file(kivitendo_dir, name)
    return Choice(name, "perl", f"{why}; {file.relative_to(kivitendo_dir)}")


def _add_ons() -> dict[str, EntryPoint]:
    """The add-ons' jobs; of two for one job the package first in the alphabet provides it."""
    from importlib.metadata import entry_points  # a third of the memory of all that workers share

    found = sorted(
        entry_points(group=ENTRY_POINTS), key=lambda entry: entry.dist.name if entry.dist else ""
    )
    return {entry.name: entry for entry in reversed(found)}


def _loaded(entry: EntryPoint) -> type[Job]:
    where = f"entry point {entry.name} = {entry.value}"
    try:
        kind = entry.load()
    except Exception as error:
        raise JobFailed(
            f"the add-on cannot be loaded: {type(error).__name__}: {error}",
            where=where,
            remedy="repair or remove the package that provides it",
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Job)):
        raise JobFailed(
            "the add-on is no class derived from Job",
            where=where,
            remedy="see docs/writing-jobs.md",
        )
    return kind
