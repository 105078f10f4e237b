"""CleanAuthSessions: removes the web interface's expired sessions (jobs.md, 1.4)."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job, JobContext
from kivitendo_task_server.jobs.options import NoOptions, read_options


class CleanAuthSessions(Job):
    """Deletes sessions older than ``[authentication] session_timeout``, with their files."""

    name = "CleanAuthSessions"
    default_schedule = "30 6 * * *"
    standard = True
    summary = "removes expired sessions of the web interface, with their files"
    Options = NoOptions

    def run(self, context: JobContext) -> str:
        """Result ``1``. Commits by itself, as the rows are in the authentication database.

        The age is judged by the database's clock, which also wrote ``mtime``. Files go first: if
        they cannot be removed, the session stays and is found again. Raises JobFailed then.
        """
        read_options(NoOptions, context.options)
        files = context.kivitendo_dir / "users" / "session_files"
        removed, problems = [], []
        with closing(context.auth_connection()) as auth, auth, auth.cursor() as cursor:
            cursor.execute(
                """SELECT id FROM auth.session
                   WHERE mtime < now() - make_interval(mins => %s) FOR UPDATE SKIP LOCKED""",
                (context.settings.session_timeout,),
            )
            for (session_id,) in cursor.fetchall():
                try:
                    _remove_files(files, session_id)
                    removed.append(session_id)
                except OSError as error:
                    problems.append(str(error))
            cursor.execute(
                "DELETE FROM auth.session_content WHERE session_id = ANY(%s)", (removed,)
            )
            cursor.execute("DELETE FROM auth.session WHERE id = ANY(%s)", (removed,))
        if problems:
            raise JobFailed(
                f"files of {len(problems)} sessions cannot be removed, first {problems[0]}",
                remedy="let the service's user write there",
            )
        return "1"


def _remove_files(directory: Path, session_id: str) -> None:
    """Remove the session's own directory; its name can never lead anywhere else."""
    name = re.sub(r"[^0-9A-Za-z]", "", session_id)
    if name and (directory / name).is_dir():
        shutil.rmtree(directory / name)
