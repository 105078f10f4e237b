"""One delivery run: everything that is pending for one tenant, printing first, then mails (8).

Each invoice and recipient is on its own: what goes wrong with one is stored with it, and the next
follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import psycopg2

from kivitendo_task_server.database.connection import one_line
from kivitendo_task_server.database.schema import installed_release
from kivitendo_task_server.errors import DatabaseError, TaskServerError, UsageError
from kivitendo_task_server.jobs.interface import JobContext
from kivitendo_task_server.jobs.periodic_invoices.behaviour import behaviour_of
from kivitendo_task_server.jobs.periodic_invoices.delivery.documents import DocumentStore
from kivitendo_task_server.jobs.periodic_invoices.delivery.invoice import (
    Invoice,
    NothingToDeliver,
    Row,
    mail_values,
    read_defaults,
    read_invoice,
)
from kivitendo_task_server.jobs.periodic_invoices.delivery.mailing import Mailer, mail_text
from kivitendo_task_server.jobs.periodic_invoices.delivery.pdf import PerlRenderer, Renderer
from kivitendo_task_server.jobs.periodic_invoices.delivery.printing import (
    PrintFailed,
    expand,
    print_file,
)
from kivitendo_task_server.jobs.periodic_invoices.delivery.queue import (
    Delivery,
    DeliveryBusy,
    Queue,
    State,
    exclusive,
)
from kivitendo_task_server.jobs.periodic_invoices.delivery.report import DeliveryReport
from kivitendo_task_server.log import fields

MakeRenderer = Callable[[JobContext, Row], Renderer]

# what may be wrong with one delivery; anything else is a fault of this program, and logged so
_FAULTS = (TaskServerError, OSError, ValueError, psycopg2.Error)


def deliver_pending(
    context: JobContext, *, make_renderer: MakeRenderer = PerlRenderer
) -> DeliveryReport:
    """Do all pending deliveries of the context's tenant, and say what came of them.

    Waits up to a minute for another process that is delivering; then it is told as a problem.
    Raises DatabaseError if the database is lost; what is not done then stays pending.
    """
    return _deliver(context, make_renderer, lambda queue: queue.select(["pending"]), wait=True)


def repeat_deliveries(
    context: JobContext, ids: Sequence[int] | None, *, make_renderer: MakeRenderer = PerlRenderer
) -> DeliveryReport:
    """Do pending and failed deliveries again, or those of ``ids``, ambiguous ones included.

    The other recipients of the same mail who still wait for it get it, too.
    """

    def chosen(queue: Queue) -> list[Delivery]:
        repeated = queue.repeat(ids)
        if ids is not None and (unknown := sorted(set(ids) - set(repeated))):
            raise UsageError(
                f"no delivery to repeat: {', '.join(map(str, unknown))}",
                remedy="see deliveries for their numbers",
            )
        return queue.select(["pending"], ids=repeated)

    return _deliver(context, make_renderer, chosen, wait=False)


def _deliver(
    context: JobContext,
    make_renderer: MakeRenderer,
    choose: Callable[[Queue], list[Delivery]],
    *,
    wait: bool,
) -> DeliveryReport:
    queue = Queue(context.connection)
    report = DeliveryReport()
    try:
        with exclusive(context.connection, wait=wait):
            for lost in queue.recover():
                _note(report, lost, lost.invnumber or "?", _AMBIGUOUS.format(lost.id))
            chosen = choose(queue)
            if chosen:
                Run(context, queue, make_renderer, report).deliver(chosen)
            queue.forget_old()
    except DeliveryBusy as busy:
        report.problems.append(str(busy))
    return report


_AMBIGUOUS = (
    "the process ended while this was being handed over; whether it arrived is not known, and it"
    " is not repeated (ask the recipient, then: deliveries --retry {})"
)


def _note(report: DeliveryReport, delivery: Delivery, number: str, reason: str) -> None:
    failed = report.print_failed if delivery.kind == "print" else report.email_failed
    failed.append((number, reason))


class Run:
    """Delivers a list of pending deliveries."""

    def __init__(
        self,
        context: JobContext,
        queue: Queue,
        make_renderer: MakeRenderer,
        report: DeliveryReport,
    ) -> None:
        self._context = context
        self._connection = context.connection
        self._queue = queue
        self._report = report
        with self._connection:
            release = installed_release(self._connection)
        trusted = context.settings.periodic_invoices.trust_unknown_release
        self._behaviour = behaviour_of(release, trust_unknown=trusted)
        self._defaults = read_defaults(self._connection)
        self._renderer = make_renderer(context, self._defaults)
        self._mailer = Mailer(context, queue)
        self._store = DocumentStore(
            self._connection,
            self._defaults,
            context.kivitendo_dir,
            context.tenant.id,
            context.settings.document_path,
            self._behaviour,
        )

    def deliver(self, pending: Sequence[Delivery]) -> None:
        """Do them: first what is printed, then the mails, each in the order of the invoices."""
        done = 0
        for delivery in (one for one in pending if one.kind == "print"):
            self._attempt([delivery], partial(self._print, delivery))
            done += 1
            self._context.progress(f"{done} of {len(pending)} deliveries")
        mails = [one for one in pending if one.kind == "email"]
        for _, group in groupby(mails, key=lambda one: one.ar_id):
            deliveries = list(group)
            self._attempt(deliveries, partial(self._mail, deliveries))
            done += len(deliveries)
            self._context.progress(f"{done} of {len(pending)} deliveries")

    def _attempt(self, deliveries: list[Delivery], work: Callable[[], None]) -> None:
        """Do one invoice's work; what it raises is a failed attempt for all of ``deliveries``."""
        number = deliveries[0].invnumber or "?"
        try:
            work()
        except NothingToDeliver as nothing:
            for delivery in deliveries:
                self._queue.set(delivery, "dropped", str(nothing))
        except Exception as error:
            if self._connection.closed:
                raise DatabaseError(
                    f"the connection was lost while delivering invoice {number}: {one_line(error)}",
                    remedy="the next run goes on",
                ) from error
            self._connection.rollback()
            known = isinstance(error, _FAULTS)
            reason = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"
            self._fail(deliveries[0], number, reason, None if known else error)
            for delivery in deliveries:
                self._queue.attempt_failed(delivery, reason)

    def _fail(
        self, delivery: Delivery, number: str, reason: str, fault: Exception | None = None
    ) -> None:
        _note(self._report, delivery, number, reason)
        self._context.log.warning(
            "%s",
            reason,
            exc_info=fault,
            extra=fields("delivery_failed", invnumber=number, kind=delivery.kind, id=delivery.id),
        )

    # -- printing (8.1) ------------------------------------------------------------------------

    def _print(self, delivery: Delivery) -> None:
        invoice = read_invoice(self._connection, delivery.ar_id, delivery.config_id)
        if not invoice.config["print"] or invoice.printer is None:
            raise NothingToDeliver("the configuration has no printer, or one without a command")
        words = expand(invoice.printer.command, mail_values(invoice, delivery.exact))
        pdf = self._renderer.for_printer(invoice)
        self._keep(invoice, pdf, "invoice")
        self._queue.set(delivery, "sending")
        try:
            print_file(words, pdf, max(1, invoice.config["copies"] or 1))
        except PrintFailed as error:
            state, reason = _judgement(error)
            self._queue.set(delivery, state, reason, attempted=True)
            self._fail(delivery, invoice.number, reason)
        else:
            self._queue.set(delivery, "sent", attempted=True)
            self._report.printed.append(invoice.number)
            self._note_done(delivery, invoice)

    # -- mailing (8.2, 8.3) --------------------------------------------------------------------

    def _mail(self, deliveries: list[Delivery]) -> None:
        first = deliveries[0]
        invoice = read_invoice(self._connection, first.ar_id, first.config_id)
        if not invoice.config.get("send_email"):
            raise NothingToDeliver("mailing has been switched off in the configuration")
        recipients = invoice.recipients()
        if not recipients:
            raise NothingToDeliver("there is no recipient")
        text = mail_text(self._context, self._behaviour, invoice, self._defaults, first.exact)
        pdf = self._renderer.for_mail(invoice)
        self._keep(invoice, pdf, None)
        accepted = True
        # what goes wrong from here on is stored with the recipients
        deliveries[:] = self._queue.settle_recipients(first, recipients)
        for delivery in deliveries:
            reason = self._mailer.send(delivery, invoice, text, pdf, self._defaults)
            if reason is not None:
                accepted = False
                self._fail(delivery, invoice.number, f"{delivery.recipient}: {reason}")
            else:
                self._note_done(delivery, invoice)
        if accepted and deliveries:
            self._report.emailed.append(invoice.number)

    def _keep(self, invoice: Invoice, pdf: bytes, print_variant: str | None) -> None:
        now = self._context.clock.now()
        self._store.keep(invoice, pdf, now, print_variant=print_variant)

    def _note_done(self, delivery: Delivery, invoice: Invoice) -> None:
        self._context.log.info(
            "invoice delivered",
            extra=fields(
                "invoice_delivered",
                invnumber=invoice.number,
                kind=delivery.kind,
                recipient=delivery.recipient or "-",
            ),
        )


def _judgement(error: PrintFailed) -> tuple[State, str]:
    """The state after a copy was not printed, and why: nothing must come out twice unasked."""
    if error.printed:
        return "failed", f"{error} (after {error.printed} printed copies)"
    return ("ambiguous" if error.uncertain else "pending"), str(error)
