"""Jobs that misbehave, or leave traces, for tests; found by the service as an installed add-on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from psycopg2.extras import RealDictCursor

from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult


def execute(context: JobContext, sql: str, *values: object) -> None:
    with context.connection.cursor() as cursor:
        cursor.execute(sql, values or None)


class Effect(Job):
    """Leaves a row behind, uncommitted, after ``seconds``; may do more before it returns."""

    name = "Effect"

    def run(self, context: JobContext) -> JobResult:
        execute(context, "INSERT INTO effects (job_id) VALUES (%s)", context.job.id)
        time.sleep(float(context.options.get("seconds", 0)))
        execute(context, "UPDATE effects SET done = true WHERE job_id = %s", context.job.id)
        return JobResult("done")


class Sleep(Job):
    """Tells that it began by a file ``began``, and sleeps."""

    name = "Sleep"

    def run(self, context: JobContext) -> JobResult:
        if "began" in context.options:
            Path(context.options["began"]).touch()
        context.progress("half way")
        time.sleep(float(context.options["seconds"]))
        return JobResult("slept")


class SleepInDatabase(Job):
    """Waits within a statement, where no signal is looked at."""

    name = "SleepInDatabase"

    def run(self, context: JobContext) -> JobResult:
        if "began" in context.options:
            Path(context.options["began"]).touch()
        execute(context, "SELECT pg_sleep(%s)", float(context.options["seconds"]))
        return JobResult("slept")


class Exit(Job):
    """Ends its process: politely, rudely, or by a signal."""

    name = "Exit"

    def run(self, context: JobContext) -> JobResult:
        execute(context, "INSERT INTO effects (job_id) VALUES (%s)", context.job.id)
        how = context.options["how"]
        if how == "exit":
            sys.exit(3)
        if how == "_exit":
            os._exit(int(context.options.get("code", 3)))
        os.kill(os.getpid(), int(how))
        time.sleep(60)
        return JobResult()


class Swallow(Job):
    """Goes on after a failed statement, as if nothing had happened."""

    name = "Swallow"

    def run(self, context: JobContext) -> JobResult:
        try:
            execute(context, "SELECT no_such_column")
        except Exception as error:
            context.log.info("swallowed: %s", error)
        return JobResult("fine")


class Deferred(Job):
    """Leaves what cannot be committed."""

    name = "Deferred"

    def run(self, context: JobContext) -> JobResult:
        execute(context, "INSERT INTO deferred_child (parent) VALUES (1)")
        return JobResult("fine")


class Disconnect(Job):
    """Closes the connection that is not its own."""

    name = "Disconnect"

    def run(self, context: JobContext) -> JobResult:
        context.connection.close()
        return JobResult("fine")


class ChangeOwnRow(Job):
    """Writes its own row while it runs, as a user of the web interface may."""

    name = "ChangeOwnRow"

    def run(self, context: JobContext) -> JobResult:
        execute(
            context,
            "UPDATE background_jobs SET cron_spec = '5 5 * * *', data = 'step: 2', active = %s,"
            " description = 'changed', package_name = 'Test',"
            " next_run_at = COALESCE(%s, next_run_at) WHERE id = %s",
            "planned" in context.options,
            context.options.get("planned"),
            context.job.id,
        )
        context.connection.commit()
        return JobResult("changed")


class DeleteOwnRow(Job):
    """Deletes its own row."""

    name = "DeleteOwnRow"

    def run(self, context: JobContext) -> JobResult:
        execute(context, "DELETE FROM background_jobs WHERE id = %s", context.job.id)
        return JobResult("deleted")


class Print(Job):
    """Prints, itself and by a program; shows its environment."""

    name = "Print"

    def run(self, context: JobContext) -> JobResult:
        print("printed by the job")
        print("and on stderr", file=sys.stderr)
        subprocess.run(["sh", "-c", "echo printed by a program; cat"], check=True)
        variable = context.options.get("variable", "")
        return JobResult(
            f"{os.environ.get(variable, '')} {Path.cwd()} {os.getpgrp() == os.getpid()}"
        )


EATING = "import sys, time; eaten = b'x' * int(sys.argv[1]); time.sleep(float(sys.argv[2]))"


class Eat(Job):
    """Uses so many megabytes, or lets a program use them, then sleeps."""

    name = "Eat"

    def run(self, context: JobContext) -> JobResult:
        if context.options.get("program"):
            size = int(context.options["megabytes"]) * 1024 * 1024
            words = [sys.executable, "-c", EATING, str(size), context.options["seconds"]]
            subprocess.run(words, check=True, start_new_session=True)
            return JobResult("eaten")
        eaten = bytearray(int(context.options["megabytes"]) * 1024 * 1024)
        eaten[::4096] = b"x" * len(eaten[::4096])
        time.sleep(float(context.options.get("seconds", 0)))
        return JobResult(str(len(eaten)))


class Settings(Job):
    """Changes the session it was given."""

    name = "Settings"

    def run(self, context: JobContext) -> JobResult:
        context.connection.autocommit = True
        execute(context, "SET search_path = pg_catalog")
        execute(context, "SET statement_timeout = '1ms'")
        return JobResult("set")


class AfterCommit(Job):
    """Does something once it is committed; may fail in that."""

    name = "AfterCommit"

    def run(self, context: JobContext) -> JobResult:
        def action() -> None:
            Path(context.options["file"]).write_text("after")
            raise ValueError("too late to matter")

        context.after_commit(action)
        if "fail" in context.options:
            raise ValueError("no commit")
        return JobResult("committed")


class GiveUpClaim(Job):
    """Gives up the locks of the session it was given, and more, while it runs."""

    name = "GiveUpClaim"

    def run(self, context: JobContext) -> JobResult:
        context.connection.autocommit = True
        execute(context, context.options["how"])
        context.connection.autocommit = False
        execute(context, "INSERT INTO effects (job_id) VALUES (%s)", context.job.id)
        if "began" in context.options:
            Path(context.options["began"]).touch()
            while not Path(context.options["end"]).exists():
                time.sleep(0.02)
        return JobResult("done")


class ChangeSession(Job):
    """Changes its session where PostgreSQL does not know of it, its role, and its directory."""

    name = "ChangeSession"

    def run(self, context: JobContext) -> JobResult:
        context.connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
        context.connection.cursor_factory = RealDictCursor
        execute(context, "SET ROLE pg_monitor")
        os.chdir("/")
        context.connection.commit()
        return JobResult("changed")
