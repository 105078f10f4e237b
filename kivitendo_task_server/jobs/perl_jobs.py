"""kivitendo's jobs that only its own Perl can run (jobs.md, sections 0 and 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import JobContext


@dataclass(frozen=True)
class PerlJobFacts:
    """What lists and new rows need to know of a job that we do not have as a class."""

    summary: str
    default_schedule: str | None = None


PERL_JOBS: Mapping[str, PerlJobFacts] = {
    "CleanUpEmailSubfolders": PerlJobFacts("imports mails of record folders, removes old folders"),
    "ConvertTimeRecordings": PerlJobFacts("makes delivery orders of time recordings", "7 3 1 * *"),
    "CreateOrUpdateFileFullTexts": PerlJobFacts("indexes the texts of stored files", "20 3 * * *"),
    "CsvImport": PerlJobFacts("runs an import begun in the web interface"),
    "ImportRecordEmails": PerlJobFacts("imports mails with records of a configured account"),
    "MassDeliveryOrderPrinting": PerlJobFacts("prints delivery orders"),
    "MassRecordCreationAndPrinting": PerlJobFacts("makes invoices of delivery orders, prints them"),
    "RemoveInvalidFileEntries": PerlJobFacts("removes entries of files that are gone"),
    "ShopOrderMassTransfer": PerlJobFacts("makes sales orders of shop orders"),
    "ShopPartMassCreate": PerlJobFacts("prepares parts for a shop"),
    "ShopPartMassUpload": PerlJobFacts("uploads parts to a shop"),
    "ShopwareSetPaid": PerlJobFacts("marks shop orders as paid"),
    "SyncEmailFolder": PerlJobFacts("imports mails of a folder"),
    "SyncWebDAV": PerlJobFacts("copies documents to a remote WebDAV", "0 3 * * *"),
}


def perl_has_any(context: JobContext, parts: Iterable[str]) -> bool:
    """Whether Perl may and can run one of these classes below the context's job.

    For jobs that are native except for what an installation has added to them, such as
    ``SelfTest::NovoclonStrict``. Not if ``[task_server/runners]`` demands the native job.
    """
    from kivitendo_task_server.jobs.perl_bridge import check_runnable

    job = context.job.package_name
    if context.settings.runners.get(job) == "native":
        return False
    for part in parts:
        try:
            check_runnable(context.kivitendo_dir, f"{job}::{part}")
            return True
        except JobFailed:
            continue
    return False
