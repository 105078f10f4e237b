"""Locks that are held while invoices are written, and what is asked again under them (section 7).

Nobody is waited for while a block is locked; for a single configuration the transaction waits.
Orders are locked before their configurations, as kivitendo does when an order is saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from kivitendo_task_server.jobs.periodic_invoices.due import Due
from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor
from kivitendo_task_server.jobs.periodic_invoices.model import PlannedInvoice
from kivitendo_task_server.jobs.periodic_invoices.transaction import StockChanged


@dataclass(slots=True)
class LockedBlock:
    """What a block's invoices have become since they were planned."""

    kept: list[PlannedInvoice] = field(default_factory=list)
    """Locked, and as they were when they were planned."""
    changed: list[int] = field(default_factory=list)
    """Configurations that were changed, or billed by somebody else."""
    held: list[int] = field(default_factory=list)
    """Configurations that somebody holds, or has deleted."""

    def without_goods_of(self, block: Sequence[PlannedInvoice]) -> None:
        """Keep none of the block if goods were planned for one that fell out.

        The others were planned as if those goods were gone.
        """
        fallen = {*self.held, *self.changed}
        if any(planned.taken for planned in block if planned.config.id in fallen):
            self.kept = []
            self.changed = [one.config.id for one in block if one.config.id not in self.held]


def lock_block(
    cursor: Cursor, due: Due, block: Sequence[PlannedInvoice], billed_until: Mapping[int, date]
) -> LockedBlock:
    """Lock what a block is made from; ``billed_until`` is what this run has billed already."""
    ids = list({planned.config.id for planned in block})
    cursor.execute(
        "SELECT config.id, config.xmin::text, oe.xmin::text"
        "  FROM periodic_invoices_configs config JOIN oe ON oe.id = config.oe_id"
        " WHERE config.id = ANY(%s) ORDER BY config.id"
        "   FOR NO KEY UPDATE OF oe SKIP LOCKED FOR UPDATE OF config SKIP LOCKED",
        (ids,),
    )
    versions = {row[0]: row[1:] for row in cursor}
    # a statement of its own: its snapshot is taken when the locks are ours
    cursor.execute(
        "SELECT config_id, max(period_start_date) FROM periodic_invoices"
        " WHERE id > %s AND config_id = ANY(%s) GROUP BY config_id",
        (due.newer_than, ids),
    )
    newest = dict(cursor.fetchall())
    locked = LockedBlock()
    for planned in block:
        config, order = planned.config, planned.order
        until = billed_until.get(config.id, config.previous)
        if config.id not in versions:
            locked.held.append(config.id)
        elif versions[config.id] == (config.version, order.version) and (
            newest.get(config.id) in (None, until)
        ):
            locked.kept.append(planned)
        else:
            locked.changed.append(config.id)
    locked.without_goods_of(block)
    return locked


def find_order(cursor: Cursor, config_id: int) -> tuple[int, str] | None:
    """Id and number of a configuration's order; None if it has been deleted."""
    cursor.execute(
        "SELECT oe.id, oe.ordnumber FROM periodic_invoices_configs config"
        "  JOIN oe ON oe.id = config.oe_id WHERE config.id = %s",
        (config_id,),
    )
    row = cursor.fetchone()
    return (row[0], row[1]) if row else None


def lock_config(cursor: Cursor, order_id: int, config_id: int) -> None:
    """Wait for an order and its configuration, and lock what there is of them."""
    cursor.execute("SELECT 1 FROM oe WHERE id = %s FOR NO KEY UPDATE", (order_id,))
    cursor.execute("SELECT 1 FROM periodic_invoices_configs WHERE id = %s FOR UPDATE", (config_id,))


def lock_purchases(
    cursor: Cursor, expected: Mapping[int, float], block: Sequence[PlannedInvoice]
) -> None:
    """Lock the goods that invoices take; raises StockChanged if others took some meanwhile.

    ``expected`` are the allocated quantities the plans were made with, by invoice.id.
    """
    keys = sorted({key for planned in block for key in planned.taken})
    if not keys:
        return
    cursor.execute(
        "SELECT id, allocated FROM invoice WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (keys,)
    )
    present = {key: float(allocated) for key, allocated in cursor}
    if any(present.get(key) != expected[key] for key in keys):
        raise StockChanged("goods were taken by another invoice meanwhile")
