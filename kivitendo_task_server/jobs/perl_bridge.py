"""The bridge: runs kivitendo's own job classes, each in a Perl process of its own (jobs.md, 3).

The driver ``perl_driver.pl`` sets up kivitendo's environment for one tenant and reports one line of
JSON; :mod:`kivitendo_task_server.jobs.perl_process` supervises it. Start-up costs one to two
seconds and about 190 MB, so what we have a native job for does not come here by default.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.jobs.perl_process import Condition, Ended, Limits, supervise
from kivitendo_task_server.log import fields

CLASS_NAME = re.compile(r"[A-Z][A-Za-z0-9]*(?:::[A-Z][A-Za-z0-9]*)*")
"""What a job may be called (to be used with ``fullmatch``); checked before anything is started."""

DEFAULT_MEMORY_LIMIT = 4 * 1024**3
"""Bytes of address space for each Perl process and what it starts; office programs need a lot."""

# Debian's package where it is not lib<module>-perl
_DEBIAN_PACKAGES = {
    "CGI": "libcgi-pm-perl",
    "JSON::PP": "perl",
    "POSIX": "perl",
    "FindBin": "perl",
    "Template": "libtemplate-perl",
    "YAML": "libyaml-perl",
    "LWP::UserAgent": "libwww-perl",
    "Algorithm::CheckDigits": "libalgorithm-checkdigits-perl",
}
_MISSING_FILE = re.compile(r"Can't locate (\S+)\.pm in @INC")
# what must not reach programs that are not ours
_OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")


class BridgeUnusable(JobFailed):
    """Nothing can be run: Perl, one of its modules or a part of kivitendo is missing."""


@dataclass(frozen=True)
class Report:
    """What the driver said."""

    result: str | None = None
    data: str | None = None
    """The job's data if the job changed it; the driver has stored it already."""


def class_file(kivitendo_dir: Path, package_name: str) -> Path:
    """The file of a job's class below ``kivitendo_dir``; kivitendo's overrides come first.

    Raises JobFailed for a name that is no class name and for a class that does not exist
    (issue: nothing is started for either).
    """
    if not CLASS_NAME.fullmatch(package_name):
        raise JobFailed(
            f"{package_name!r} is not the name of a job class",
            remedy="a name is made of letters and digits, begins with a capital letter,"
            " and its parts are joined by '::'",
        )
    relative = Path("SL/BackgroundJob", *package_name.split("::")).with_suffix(".pm")
    for folder in (kivitendo_dir / "modules" / "override", kivitendo_dir):
        if (folder / relative).is_file():
            return folder / relative
    raise JobFailed(
        f"Can't locate {relative} in the kivitendo directory {kivitendo_dir}",
        remedy="check the job's package name; a job class of your own belongs into that folder",
    )


def check_runnable(kivitendo_dir: Path, package_name: str) -> None:
    """Raises JobFailed if there is no Perl here, or no such class in the kivitendo directory."""
    class_file(kivitendo_dir, package_name)
    perl_program()


def perl_program() -> str:
    """The path of perl. Raises BridgeUnusable if there is none."""
    perl = shutil.which("perl")
    if perl is None:
        raise BridgeUnusable(
            "there is no Perl on this machine, and this is done by kivitendo's own Perl code",
            remedy="install the package perl and what kivitendo needs besides",
        )
    return perl


class PerlJob(Job):
    """Any job class of kivitendo or of the installation itself, run by kivitendo's Perl.

    History and schedule are written by our worker; the driver stores only what the job itself
    does, and the job's changed data.
    """

    name = ""  # of the class; each instance has its own
    summary = "a job class of kivitendo, run by its own Perl"
    reads_options = False  # Perl reads the data itself, if at all

    def __init__(self, package_name: str) -> None:
        vars(self)["name"] = package_name

    def run(self, context: JobContext) -> JobResult:
        """Run the class (jobs.md, 3.1, "only the work"). Raises JobFailed."""
        class_file(context.kivitendo_dir, self.name)
        # the Perl process works on its own connection: nothing of ours may be in its way
        context.connection.commit()
        report = call(
            context,
            {"command": "run", "package_name": self.name, "job_id": context.job.id},
            time_limit=context.time_limit or None,
        )
        return JobResult(report.result)


def call(
    context: JobContext, request: Mapping[str, Any], *, time_limit: float | None = None
) -> Report:
    """Let the driver do one thing for the context's tenant.

    ``time_limit`` is in seconds. Raises JobFailed with the Perl error's text, or with what ended
    the process, and what to install where something is missing.
    """
    perl = perl_program()
    whole = {
        **request,
        "directory": str(context.kivitendo_dir),
        "config_file": str(context.settings.config_file),
        "client_id": context.tenant.id,
        "login": context.tenant.user.login,
    }
    limits = Limits(time=time_limit, memory=_memory_limit(context))

    def log_line(stream: str, line: str) -> None:
        context.log.info("%s", line, extra=fields("job_output", job=context.job.id, stream=stream))

    with resources.as_file(resources.files(__package__) / "perl_driver.pl") as driver:
        try:
            ended = supervise(
                [perl, str(driver)],
                json.dumps(whole).encode(),
                directory=context.kivitendo_dir,
                environment=_environment(context),
                limits=limits,
                on_line=log_line,
                condition=_session_lives(context.connection),
            )
        except OSError as error:
            raise JobFailed(f"Perl cannot be started: {error}", where=perl) from error
    if ended.given_up:
        # with the session our claim is gone: another node may have begun the job by now
        raise JobFailed("the connection to the database was lost, and so the job was ended")
    _log_leftovers(context, ended)
    return _understood(ended, limits)


def _session_lives(connection: Connection) -> Condition:
    """That the session is there which holds the claim; it says by itself when it ends."""

    def lives() -> bool:
        idle = connection.get_transaction_status() == TRANSACTION_STATUS_IDLE
        with suppress(psycopg2.Error):
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")  # takes in what has arrived
            if idle:
                connection.rollback()
        return not connection.closed

    return Condition(connection.fileno(), lives)


def _memory_limit(context: JobContext) -> int:
    system = context.settings.system
    return system.memory_limit_vsz or DEFAULT_MEMORY_LIMIT


def _environment(context: JobContext) -> dict[str, str]:
    environment = {**os.environ, **context.settings.environment}
    for name in _OWN_VARIABLES:
        environment.pop(name, None)
    return environment


def _log_leftovers(context: JobContext, ended: Ended) -> None:
    if ended.suppressed:
        context.log.warning(
            "the job printed more than is logged; %d bytes were left out",
            ended.suppressed,
            extra=fields("job_output_suppressed", job=context.job.id, bytes=ended.suppressed),
        )
    if ended.left_running:
        context.log.warning(
            "the job left processes behind, which were ended: %s",
            "; ".join(ended.left_running),
            extra=fields("job_processes_ended", job=context.job.id),
        )


def _understood(ended: Ended, limits: Limits) -> Report:
    """The report of a driver, or JobFailed with the reason there is none or a bad one."""
    line = ended.report.partition(b"\n")
    if not line[1]:
        raise _no_report(ended, limits)
    try:
        report = json.loads(line[0])
        status, result, data = report["status"], report.get("result"), report.get("data")
        error = report.get("error")
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise JobFailed(f"the Perl driver's report cannot be read: {problem}") from problem
    if status == "success":
        return Report(_stored(result), data)
    text, remedy = _stored(error) or "failed without a message", _remedy(error or "")
    raise JobFailed(text) if remedy is None else BridgeUnusable(text.rstrip(), remedy=remedy)


def _stored(text: str | None) -> str | None:
    """Text as it can be stored: the original cuts at a NUL byte too (task-server.md, e.3)."""
    return text.partition("\0")[0] if text is not None else None


def _no_report(ended: Ended, limits: Limits) -> JobFailed:
    words = f"; its last words: {ended.last_words}" if ended.last_words else ""
    if ended.timed_out:
        return JobFailed(
            f"took longer than the time limit of {limits.time:g} s and was ended{words}",
            remedy="raise job_timeout in section [task_server], or see why it takes so long",
        )
    if "Out of memory" in ended.last_words and limits.memory is not None:
        return JobFailed(
            f"needed more memory than its limit of {limits.memory // 1024**2} MB{words}",
            remedy="raise memory_limit_vsz in section [system]",
        )
    if ended.signal is not None:
        name = signal.Signals(ended.signal).name
        return JobFailed(f"was killed by signal {ended.signal} ({name}){words}")
    return JobFailed(f"ended with exit status {ended.exit_code} before it could report{words}")


def _remedy(error: str) -> str | None:
    """What to install when Perl misses a file."""
    found = _MISSING_FILE.search(error)
    if found is None:
        return None
    module = found.group(1).replace("/", "::")
    if module.startswith(("SL::", "Form", "Locale")):
        return "that is a part of kivitendo: is its directory complete, and the right one?"
    debian = _DEBIAN_PACKAGES.get(module, f"lib{module.lower().replace('::', '-')}-perl")
    return (
        f"install the Perl module {module}: probably apt install {debian},"
        f" or dnf install 'perl({module})'"
    )
