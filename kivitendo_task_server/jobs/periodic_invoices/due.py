"""What is due: one reading of the database, and the plans made from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from kivitendo_task_server.config.settings import PeriodicInvoicesSettings
from kivitendo_task_server.database.schema import Columns
from kivitendo_task_server.database.tenants import TenantUser
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.behaviour import Behaviour
from kivitendo_task_server.jobs.periodic_invoices.closing import taken_numbers, wants_project
from kivitendo_task_server.jobs.periodic_invoices.master_data import (
    Cursor,
    MasterData,
    read_defaults,
    read_master_data,
)
from kivitendo_task_server.jobs.periodic_invoices.model import (
    Config,
    Item,
    Order,
    PlannedInvoice,
)
from kivitendo_task_server.jobs.periodic_invoices.outcome import Recorder
from kivitendo_task_server.jobs.periodic_invoices.periods import due_periods, life_cycle
from kivitendo_task_server.jobs.periodic_invoices.planning import Planner
from kivitendo_task_server.jobs.periodic_invoices.reading import (
    read_configs,
    read_items,
    read_orders,
)
from kivitendo_task_server.jobs.periodic_invoices.transaction import Patience

PLANNING_ERRORS = (TaskServerError, ArithmeticError, ValueError)
"""What is wrong with one order, as opposed to the run."""


@dataclass(slots=True)
class Due:
    """What one snapshot says is to be billed."""

    configs: list[tuple[Config, list[date]]]
    orders: dict[int, Order]
    items: dict[int, list[Item]]
    planner: Planner
    newer_than: int = 0
    """All that is new in periodic_invoices since the snapshot has a greater id."""
    allocated: dict[int, float] = field(default_factory=dict)
    """Purchases' allocated quantities as they are in the database."""
    shared: set[int] = field(init=False)
    """Orders of which several configurations are due."""

    def __post_init__(self) -> None:
        configs_of = Counter(config.oe_id for config, _ in self.configs)
        self.shared = {order for order, configs in configs_of.items() if configs > 1}

    def open_items(self, order: Order) -> list[Item]:
        """The order's items but for those that are billed once and have been (5.3)."""
        return [
            item
            for item in self.items.get(order.id, [])
            if not (item.mode == "once" and item.billed_once)
        ]


@dataclass(frozen=True)
class Circumstances:
    """What a run needs to know beside the database."""

    now: datetime
    """Naive local time."""
    user: TenantUser
    behaviour: Behaviour
    settings: PeriodicInvoicesSettings
    patience: Patience = field(default_factory=Patience)

    @property
    def today(self) -> date:
        """The local calendar date (section 0)."""
        return self.now.date()


PeriodsOf = Callable[[Config], list[date]]


class Reader:
    """Reads what is due, in a number of queries that does not depend on the number of orders."""

    def __init__(
        self, cursor: Cursor, columns: Columns, circumstances: Circumstances, recorder: Recorder
    ) -> None:
        self._cursor = cursor
        self._recorder = recorder
        self._columns = columns
        self._circumstances = circumstances

    def due_now(self, config: Config) -> list[date]:
        """The periods of a configuration that are to be billed by this run (2.4)."""
        if not life_cycle(config.terms, self._circumstances.now).active:
            return []
        return due_periods(
            config.terms,
            config.previous,
            self._circumstances.today,
            end_date_limits=self._circumstances.behaviour.end_date_limits,
        )

    def due(self, periods_of: PeriodsOf | None = None, only: list[int] | None = None) -> Due:
        """Read all configurations (or ``only`` those) with all that their due periods need."""
        periods_of = periods_of or self.due_now
        configs = []
        for config in read_configs(self._cursor, self._columns, only):
            try:
                periods = periods_of(config)
            except PLANNING_ERRORS as error:
                self._recorder.failed(config.id, config.ordnumber, None, error)
                continue
            if periods:
                configs.append((config, periods))
        orders = read_orders(self._cursor, self._columns, {one.oe_id for one, _ in configs})
        items = read_items(self._cursor, self._columns, orders)
        defaults = read_defaults(self._cursor, self._columns["defaults"])
        ending = [orders[config.oe_id] for config, _ in configs if config.terms.one_time]
        new_projects = {order.ordnumber for order in ending if wants_project(order, defaults)}
        master = read_master_data(
            self._cursor,
            defaults,
            {item.parts_id for rows in items.values() for item in rows if item.parts_id},
            self._circumstances.today,
        )
        planner = self._planner(master, taken_numbers(self._cursor, new_projects))
        return Due(configs, orders, items, planner, allocated=master.allocated())

    def _planner(self, master: MasterData, taken_projects: frozenset[str]) -> Planner:
        return Planner(
            master,
            self._circumstances.behaviour,
            self._circumstances.user,
            self._circumstances.today,
            self._circumstances.settings.currency_conversion,
            taken_projects,
        )


def plan_config(
    due: Due,
    config: Config,
    periods: Sequence[date],
    recorder: Recorder,
    done: Container[int] = frozenset(),
) -> Iterator[PlannedInvoice]:
    """Plan the periods of one configuration in order; after a failure none of the later ones.

    Assumes that each plan is carried out: its goods are gone for the next, items billed once are
    done with. So nothing is planned for configurations that are ``done``, by then or meanwhile.
    """
    order = due.orders[config.oe_id]
    items = due.open_items(order)
    for number, period in enumerate(periods, 1):
        if config.id in done:
            return
        try:
            planned = due.planner.plan(config, order, items, period)
        except PLANNING_ERRORS as error:
            recorder.failed(config.id, config.ordnumber, period, error, periods[number:])
            return
        due.planner.master.take(planned.taken)
        planned.alone = order.id in due.shared
        yield planned
        if planned.once_items:
            items = [item for item in items if item.mode != "once"]
            # another configuration of the same order must not bill them again
            due.items[order.id] = items
