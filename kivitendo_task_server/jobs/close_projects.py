"""CloseProjectsBelongingToClosedSalesOrders (jobs.md, 1.7)."""

from __future__ import annotations

from dataclasses import dataclass

from kivitendo_task_server.database.schema import existing_columns
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import read_options, switch, text


@dataclass(frozen=True)
class Options:
    """``new_status``: a name in project_statuses; ``set_inactive``: deactivate them as well."""

    new_status: str = text("done")
    set_inactive: bool = switch(True)


class CloseProjectsBelongingToClosedSalesOrders(Job):
    """Gives projects with a closed sales order a final status."""

    name = "CloseProjectsBelongingToClosedSalesOrders"
    summary = "closes the projects of closed sales orders"
    Options = Options

    def run(self, context: JobContext) -> str:
        """Result ``1``. Raises JobFailed for an unknown status."""
        options = read_options(Options, context.options)
        with context.connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM project_statuses WHERE name = %s ORDER BY id LIMIT 1",
                (options.new_status,),
            )
            status = cursor.fetchone()
            if status is None:
                cursor.execute(
                    "SELECT string_agg(name, ', ' ORDER BY position) FROM project_statuses"
                )
                row = cursor.fetchone()
                raise JobFailed(
                    f"No project status named '{options.new_status}' found!",
                    remedy=f"set new_status to one of: {row and row[0]}",
                )
            # before 3.9 a boolean told quotations from orders
            known = existing_columns(context.connection, ["oe"])["oe"]
            sales_orders = (
                "record_type = 'sales_order'"
                if "record_type" in known
                else "quotation IS NOT TRUE AND customer_id IS NOT NULL"
            )
            cursor.execute(
                f"""UPDATE project
                   SET project_status_id = %(status)s, active = active AND NOT %(inactive)s
                   WHERE project_status_id <> %(status)s
                     AND id IN (SELECT globalproject_id FROM oe
                                WHERE {sales_orders} AND closed)""",  # noqa: S608
                {"status": status[0], "inactive": options.set_inactive},
            )
        return "1"
