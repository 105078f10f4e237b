"""UpdateExchangerates: today's exchange rates (jobs.md, 1.12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import ClassVar, Literal

from kivitendo_task_server.clock import today
from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.exchange_rate_sources import (
    OPENEXCHANGERATES,
    Rates,
    from_openexchangerates,
    simple_test,
)
from kivitendo_task_server.jobs.interface import Job, JobContext, JobResult
from kivitendo_task_server.jobs.options import mapping, read_options, text
from kivitendo_task_server.jobs.perl_bridge import PerlJob
from kivitendo_task_server.jobs.perl_jobs import perl_has_any
from kivitendo_task_server.jobs.yaml_dialect import Value

NATIVE = ("FromOpenexchangerates", "SimpleTest")
Direction = Literal["buy", "sell"]


@dataclass(frozen=True)
class Options:
    """``module``: where the rates come from; ``options``: for the module."""

    module: str | None = text()
    options: Mapping[str, Value] = mapping()


@dataclass
class _Wanted:
    """A currency and the directions for which there is no rate yet; ``row``: today's, if any."""

    currency: int
    name: str
    row: int | None
    directions: tuple[Direction, ...]
    rates: dict[Direction, Decimal] = field(default_factory=dict)


class UpdateExchangerates(Job):
    """Fills in today's missing exchange rates of all currencies but the tenant's own.

    Unlike kivitendo, whose run succeeds then, it fails for an unknown module, for a missing
    ``api_id``, and if the source cannot be reached: nobody learns otherwise that rates are missing.
    """

    name = "UpdateExchangerates"
    default_schedule = "35 4 * * *"
    summary = "gets today's exchange rates"
    Options = Options

    openexchangerates: ClassVar[str] = OPENEXCHANGERATES
    """Where the rates are asked for; a test has its own server."""

    def run(self, context: JobContext) -> JobResult | str | None:
        """How many values were set, and which. Raises JobFailed as said above.

        A module that only kivitendo has is run by its own job.
        """
        options = read_options(Options, context.options)
        module = options.module or ""
        if module not in NATIVE and perl_has_any(context, [module]):
            return PerlJob(self.name).run(context)
        source = self._source(context, module)
        day = today(context.clock)
        default, wanted = _wanted(context, day)
        if not wanted:
            return "updated: 0"
        if not options.options:
            raise JobFailed(
                f"the module {options.module} needs options", remedy="set options in the job's data"
            )
        translate = _translation(options.options)
        rates = source(options.options)
        notes = []
        for entry in wanted:
            rate = rates(translate.get(default, default), translate.get(entry.name, entry.name))
            entry.rates = {way: rate[way] for way in entry.directions if way in rate}
            notes += [f"{entry.name} ({way}: {_plain(v)})" for way, v in entry.rates.items()]
        _store(context, day, wanted)
        return f"updated: {len(notes)}: {', '.join(notes)}"

    def _source(self, context: JobContext, module: str) -> Callable[[Mapping[str, Value]], Rates]:
        german = context.tenant.user.countrycode == "de"
        if not module:
            raise JobFailed(
                'Der Parameter "module" muss angegeben werden.'
                if german
                else 'The parameter "module" is required.',
                remedy="set module to FromOpenexchangerates",
            )
        if module == "SimpleTest":
            return simple_test
        if module == "FromOpenexchangerates":
            return lambda options: from_openexchangerates(options, self.openexchangerates)
        raise JobFailed(
            f"Konnte Klasse {module} nicht laden" if german else f"Cannot load class {module}",
            remedy=f"known are {', '.join(NATIVE)}, and classes of kivitendo's own in"
            " SL/BackgroundJob/UpdateExchangerates",
        )


def _translation(options: Mapping[str, Value]) -> dict[str, str]:
    """Currency name of kivitendo -> name at the source."""
    given = options.get("translate") or {}
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given.values()):
        raise JobFailed("the option translate must be a mapping of names to names")
    return {ours: str(theirs) for ours, theirs in given.items()}


def _wanted(context: JobContext, day: date) -> tuple[str, list[_Wanted]]:
    """The name of the tenant's own currency, and what is missing for the others, by name."""
    with context.connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM currencies WHERE id = (SELECT currency_id FROM defaults LIMIT 1)"
        )
        default = cursor.fetchone()
        if default is None:
            raise JobFailed("this tenant has no default currency", remedy="choose one in kivitendo")
        cursor.execute(
            """SELECT c.id, c.name, rate.id, rate.buy, rate.sell
               FROM currencies c
               LEFT JOIN LATERAL (SELECT id, buy, sell FROM exchangerate e
                                  WHERE e.currency_id = c.id AND e.transdate = %s
                                  ORDER BY id LIMIT 1) rate ON true
               WHERE c.name <> %s ORDER BY c.name""",
            (day, default[0]),
        )
        wanted = []
        for currency, name, row, buy, sell in cursor.fetchall():
            missing: list[Direction] = []
            if buy is None:
                missing.append("buy")
            if sell is None:
                missing.append("sell")
            if missing:
                wanted.append(_Wanted(currency, name, row, tuple(missing)))
    return default[0], wanted


def _store(context: JobContext, day: date, wanted: list[_Wanted]) -> None:
    with context.connection.cursor() as cursor:
        for entry in wanted:
            buy, sell = entry.rates.get("buy"), entry.rates.get("sell")
            if entry.row is not None:
                cursor.execute(
                    "UPDATE exchangerate SET buy = coalesce(buy, %s), sell = coalesce(sell, %s)"
                    " WHERE id = %s",
                    (buy, sell, entry.row),
                )
            elif entry.rates:
                cursor.execute(
                    "INSERT INTO exchangerate (transdate, currency_id, buy, sell)"
                    " VALUES (%s, %s, %s, %s)",
                    (day, entry.currency, buy, sell),
                )


def _plain(rate: Decimal) -> str:
    """The rate as the table holds it, without zeros at the end."""
    return f"{rate.quantize(Decimal('0.00001')).normalize():f}"
