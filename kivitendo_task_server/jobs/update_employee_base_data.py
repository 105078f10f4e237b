"""UpdateEmployeeBaseData: the tenant's users become its employees (jobs.md, 1.6)."""

from __future__ import annotations

from contextlib import closing

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import NoOptions, read_options


class UpdateEmployeeBaseData(Job):
    """Copies login and name of each user of the tenant to the table employee."""

    name = "UpdateEmployeeBaseData"
    default_schedule = "*/5 * * * *"
    standard = True
    summary = "copies logins and names of the tenant's users to its employees"
    Options = NoOptions

    def run(self, context: JobContext) -> str:
        """Result ``1``. Employees without a user are left alone. Only real changes are written.

        Raises JobFailed for kivitendo 3.0, which has no tenants.
        """
        read_options(NoOptions, context.options)
        if context.tenant.id is None:
            raise JobFailed(
                "this release of kivitendo does not record which users belong to a tenant",
                remedy="deactivate the job",
            )
        users = _users(context, context.tenant.id)
        logins = [login for login, _ in users]
        names = [name for _, name in users]
        with context.connection.cursor() as cursor:
            cursor.execute(
                """UPDATE employee SET name = u.name, deleted = false
                   FROM unnest(%s::text[], %s::text[]) AS u (login, name)
                   WHERE employee.login = u.login
                     AND (employee.name, employee.deleted) IS DISTINCT FROM (u.name, false)""",
                (logins, names),
            )
            cursor.execute(
                """INSERT INTO employee (login, name, deleted)
                   SELECT u.login, u.name, false
                   FROM unnest(%s::text[], %s::text[]) AS u (login, name)
                   WHERE NOT EXISTS (SELECT 1 FROM employee e WHERE e.login = u.login)
                   ON CONFLICT DO NOTHING""",
                (logins, names),
            )
        return "1"


def _users(context: JobContext, tenant_id: int) -> list[tuple[str, str | None]]:
    """Login and name of the tenant's users."""
    with closing(context.auth_connection()) as auth, auth, auth.cursor() as cursor:
        cursor.execute(
            """SELECT u.login, name.cfg_value
               FROM auth.clients_users member
               JOIN auth."user" u ON u.id = member.user_id
               LEFT JOIN auth.user_config name ON name.user_id = u.id AND name.cfg_key = 'name'
               WHERE member.client_id = %s ORDER BY u.id""",
            (tenant_id,),
        )
        return cursor.fetchall()
