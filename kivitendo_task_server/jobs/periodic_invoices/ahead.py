"""Planning ahead: while the database writes a block of invoices, the next one is planned."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from kivitendo_task_server.jobs.periodic_invoices.model import PlannedInvoice

Block = list[PlannedInvoice]

FIRST_BLOCK = 50
"""Invoices of the first transaction: few, so that the database soon has something to do."""
LARGEST_BLOCK = 250
"""Invoices a transaction at most: enough that its fixed cost no longer shows."""


def in_blocks(plans: Iterable[PlannedInvoice]) -> Iterator[Block]:
    """Take the plans in blocks that grow from FIRST_BLOCK to LARGEST_BLOCK.

    One that returns goods ends its block: its row must be there for the next to take from. One that
    is to be billed alone is a block.
    """
    size = FIRST_BLOCK
    block: Block = []
    for planned in plans:
        if planned.alone:
            if block:
                yield block
            yield [planned]
            block = []
            continue
        block.append(planned)
        if len(block) == size:
            size = min(2 * size, LARGEST_BLOCK)
        elif not planned.returns_goods:
            continue
        yield block
        block = []
    if block:
        yield block


def post_all(blocks: Iterable[Block], post: Callable[[Block], None], *, ahead: bool) -> None:
    """Post one block after the other; with ``ahead``, each is planned during the one before.

    Raises what ``post`` or the planning raises, when nothing of it is running any more.
    """
    if not ahead:
        for block in blocks:
            post(block)
        return
    with _two_threads(), ThreadPoolExecutor(1, "posting") as writer:
        writing: Future[None] | None = None
        for block in blocks:
            if writing is not None:
                writing.result()
            writing = writer.submit(post, block)
        if writing is not None:
            writing.result()


@contextmanager
def _two_threads() -> Iterator[None]:
    """Let the writing thread have its turn at once, and spare both the search for cycles.

    A plan is hundreds of objects without a cycle, which the collector would look at again and
    again. A thread whose statement is answered waits for Python's lock as long as the interval
    says: with the usual 5 ms that is longer than most statements take.
    """
    interval, collecting = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(0.0002)
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()
