"""What a run came to, and how it is told in the history row and the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

import psycopg2
import psycopg2.errors

from kivitendo_task_server.database.connection import one_line
from kivitendo_task_server.jobs.periodic_invoices.model import PostedInvoice
from kivitendo_task_server.log import fields


@dataclass(frozen=True, slots=True)
class Failure:
    """An order that could not be billed; ``period`` is None if it failed before any."""

    config_id: int
    ordnumber: str
    period: date | None
    message: str

    def __str__(self) -> str:
        period = f", period {self.period}" if self.period else ""
        return f"order {self.ordnumber}{period} (configuration {self.config_id}): {self.message}"


@dataclass(frozen=True, slots=True)
class Extended:
    """A configuration whose end was moved by automatic extension."""

    config_id: int
    ordnumber: str
    old_end: date
    new_end: date

    def __str__(self) -> str:
        return f"order {self.ordnumber}: from {self.old_end} to {self.new_end}"


@dataclass(frozen=True, slots=True)
class Deactivated:
    """A configuration that has ended, with the periods that are lost by it (2.3 [W])."""

    config_id: int
    ordnumber: str
    end_date: date | None
    lost: tuple[date, ...]

    def __str__(self) -> str:
        lost = ", ".join(map(str, self.lost))
        return f"order {self.ordnumber}: ended {self.end_date}" + (
            f"; never billed: {lost}" if lost else ""
        )


@dataclass(slots=True)
class Outcome:
    """Everything that happened in one run, in order."""

    posted: list[PostedInvoice] = field(default_factory=list)
    extended: list[Extended] = field(default_factory=list)
    deactivated: list[Deactivated] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def finished_orders(self) -> list[str]:
        """Order numbers of one-time configurations that are done."""
        return [one.ordnumber for one in self.posted if one.one_time]

    def text(self, *, failures: bool = True) -> str:
        """The result for the history row: one headed list for each kind of event."""
        billed = [
            f"{one.invnumber}: order {one.ordnumber}, period {one.period},"
            f" net {one.netamount:.2f}, total {one.amount:.2f}"
            for one in self.posted
        ]
        sections: tuple[tuple[str, list[str]], ...] = (
            ("invoices posted", billed),
            ("configurations extended", [str(one) for one in self.extended]),
            ("configurations deactivated", [str(one) for one in self.deactivated]),
            ("one-time orders finished", self.finished_orders),
            ("skipped", self.skipped),
            ("failed", [str(one) for one in self.failures] if failures else []),
            ("warnings", self.warnings),
        )
        blocks = [
            "\n".join([f"{len(lines)} {title}:", *lines]) for title, lines in sections if lines
        ]
        return "\n\n".join(blocks) or "nothing was due"

    def error(self) -> str | None:
        """The error for the history row: all failures, one a line; None without any."""
        return "\n".join(str(failure) for failure in self.failures) or None


class Recorder:
    """Keeps the outcome of a run, and tells the log at once."""

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        self.outcome = Outcome()
        self._log = log
        self._failed: set[int] = set()

    def posted(self, invoices: Iterable[PostedInvoice]) -> None:
        """Invoices that are committed."""
        for one in invoices:
            self.outcome.posted.append(one)
            for warning in one.warnings:
                self.warning(f"invoice {one.invnumber} (order {one.ordnumber}): {warning}")
            self._log.info(
                "invoice posted",
                extra=fields(
                    "invoice_posted",
                    invnumber=one.invnumber,
                    order=one.ordnumber,
                    period=one.period,
                    amount=f"{one.amount:.2f}",
                ),
            )

    def failed(
        self,
        config_id: int,
        ordnumber: str,
        period: date | None,
        error: Exception,
        later: Sequence[date] = (),
    ) -> None:
        """An order that could not be billed; said once, also if its block was repeated.

        ``later`` are periods that were due, too, and now have to wait for this one (section 7).
        """
        if config_id in self._failed:
            return
        self._failed.add(config_id)
        failure = Failure(config_id, ordnumber, period, failure_text(error))
        self.outcome.failures.append(failure)
        if later:
            self.outcome.skipped.append(
                f"order {ordnumber}: {', '.join(map(str, later))}, until {period} is billed"
            )
        self._log.warning(
            "%s",
            failure.message,
            extra=fields("invoice_failed", order=ordnumber, period=period or "-", config=config_id),
        )

    def skipped(self, config_id: int, ordnumber: str) -> None:
        """A configuration that had been due, and is no longer once its lock is held."""
        text = (
            f"order {ordnumber} (configuration {config_id}): somebody else billed it, changed it or"
            " deleted it meanwhile, nothing is due any more"
        )
        self.outcome.skipped.append(text)
        self._log.info("%s", text, extra=fields("invoice_skipped", config=config_id))

    def warning(self, text: str) -> None:
        """Something that somebody should look at, though it was done."""
        self.outcome.warnings.append(text)
        self._log.warning("%s", text, extra=fields("invoice_warning"))

    def repeated(self, invoices: int, error: Exception) -> None:
        """A block that failed and is tried again in smaller ones, at last invoice by invoice."""
        self._log.info(
            "a block of %d invoices is repeated in smaller ones: %s",
            invoices,
            failure_text(error),
            extra=fields("block_repeated"),
        )


def failure_text(error: Exception) -> str:
    """A failure as a sentence for the order's line in the result."""
    if isinstance(error, psycopg2.errors.LockNotAvailable):
        return "somebody is editing it; the next run bills it"
    if isinstance(error, psycopg2.Error):
        return f"the database refuses it: {one_line(error)}"
    if isinstance(error, ZeroDivisionError):
        return "a division by zero: check price factors, units and the precision of the client"
    return one_line(error)
