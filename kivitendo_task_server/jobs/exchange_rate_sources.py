"""Where exchange rates come from (jobs.md, 1.12)."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.yaml_dialect import Value

OPENEXCHANGERATES = "https://openexchangerates.org/api/"
SMALLEST = Decimal("0.00001")  # what is outside of this (and NaN) is no rate to count with
TIMEOUT = 30  # seconds
LARGEST_ANSWER = 1_000_000  # bytes; the real one has 5,000

Rates = Callable[[str, str], dict[Any, Decimal]]
"""From and to (names at the source) -> the rates ``buy`` and ``sell``, as far as they are known."""


def simple_test(options: Mapping[str, Value]) -> Rates:
    """Fixed rates of one pair of currencies, to try the job out."""

    def rates(origin: str, target: str) -> dict[Any, Decimal]:
        if (origin, target) == ("EUR", "USD"):
            return {"buy": Decimal("0.9205"), "sell": Decimal("0.9202")}
        return {}

    return rates


def from_openexchangerates(options: Mapping[str, Value], base_url: str) -> Rates:
    """Today's rates of openexchangerates.org, the same for buying and selling.

    Raises JobFailed without the option ``api_id``, and if the source does not answer properly;
    the message never holds the id.
    """
    api_id = options.get("api_id")
    if not isinstance(api_id, str) or not api_id:
        raise JobFailed(
            "the module FromOpenexchangerates needs the option api_id",
            remedy="set it to the App ID of your account at openexchangerates.org",
        )
    url = f"{base_url}latest.json?{urllib.parse.urlencode({'app_id': api_id})}"
    in_dollars = _get_rates(url, where=base_url)

    def rates(origin: str, target: str) -> dict[Any, Decimal]:
        if origin not in in_dollars or target not in in_dollars:
            return {}
        rate = in_dollars[origin] / in_dollars[target]
        return {"buy": rate, "sell": rate}

    return rates


def _get_rates(url: str, *, where: str) -> dict[str, Decimal]:
    """What one dollar is worth in each currency."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            document = json.loads(answer.read(LARGEST_ANSWER), parse_float=Decimal)
        rates = {str(name): Decimal(value) for name, value in document["rates"].items()}
        return {name: rate for name, rate in rates.items() if SMALLEST <= rate <= 1 / SMALLEST}
    except urllib.error.HTTPError as error:
        remedy = "check the option api_id" if error.code in (401, 403) else None
        raise JobFailed(
            f"the source answers {error.code} {error.reason}", where=where, remedy=remedy
        ) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise JobFailed(
            f"the source cannot be reached: {reason}", where=where, remedy="check the network"
        ) from None
    except (ValueError, ArithmeticError, TypeError, KeyError, AttributeError):
        raise JobFailed("the source's answer is not understood", where=where) from None
