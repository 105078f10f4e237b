"""UpdateExchangerates: the scenarios of jobs.md, 1.12, against a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from jobs_bench import Bench

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.update_exchangerates import UpdateExchangerates

SIMPLE = "module: SimpleTest\noptions:\n  a: 1\n"
OPEN = "module: FromOpenexchangerates\noptions:\n  api_id: geheim\n"


@pytest.fixture
def dollars(bench: Bench) -> Bench:
    bench.insert("currencies", [{"id": 2, "name": "USD"}])
    return bench


def _rates(bench: Bench) -> list[tuple[str, str, Decimal | None, Decimal | None]]:
    return bench.rows(
        """SELECT transdate::text, name, buy, sell FROM exchangerate
           JOIN currencies ON currencies.id = currency_id ORDER BY name"""
    )


def test_scenario_1_without_module(dollars: Bench) -> None:
    with pytest.raises(JobFailed, match=r'^Der Parameter "module" muss angegeben werden'):
        dollars.run(UpdateExchangerates)
    assert _rates(dollars) == []


def test_scenarios_2_and_3(dollars: Bench) -> None:
    assert dollars.run(UpdateExchangerates, SIMPLE).text == (
        "updated: 2: USD (buy: 0.9205), USD (sell: 0.9202)"
    )
    expected = [("2026-11-22", "USD", Decimal("0.92050"), Decimal("0.92020"))]
    assert _rates(dollars) == expected
    assert dollars.run(UpdateExchangerates, SIMPLE).text == "updated: 0"
    assert _rates(dollars) == expected


def test_scenario_4_zero_is_a_rate(dollars: Bench) -> None:
    dollars.insert(
        "exchangerate",
        [{"transdate": "2026-11-22", "currency_id": 2, "buy": "1.5", "sell": 0}],
    )
    assert dollars.run(UpdateExchangerates, SIMPLE).text == "updated: 0"


def test_only_what_is_missing_is_set(dollars: Bench) -> None:
    dollars.insert("exchangerate", [{"transdate": "2026-11-22", "currency_id": 2, "buy": "1.5"}])
    assert dollars.run(UpdateExchangerates, SIMPLE).text == "updated: 1: USD (sell: 0.9202)"
    assert _rates(dollars) == [("2026-11-22", "USD", Decimal("1.50000"), Decimal("0.92020"))]


def test_scenario_5_translate(dollars: Bench) -> None:
    dollars.insert("currencies", [{"id": 3, "name": "£"}])
    data = "module: SimpleTest\noptions:\n  translate:\n    £: USD\n"
    assert dollars.run(UpdateExchangerates, data).text == (
        "updated: 4: USD (buy: 0.9205), USD (sell: 0.9202), £ (buy: 0.9205), £ (sell: 0.9202)"
    )


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        # scenario 6: a success in the original
        ("module: FromOpenexchangerates\noptions:\n  a: 1", "needs the option api_id"),
        # scenario 7: a success in the original
        ("module: FromYahoo\noptions:\n  a: 1", "^Konnte Klasse FromYahoo nicht laden"),
        # scenario 8
        ("module: SimpleTest", "needs options"),
        ("module: SimpleTest\noptions: text", "options must be a mapping"),
        ("module: SimpleTest\noptions:\n  translate: x", "translate must be a mapping"),
        ("module: SimpleTest\noptions:\n  translate:\n    USD:\n", "translate must be a mapping"),
    ],
)
def test_refuses(dollars: Bench, data: str, complaint: str) -> None:
    with pytest.raises(JobFailed, match=complaint):
        dollars.run(UpdateExchangerates, data)
    assert _rates(dollars) == []


class Source:
    """A server that answers what the test sets, and remembers what it was asked."""

    status = 200
    body = b""

    def __init__(self) -> None:
        self.asked: list[str] = []
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                source.asked.append(self.path)
                self.send_response(source.status)
                self.end_headers()
                self.wfile.write(source.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def job(self) -> type[UpdateExchangerates]:
        port = self.server.server_address[1]
        return type(
            "Job", (UpdateExchangerates,), {"openexchangerates": f"http://127.0.0.1:{port}/api/"}
        )


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    thread = threading.Thread(target=source.server.serve_forever, args=(0.01,))
    thread.start()
    yield source
    source.server.shutdown()
    source.server.server_close()
    thread.join()


def test_openexchangerates(dollars: Bench, source: Source) -> None:
    dollars.insert("currencies", [{"id": 3, "name": "CHF"}, {"id": 4, "name": "XXX"}])
    source.body = json.dumps(
        {"base": "USD", "rates": {"USD": 1, "EUR": 0.92, "CHF": 0.88, "XXX": 0}}
    ).encode()
    assert dollars.run(source.job(), OPEN).text == (
        "updated: 4: CHF (buy: 1.04545), CHF (sell: 1.04545), USD (buy: 0.92), USD (sell: 0.92)"
    )
    assert source.asked == ["/api/latest.json?app_id=geheim"]
    assert _rates(dollars) == [
        ("2026-11-22", "CHF", Decimal("1.04545"), Decimal("1.04545")),
        ("2026-11-22", "USD", Decimal("0.92000"), Decimal("0.92000")),
    ]


def test_nothing_is_asked_if_nothing_is_missing(bench: Bench, source: Source) -> None:
    assert bench.run(source.job(), OPEN).text == "updated: 0"
    assert source.asked == []


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (401, b"", "the source answers 401 Unauthorized"),
        (200, b"<html>", "the source's answer is not understood"),
        (200, b"[]", "the source's answer is not understood"),
        (200, b'{"rates": {"USD": "x"}}', "the source's answer is not understood"),
        (200, b'{"rates": 5}', "the source's answer is not understood"),
        (200, b'{"rates": {"USD": NaN}}', "the source's answer is not understood"),
        (200, b"\xff", "the source's answer is not understood"),
    ],
)
def test_bad_answers(
    dollars: Bench, source: Source, status: int, body: bytes, complaint: str
) -> None:
    source.status, source.body = status, body
    with pytest.raises(JobFailed, match=complaint) as caught:
        dollars.run(source.job(), OPEN)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("rate", [b"Infinity", b"-1", b"1e30", b"1e-30", b"0"])
def test_impossible_rates_are_not_taken(dollars: Bench, source: Source, rate: bytes) -> None:
    source.body = b'{"rates": {"EUR": 0.92, "USD": ' + rate + b"}}"
    assert dollars.run(source.job(), OPEN).text == "updated: 0: "
    assert _rates(dollars) == []


def test_the_source_is_not_there(dollars: Bench, source: Source) -> None:
    job = source.job()
    source.server.shutdown()
    source.server.server_close()
    with pytest.raises(JobFailed, match=r"cannot be reached: .*refused") as caught:
        dollars.run(job, OPEN)
    assert "geheim" not in str(caught.value)
