"""Single look-ups about users in kivitendo's authentication database."""

from __future__ import annotations

from kivitendo_task_server.database.connection import Connection


def email_of_login(connection: Connection, login: str) -> str | None:
    """The e-mail setting of a login (task-server.md, b.4).

    None if there is no such login or it has none.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT c.cfg_value FROM auth.user_config c JOIN auth."user" u ON u.id = c.user_id'
            " WHERE u.login = %s AND c.cfg_key = 'email'",
            (login,),
        )
        row = cursor.fetchone()
    return row[0] or None if row else None
