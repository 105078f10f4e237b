"""What the releases of kivitendo do differently with recurring invoices (section 1.10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kivitendo_task_server.database.schema import Release, release_name
from kivitendo_task_server.errors import JobFailed

OLDEST: Release = (3, 5, 4)
NEWEST: Release = (4, 1)

TaxKeyDate = Literal["transdate", "deliverydate", "tax_point"]


@dataclass(frozen=True)
class Behaviour:
    """The switches that a release marker sets; the defaults are those of 4.1."""

    end_date_limits: bool = True
    tax_key_date: TaxKeyDate = "tax_point"
    one_time_adjusted: bool = False
    one_time_uses_value: bool = True
    drop_unknown_variables: bool = False
    html_mails: bool = True
    invoice_columns_in_mails: bool = True
    webdav_copies_of_mailed: bool = True
    document_storage: bool = True
    sub_rows_follow_previous: bool = False
    digits: int = 15


class UnsupportedRelease(JobFailed):
    """The database's release is not one that we bill natively."""


def behaviour_of(release: Release | None, *, trust_unknown: bool) -> Behaviour:
    """The behaviour for the release of a tenant's database.

    Raises UnsupportedRelease for one outside 3.5.4 to 4.1; ``trust_unknown`` lets newer ones
    through.
    """
    newer = release is not None and release[:2] > NEWEST
    if release is None or release < OLDEST or (newer and not trust_unknown):
        raise UnsupportedRelease(
            f"the database is of kivitendo release {release_name(release)}; recurring invoices are"
            f" supported for {release_name(OLDEST)} to {release_name(NEWEST)}",
            where="schema_info",
            remedy="upgrade the database in kivitendo, or let kivitendo's own job do it:"
            " [task_server/runners] CreatePeriodicInvoices = perl"
            + ("; or set [periodic_invoices] trust_unknown_release = 1" if newer else ""),
        )
    if release >= (3, 5, 7):
        tax_key_date: TaxKeyDate = "tax_point"
    else:
        tax_key_date = "deliverydate" if release >= (3, 5, 6) else "transdate"
    return Behaviour(
        end_date_limits=release >= (3, 5, 6),
        tax_key_date=tax_key_date,
        one_time_adjusted=release < (3, 5, 7),
        one_time_uses_value=release >= (3, 8),
        drop_unknown_variables=release < (3, 6),
        html_mails=release >= (3, 6),
        invoice_columns_in_mails=release >= (3, 5, 7),
        webdav_copies_of_mailed=release >= (3, 5, 6),
        document_storage=release >= (3, 5, 7),
        sub_rows_follow_previous=release < (4, 1),
        digits=15 if release >= (4, 1) else 16,
    )
