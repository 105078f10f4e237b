"""Delivery of posted invoices: documents, printing, mails, the summary (section 8).

All of it happens after the invoice's commit, and each effect has a row of its own in the table
``kivitendo_task_server.deliveries``, written in the transaction that posts the invoice:

========= ==========================================================================
pending   to be done; after a failure that may pass, with its reason
sending   being handed over just now. Found later, its process died in that moment
sent      handed over: the mail server or the printer has it
failed    given up: another attempt would fail the same way, or there were too many
ambiguous handed over or not, nobody knows; never repeated by itself
dropped   nothing to do: no recipient, no printer, the invoice was cancelled or deleted
========= ==========================================================================

``pending`` deliveries are done by every later run; ``deliveries --retry`` repeats what failed.
"""

from kivitendo_task_server.jobs.periodic_invoices.delivery.pdf import PerlRenderer, Renderer
from kivitendo_task_server.jobs.periodic_invoices.delivery.queue import enqueue
from kivitendo_task_server.jobs.periodic_invoices.delivery.report import DeliveryReport
from kivitendo_task_server.jobs.periodic_invoices.delivery.run import (
    MakeRenderer,
    deliver_pending,
    repeat_deliveries,
)
from kivitendo_task_server.jobs.periodic_invoices.delivery.summary import send_summary

__all__ = [
    "DeliveryReport",
    "MakeRenderer",
    "PerlRenderer",
    "Renderer",
    "deliver_pending",
    "enqueue",
    "repeat_deliveries",
    "send_summary",
]
