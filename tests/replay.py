"""Replays vectors of the golden format (tests/golden/FORMAT.md) with our job, in this process.

The rules of loading and comparing are those of tests/golden/compare.py, which came with the
vectors. Used by tests/integration/test_golden_vectors.py and by tools/replay-vectors.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg2

import kivitendo_task_server.demo
from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import (
    DatabaseAccess,
    MailDelivery,
    PeriodicInvoicesSettings,
    Settings,
)
from kivitendo_task_server.database import own_schema
from kivitendo_task_server.database.connection import connect, one_line
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.demo.postgres import EmbeddedPostgres
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import JobContext, JobResult, JobRow
from kivitendo_task_server.jobs.periodic_invoices.delivery.invoice import Invoice
from kivitendo_task_server.jobs.periodic_invoices.job import (
    CreatePeriodicInvoices,
    circumstances_of,
)
from kivitendo_task_server.jobs.periodic_invoices.preview import preview

SCHEMA = Path(kivitendo_task_server.demo.__file__).parent / "tenant_schema.sql"
GOLDEN = Path(__file__).parent / "golden"
MAIL_PROGRAM = Path(__file__).parent / "fake-sendmail"
sys.path.insert(0, str(GOLDEN))
import compare  # noqa: E402  (lies beside the vectors)

NO_VECTORS = ("base.json", "schema.json")
"""What else the format has files for."""

FAILED_CONFIG = re.compile(r"^order .*? \(configuration (\d+)\): ", re.MULTILINE)
"""What a history row says of an order that failed."""

NO_VECTOR = (ValueError, LookupError, TypeError, AttributeError, OSError)
"""What reading a file that is no vector comes to."""


class Collected:
    """Takes statements like a cursor, to have them all executed in one round trip."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.statements: list[str] = []

    def execute(self, sql: str, values: Iterable[Any] | None = None) -> None:
        """Keep the statement, with its values put in."""
        self.statements.append(self._cursor.mogrify(sql, values).decode())


class Database(compare.DB):  # type: ignore[misc]
    """The vectors' database; filled, and emptied, in one round trip, and without TRUNCATE."""

    def __init__(self, access: DatabaseAccess) -> None:
        connection = connect(access, purpose="replay")
        own_schema.ensure(connection)
        connection.close()
        super().__init__(
            f"host={access.host} port={access.port} dbname={access.name}"
            f" user={access.user} password={access.password}"
        )

    def load(self, base: dict[str, Any], vector: dict[str, Any], warn: Any = None) -> None:
        cursor = self.cu
        self.cu = collected = Collected(cursor)
        try:
            super().load(base, vector, warn)
        finally:
            self.cu = cursor
        self.cu.execute("; ".join(collected.statements))

    def clear(self) -> None:
        self.cx.rollback()  # a vector that could not be loaded leaves its transaction open
        self.cx.autocommit = True
        deletions = [f'DELETE FROM public."{table}"' for table in self.cols]  # noqa: S608
        restarts = [
            f"SELECT setval('public.\"{sequence}\"', {compare.FIRST_NEW_ID})"
            for sequence in self.seqs
        ]
        deletions.append("DELETE FROM kivitendo_task_server.deliveries")
        switched = ["SET session_replication_role = replica", *deletions, *restarts]
        self.cu.execute("; ".join([*switched, "SET session_replication_role = origin"]))


@dataclass(frozen=True)
class StubbedRenderer:
    """The PDF step of FORMAT.md's "stub_pdf": "ok" or "fail"."""

    stubbed: str

    def for_mail(self, invoice: Invoice) -> bytes:
        """A file, or the failure."""
        if self.stubbed == "fail":
            raise JobFailed("PDF stub: failure requested")
        return b"%PDF-1.4 stub"

    for_printer = for_mail


@dataclass(frozen=True)
class Replayed:
    """What became of one vector."""

    name: str
    about: str
    differences: list[str]
    result: JobResult


class Replayer:
    """Replays vectors on one database, which is emptied for each."""

    def __init__(self, access: DatabaseAccess) -> None:
        self._access = access
        self._database = Database(access)

    @cached_property
    def _base(self) -> dict[str, Any]:
        base: dict[str, Any] = json.loads((GOLDEN / "base.json").read_text("utf-8"))
        return base

    def replay(self, path: Path) -> Replayed:
        """Load the vector, run the job once, compare what it did to the database.

        What ``preview`` foretells has to come true, too.
        """
        vector = json.loads(path.read_text("utf-8"))
        self._database.clear()
        self._database.load(self._base, vector)
        before = self._database.snapshot()
        previewed = self._preview(vector)
        with tempfile.TemporaryDirectory(prefix="replayed-mails-") as mails:
            result = self._run(vector, Path(mails))
            sent = compare.read_mails(mails)
        actual = compare.effects(self._database, before, self._database.snapshot(), vector["today"])
        expected = self._at_database_date(vector)
        differences: list[str] = compare.differences(self._database, expected, actual)
        differences += self._history_differences(vector, result)
        if "the database refuses it" not in (result.error or ""):  # that cannot be foretold
            differences += self._preview_differences(previewed)
        differences += self._mail_differences(vector.get("mails", []), sent)
        return Replayed(vector["name"], vector["about"], differences, result)

    def _at_database_date(self, vector: dict[str, Any]) -> dict[str, Any]:
        """What is expected, with today's date where the database's clock had put its own.

        An order without transdate gives an orddate of the day the vector was measured; it gets that
        date itself when it is closed.
        """
        expected: dict[str, Any] = vector["expected"]
        undated = [o for o in vector["input"].get("oe", []) if o.get("transdate", "") is None]
        today = str(self._database.q("SELECT current_date")[0][0])
        for row in expected["inserted"].get("ar", []):
            numbers = {order["ordnumber"] for order in undated}
            if row["ordnumber"] in numbers and row["orddate"] is not None:
                row["orddate"] = today
        for row in expected["updated"].get("oe", []):
            if row["key"]["id"] in {o["id"] for o in undated} and "transdate" in row["set"]:
                row["set"]["transdate"] = today
        return expected

    def _preview(self, vector: dict[str, Any]) -> Counter[tuple[str, ...]]:
        """What ``preview`` says before the run: order, period, net, total of each invoice."""
        connection = connect(self._access, purpose="replay")
        try:
            clock = FixedClock(_moment(vector))
            found = circumstances_of(connection, _user(vector), clock, PeriodicInvoicesSettings())
            expected = preview(connection, found, found.today)
        finally:
            connection.close()
        return Counter(
            (one.ordnumber, str(one.period), f"{one.netamount:.2f}", f"{one.amount:.2f}")
            for one in expected.invoices
        )

    def _preview_differences(self, previewed: Counter[tuple[str, ...]]) -> list[str]:
        posted = Counter(
            (ordnumber, period, str(net), str(amount))
            for ordnumber, period, net, amount in self._database.q(
                "SELECT ar.ordnumber, period_start_date::text, round(netamount, 2),"
                "       round(amount, 2)"
                "  FROM ar JOIN periodic_invoices ON ar_id = ar.id WHERE ar.id > %s",
                [compare.FIRST_NEW_ID],
            )
        )
        return [f"preview: {key} foretold, not posted" for key in previewed - posted] + [
            f"preview: {key} posted, not foretold" for key in posted - previewed
        ]

    def _run(self, vector: dict[str, Any], mails: Path) -> JobResult:
        connection = connect(self._access, purpose="replay")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SET timezone TO 'UTC'")
            context = JobContext(
                tenant=Tenant(1, "Golden", self._access, _user(vector)),
                connection=connection,
                settings=self._settings(vector, mails),
                clock=FixedClock(_moment(vector)),
                log=logging.getLogger("replay"),
                job=JobRow(1, "interval", "CreatePeriodicInvoices"),
                options={},
                kivitendo_dir=Path.cwd(),
            )
            stubbed = vector.get("stub_pdf", "ok")
            return CreatePeriodicInvoices(lambda *_: StubbedRenderer(stubbed)).run(context)
        finally:
            connection.close()

    def _settings(self, vector: dict[str, Any], mails: Path) -> Settings:
        """The vector's section of the configuration file, and a mail program that keeps mails."""
        section = dict(vector.get("conf", {}).get("periodic_invoices", {}))
        if section.get("email_template") == "@own":
            del section["email_template"]
        section["send_for_errors_only"] = bool(int(section.get("send_for_errors_only") or 0))
        command = f"{shlex.quote(str(MAIL_PROGRAM))} {shlex.quote(str(mails))}"
        return Settings(
            self._access,
            Path("config/kivitendo.conf"),
            mail=MailDelivery(method="sendmail", sendmail=command),
            periodic_invoices=PeriodicInvoicesSettings(**section),
        )

    def _mail_differences(
        self, expected: list[dict[str, Any]], actual: list[dict[str, Any]]
    ) -> list[str]:
        """As compare.py does with --mails: a summary's text is its own template's."""
        if len(expected) != len(actual):
            return [f"mails: expected {[m['to'] for m in expected]}, got {actual}"]
        return [
            f"mail to {wanted['to']}: {key} expected {wanted[key]!r}, got {got.get(key)!r}"
            for wanted, got in zip(expected, actual, strict=True)
            for key in wanted
            if key != "kind"
            and wanted[key] != got.get(key)
            and not (wanted["kind"] == "summary" and key in ("body", "content_type"))
        ]

    def _history_differences(self, vector: dict[str, Any], result: JobResult) -> list[str]:
        failing = sorted(one["config_id"] for one in vector.get("failing_configs", []))
        told = sorted(map(int, FAILED_CONFIG.findall(result.error or "")))
        expected = "failure" if failing else vector["history"]["status"]
        actual = "failure" if result.failed else "success"
        if (expected, failing) == (actual, told):
            return []
        return [
            f"history: expected {expected} {failing or ''}, got {actual} {told or ''}:"
            f" {result.error}"
        ]


def _moment(vector: dict[str, Any]) -> datetime:
    """The program's clock."""
    text = f"{vector['today']}T{vector.get('now', '12:00:00')}"
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _user(vector: dict[str, Any]) -> TenantUser:
    user = vector["user"]
    return TenantUser(
        login=user["login"],
        email=user.get("email") or "",
        countrycode=user["countrycode"],
        dateformat=user["dateformat"],
        numberformat=user["numberformat"],
    )


def tenant_database(cluster: EmbeddedPostgres, name: str) -> DatabaseAccess:
    """A new database of this cluster with kivitendo's tables."""
    maintenance = connect(cluster.access("postgres"), purpose="replay")
    maintenance.autocommit = True
    with maintenance.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    maintenance.close()
    connection = connect(cluster.access(name), purpose="replay")
    with connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA.read_text("utf-8"))
    connection.close()
    return cluster.access(name)


def vector_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The vector files named, and those below the folders named, by name.

    Raises ValueError for what does not exist, and for folders without vectors.
    """
    for path in paths:
        found = [path]
        if path.is_dir():
            found = sorted(file for file in path.rglob("*.json") if file.name not in NO_VECTORS)
        if not found or not path.exists():
            raise ValueError(f"{path}: {'no vectors in this folder' if not found else 'no file'}")
        yield from found


def replay_all(replayer: Replayer, files: Sequence[Path], *, quiet: bool) -> int:
    """Replay the vectors and print what differs; how many failed."""
    failed = 0
    for path in files:
        try:
            replayed = replayer.replay(path)
            name, differences = f"{replayed.name} ({replayed.about})", replayed.differences
        except NO_VECTOR as error:
            name, differences = str(path), [f"is no vector ({type(error).__name__}: {error})"]
        except (JobFailed, psycopg2.Error) as error:
            name, differences = str(path), [one_line(error)]
        if differences:
            failed += 1
            print(f"FAIL {name}", *differences, sep="\n     ")
        elif not quiet:
            print(f"ok   {path.stem}")
    print(f"{len(files) - failed} passed, {failed} failed")
    return failed


def main() -> int:
    """Replay what the command line names; exit code 1 if any vector failed, 2 for a wrong usage."""
    parser = argparse.ArgumentParser(
        prog="replay-vectors",
        description="Replays golden vectors of recurring invoices (tests/golden/FORMAT.md) on a"
        " fresh database, and prints what differs.",
        epilog="Exit code 0: all passed, 1: some failed, 2: nothing was replayed.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="vector or folder")
    parser.add_argument("-q", "--quiet", action="store_true", help="only failures and the summary")
    arguments = parser.parse_args()
    try:
        files = list(vector_files(arguments.paths))
    except ValueError as error:
        parser.error(str(error))
    logging.getLogger("replay").addHandler(logging.NullHandler())  # the vectors' own warnings
    with EmbeddedPostgres(durable=False) as cluster:
        replayer = Replayer(tenant_database(cluster, "golden"))
        return 1 if replay_all(replayer, files, quiet=arguments.quiet) else 0


if __name__ == "__main__":
    sys.exit(main())
