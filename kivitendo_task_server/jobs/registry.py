"""Which class runs a job: ours, an installed add-on's, or kivitendo's own by the Perl bridge.

Names come from the database, where every user of the web interface can write them: they are
looked up, never imported or executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Literal

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job

PACKAGE = "kivitendo_task_server.jobs"
ENTRY_POINTS = "kivitendo_task_server.jobs"
"""Group of entry points by which an add-on offers jobs: ``PackageName = module:Class``."""

NATIVE: Mapping[str, str] = {
    "CreatePeriodicInvoices": "periodic_invoices.job:CreatePeriodicInvoices",
    "Test": "test:Test",
}
"""Our own jobs: package_name -> module (below PACKAGE) and class. Imported when first needed."""


def find(name: str, runners: Mapping[str, Literal["native", "perl"]]) -> Job:
    """A fresh job of that package_name, run by whom ``[task_server/runners]`` says.

    Without a setting there, ours if there is one, else an add-on's, else kivitendo's Perl. Raises
    JobFailed if the name is none, or a native one is demanded and there is none.
    """
    runner = runners.get(name)
    if runner != "perl":
        place = NATIVE.get(name)
        if place is not None:
            module, _, kind = place.partition(":")
            return _made(getattr(import_module(f"{PACKAGE}.{module}"), kind))
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            return _made(entry.load())
        if runner == "native":
            raise JobFailed(
                f"there is no native job {name}",
                where=f"[task_server/runners] {name}",
                remedy="remove the key, or install what provides the job",
            )
    return _perl(name)


def _made(kind: type[Job]) -> Job:
    return kind()


def _perl(name: str) -> Job:
    try:
        bridge = import_module(f"{PACKAGE}.perl_bridge")
    except ModuleNotFoundError:
        raise JobFailed(f"the job {name!r} is not known") from None
    job = bridge.PerlJob(name)
    assert isinstance(job, Job)
    return job
