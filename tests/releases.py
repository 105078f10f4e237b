"""Turns a database of release 4.1 back into one of an earlier release (recurring-invoices.md, 1.9).

Only what a billing run could notice: columns that are not there yet, and those that were different.
"""

from __future__ import annotations

from collections.abc import Iterator

from kivitendo_task_server.database.schema import Release

# What a release brought, undone; applied from the newest down to the one after the target.
UNDONE: dict[Release, str] = {
    (4, 1, 0): """
        ALTER TABLE oe DROP tax_point_start, DROP buyer_id;
        ALTER TABLE ar DROP tax_point_start;
        ALTER TABLE invoice DROP invoicing_period_start, DROP invoicing_period_end;
        ALTER TABLE orderitems DROP invoicing_period_start, DROP invoicing_period_end;
        ALTER TABLE shipto DROP shiptocountry_id, ADD shiptocountry text;
        UPDATE shipto SET shiptocountry = 'Deutschland';
    """,
    (3, 9, 1): """
        ALTER TABLE background_jobs DROP description;
        ALTER TABLE background_job_histories DROP description;
        DROP TABLE file_versions;
    """,
    (3, 9, 0): """
        ALTER TABLE oe ADD quotation boolean DEFAULT false;
        UPDATE oe SET quotation = record_type::text LIKE '%%quotation';
        ALTER TABLE oe DROP record_type;
        ALTER TABLE orderitems DROP orderer_id;
    """,
    (3, 8, 0): """
        ALTER TABLE orderitems DROP recurring_billing_mode, DROP recurring_billing_invoice_id;
        ALTER TABLE ar DROP exchangerate, DROP qr_unstructured_message;
        ALTER TABLE invoice DROP inventory_chart_id, DROP expense_chart_id, DROP tax_id,
                            DROP tax_chart_type;
        ALTER TABLE defaults DROP email_sender_invoice;
        ALTER TABLE buchungsgruppen DROP obsolete;
    """,
    (3, 7, 0): """
        ALTER TABLE ar DROP qr_reference;
        ALTER TABLE oe DROP order_status_id;
        DROP FUNCTION oe_closed_follow_ups_done CASCADE;
        DROP TABLE follow_up_done;
    """,
    (3, 6, 1): """
        ALTER TABLE orderitems ALTER qty TYPE real;
        ALTER TABLE invoice ALTER qty TYPE real;
    """,
    (3, 6, 0): """
        ALTER TABLE oe DROP billing_address_id;
        ALTER TABLE ar DROP billing_address_id, DROP qrbill_without_amount;
        ALTER TABLE files DROP print_variant;
    """,
    (3, 5, 7): """
        ALTER TABLE oe DROP tax_point;
        ALTER TABLE ar DROP tax_point;
        ALTER TABLE orderitems DROP optional;
    """,
    (3, 5, 6, 1): "ALTER TABLE oe DROP exchangerate",
    (3, 5, 6): "ALTER TABLE defaults DROP create_zugferd_invoices",
    (3, 5, 5): "ALTER TABLE background_jobs DROP node_id",
}

ALL: tuple[Release, ...] = (
    (3, 5, 4), (3, 5, 5), (3, 5, 6), (3, 5, 6, 1), (3, 5, 7), (3, 5, 8), (3, 6, 0), (3, 6, 1),
    (3, 7, 0), (3, 8, 0), (3, 9, 0), (3, 9, 1), (3, 9, 2), (4, 0, 0), (4, 1, 0),
)  # fmt: skip


def back_to(release: Release) -> Iterator[str]:
    """The statements, in their order; the last ones set the release markers."""
    for brought, undo in UNDONE.items():
        if brought > release:
            yield undo
    yield "DELETE FROM schema_info"
    for earlier in {(3, 0, 0), (3, 5, 3), release}:
        if earlier <= release:
            yield f"INSERT INTO schema_info (tag) VALUES ('{marker(earlier)}')"  # noqa: S608
    yield "INSERT INTO schema_info (tag) VALUES ('some_later_upgrade')"


def marker(release: Release) -> str:
    """The tag in schema_info."""
    return "release_" + "_".join(map(str, release))
