"""Perpetual inventory: goods taken from purchases, their cost, and assemblies (section 6.9)."""

from __future__ import annotations

from dataclasses import dataclass, field

from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.arithmetic import rounded
from kivitendo_task_server.jobs.periodic_invoices.master_data import MasterData
from kivitendo_task_server.jobs.periodic_invoices.model import Part


@dataclass(slots=True)
class Component:
    """A row of invoice for a component of an assembly."""

    part: Part
    qty: float
    allocated: float


@dataclass(slots=True)
class Stock:
    """What one invoice takes; nothing is changed until it is posted."""

    master: MasterData
    taxzone_id: int
    digits: int
    taken: dict[int, float] = field(default_factory=dict)
    """invoice.id of a purchase -> quantity in the part's own unit."""
    postings: dict[int, float] = field(default_factory=dict)
    """Expense and inventory accounts -> amount."""

    def take(self, part: Part, base_qty: float, unit_factor: float) -> float:
        """Allocate goods to a sold item and post their cost; returns the quantity taken.

        ``unit_factor``: one of the item's units in the part's units.
        """
        remaining = base_qty
        for purchase in self.master.purchases.get(part.id, ()):
            if remaining <= 0:
                break
            left = -purchase.base_qty - purchase.allocated - self.taken.get(purchase.id, 0.0)
            quantity = min(remaining, left)
            if quantity <= 0:
                continue
            cost = rounded(
                purchase.sellprice * (1 - purchase.discount) * quantity / unit_factor,
                2,
                self.digits,
            )
            self._post(part, cost)
            self.taken[purchase.id] = self.taken.get(purchase.id, 0.0) + quantity
            remaining -= quantity
        return max(base_qty, 0.0) - max(remaining, 0.0)

    def components(self, assembly: Part, base_qty: float) -> list[Component]:
        """The rows of an assembly's components, depth first (by position), goods taken."""
        rows: list[Component] = []
        self._descend(assembly.id, base_qty, rows, (assembly.id,))
        return rows

    def _descend(
        self, assembly: int, base_qty: float, rows: list[Component], path: tuple[int, ...]
    ) -> None:
        for part_id, qty in self.master.components.get(assembly, ()):
            if part_id in path:
                raise TaskServerError(
                    f"the assembly with part id {part_id} contains itself",
                    remedy="correct the list of its components",
                )
            part = self.master.parts[part_id]
            quantity = base_qty * qty
            row = Component(part, quantity, 0.0)
            rows.append(row)
            if part.part_type == "part":
                row.allocated = -self.take(part, quantity, 1.0)
            elif part.part_type == "assembly":
                self._descend(part_id, quantity, rows, (*path, part_id))

    def _post(self, part: Part, cost: float) -> None:
        expense = self.master.accounts(part, self.taxzone_id)[1]
        group = part.buchungsgruppen_id
        inventory = self.master.inventory_accounts.get(group) if group is not None else None
        if inventory is None:
            raise TaskServerError(
                f"booking group {group} of part id {part.id} has no inventory account",
                remedy="complete the booking group",
            )
        self.postings[expense] = self.postings.get(expense, 0.0) - cost
        self.postings[inventory] = self.postings.get(inventory, 0.0) + cost
