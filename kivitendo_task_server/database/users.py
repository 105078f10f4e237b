"""Look-ups about users in kivitendo's authentication database."""

from __future__ import annotations

from collections.abc import Collection

from kivitendo_task_server.database.connection import Connection


def emails_of(connection: Connection, logins: Collection[str]) -> dict[str, str]:
    """Login -> e-mail setting (task-server.md, b.4), of those who exist and have one."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT u.login, btrim(c.cfg_value)
               FROM auth."user" u
               JOIN auth.user_config c ON c.user_id = u.id AND c.cfg_key = 'email'
               WHERE u.login = ANY(%s) AND btrim(c.cfg_value) <> ''""",
            (list(logins),),
        )
        return dict(cursor.fetchall())
