"""SelfTest: checks the tenant's books and reports by mail (jobs.md, 1.17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import psycopg2
import psycopg2.extensions
from psycopg2 import sql
from psycopg2.errors import UndefinedColumn, UndefinedTable

from kivitendo_task_server.clock import today
from kivitendo_task_server.config.parsers import switch as config_switch
from kivitendo_task_server.database.connection import one_line
from kivitendo_task_server.database.schema import Release, installed_release
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.jobs.job_mail import (
    DEFAULT_SENDER,
    Text,
    address_of,
    composed,
    send_mail,
    templated,
)
from kivitendo_task_server.jobs.options import address, read_options, texts
from kivitendo_task_server.jobs.perl_bridge import PerlJob
from kivitendo_task_server.jobs.perl_jobs import perl_has_any
from kivitendo_task_server.jobs.self_test_transactions import (
    ASSERTIONS,
    BALANCES,
    BALANCES_BEFORE,
    Assertion,
    period,
)
from kivitendo_task_server.log import fields

NATIVE = "Transactions"
TEMPLATE = "templates/mail/self_test/status_mail.txt"
MOST_REMARKS = 20  # for one assertion
WRITTEN_FOR: Release = (4, 1)
"""The assertions are this release's; earlier ones lack some columns and tables."""


@dataclass(frozen=True)
class Options:
    """``modules`` replaces the configured ones, ``mail_to`` the configured user's address."""

    modules: tuple[str, ...] = texts()
    mail_to: str | None = address()
    email: str | None = address()


@dataclass(frozen=True)
class _Configuration:
    """Section ``[self_test]``."""

    modules: tuple[str, ...]
    send_email_on_success: bool
    log_to_file: bool
    send_email_to: str
    email_from: str
    email_subject: str
    email_template: str | None

    @classmethod
    def of(cls, context: JobContext) -> _Configuration:
        section = context.settings.sections.get("self_test", {})

        def on(key: str) -> bool:
            def warn(text: str) -> None:
                action = fields("configuration_warning")
                context.log.warning("[self_test] %s = %s: %s", key, value, text, extra=action)

            value = section.get(key, "")
            return config_switch(value, warn)

        return cls(
            modules=tuple(section.get("modules", NATIVE).split()),
            send_email_on_success=on("send_email_on_success"),
            log_to_file=on("log_to_file"),
            send_email_to=section.get("send_email_to", "").strip(),
            email_from=section.get("email_from") or DEFAULT_SENDER,
            email_subject=section.get("email_subject") or "kivitendo self test report",
            email_template=section.get("email_template"),
        )


@dataclass(frozen=True)
class _Report:
    """What a module came to, in the Test Anything Protocol."""

    name: str
    lines: tuple[str, ...]

    @property
    def passed(self) -> int:
        return sum(line.startswith("ok ") and " # SKIP " not in line for line in self.lines)

    @property
    def failed(self) -> int:
        return sum(line.startswith("not ok ") for line in self.lines)


class SelfTest(Job):
    """Runs the modules and mails their reports.

    Unlike kivitendo, whose mails and log always say FAIL, it tells the true state.
    """

    name = "SelfTest"
    default_schedule = "20 2 * * *"
    standard = True
    summary = "checks the books of the year and reports by mail"
    Options = Options

    def run(self, context: JobContext) -> JobResult | str | None:
        """``1``, whether or not assertions failed; a failure if a module or the mail did.

        If a module is asked for that only kivitendo has, its own job runs all of them.
        """
        options = read_options(Options, context.options)
        configuration = _Configuration.of(context)
        modules = options.modules or configuration.modules
        if perl_has_any(context, set(modules) - {NATIVE}):
            return PerlJob(self.name).run(context)
        reports, errors = [], []
        for name in modules:
            try:
                if name != NATIVE:
                    raise JobFailed("there is no such module, nor a class of kivitendo's for it")
                reports.append(_transactions(context))
            except (psycopg2.Error, JobFailed) as error:
                errors.append(f"{name}: {one_line(error)}")
        if configuration.log_to_file:
            _log(context, reports)
        failed = bool(errors) or any(report.failed for report in reports)
        if reports and (failed or configuration.send_email_on_success):
            errors += _send(context, configuration, options, reports, errors)
        if errors:
            return JobResult(None, "Unsuccessfully executed:" + "".join(f"\n{e}" for e in errors))
        return JobResult("1")


def _transactions(context: JobContext) -> _Report:
    """The assertions of the module Transactions, one after the other.

    What a release before 4.1 has no column or table for is skipped, and the report says so. Raises
    psycopg2.Error, for instance if a table is missing in 4.1; the transaction stays usable.
    """
    lines = [f"1..{len(ASSERTIONS)}"]
    year = period(today(context.clock))
    older = (installed_release(context.connection) or WRITTEN_FOR) < WRITTEN_FOR
    with context.connection.cursor() as cursor:
        for number, assertion in enumerate(ASSERTIONS, 1):
            context.progress(f"assertion {number} of {len(ASSERTIONS)}")
            cursor.execute("SAVEPOINT self_test")
            try:
                if number == BALANCES_BEFORE:
                    cursor.execute(BALANCES, year)
                    lines += [f"# {row[0]}" for row in cursor.fetchall()]
                lines += _verdict(cursor, number, assertion, year)
            except psycopg2.Error as error:
                cursor.execute("ROLLBACK TO self_test")
                if not (older and isinstance(error, (UndefinedColumn, UndefinedTable))):
                    raise
                reason = error.diag.message_primary
                lines.append(f"ok {number} - {assertion.title} # SKIP {reason}")
            cursor.execute("RELEASE self_test")
    return _Report(NATIVE, tuple(lines))


def _verdict(
    cursor: psycopg2.extensions.cursor, number: int, assertion: Assertion, year: Mapping[str, date]
) -> list[str]:
    """The line of one assertion, and its first violations."""
    cursor.execute(
        sql.SQL(
            "SELECT remark, count(*) OVER () FROM ({}) AS found (remark) LIMIT %(most)s"
        ).format(sql.SQL(assertion.violations)),
        {**year, "most": MOST_REMARKS},
    )
    found = cursor.fetchall()
    if not found:
        return [f"ok {number} - {assertion.title}"]
    lines = [f"not ok {number} - {assertion.title}", *(f"#   {remark}" for remark, _ in found)]
    if found[0][1] > len(found):
        lines.append(f"#   … {found[0][1]}")
    return lines


def _log(context: JobContext, reports: list[_Report]) -> None:
    passed, failed = sum(r.passed for r in reports), sum(r.failed for r in reports)
    context.log.info(
        "[SL::BackgroundJob::SelfTest] SelfTest status: %s, passed: %d, failed: %d,"
        " unexpectedly succeeded: 0",
        "FAIL" if failed else "PASS",
        passed,
        failed,
        extra=fields("self_test", tenant=context.tenant.name),
    )


def _send(
    context: JobContext,
    configuration: _Configuration,
    options: Options,
    reports: list[_Report],
    errors: list[str],
) -> list[str]:
    """Mail the reports; what went wrong. No mail without a configured recipient."""
    if not configuration.send_email_to:
        return []
    to = options.mail_to or address_of(context, configuration.send_email_to)
    if not to:
        return [
            f"no mail: {configuration.send_email_to} ([self_test] send_email_to) has no address"
        ]
    mail = composed(
        configuration.email_from,
        ", ".join(filter(None, (to, options.email))),
        configuration.email_subject,
        _text(context, configuration, reports, errors),
    )
    error = send_mail(context, mail)
    return [f"Emailfehler: {error}"] if error else []


_TEXTS = {
    "de": ("Selbsttest von kivitendo", "Mandant", "Datenbank", "Rechner", "Ergebnis",
           "in Ordnung", "FEHLER"),
    "en": ("Self test of kivitendo", "Client", "Database", "Host", "Result", "fine", "FAILED"),
}  # fmt: skip


def _text(
    context: JobContext, configuration: _Configuration, reports: list[_Report], errors: list[str]
) -> Text:
    good = not errors and not any(report.failed for report in reports)
    outputs = {
        f"{number}: {report.name}": "\n".join(report.lines)
        for number, report in enumerate(reports, 1)
    }
    variables = {
        "host": context.settings.task_server.node_id,
        "path": str(context.kivitendo_dir),
        "database": {"name": context.tenant.access.name, "host": context.tenant.access.host},
        "client": {"id": context.tenant.id, "name": context.tenant.name},
        "errors": errors,
        "SELF": {"status": "PASS" if good else "FAIL", "output": outputs},
    }
    return templated(
        context, configuration.email_template, TEMPLATE, variables, must_show=outputs.values()
    ) or _own_text(context, outputs, errors, good=good)


def _own_text(
    context: JobContext, outputs: Mapping[str, str], errors: list[str], *, good: bool
) -> Text:
    title, client, database, host, result, fine, failed = _TEXTS[context.tenant.user.countrycode]
    lines = [
        *(title, ""),
        f"{client}: {context.tenant}",
        f"{database}: {context.tenant.access.name}",
        f"{host}: {context.settings.task_server.node_id}",
        f"{result}: {fine if good else failed}",
    ]
    for heading, output in outputs.items():
        lines += ["", heading, output]
    if errors:
        lines += ["", *errors]
    return Text("\n".join(lines) + "\n")
