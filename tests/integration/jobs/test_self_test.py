"""SelfTest: the scenarios of jobs.md, 1.17, and each of the 34 assertions failing once."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from jobs_bench import Bench
from mail_peer import Mailbox

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.jobs.interface import JobResult
from kivitendo_task_server.jobs.self_test import SelfTest
from kivitendo_task_server.jobs.self_test_transactions import ASSERTIONS

DATES = {"transdate": "2026-05-05", "gldate": "2026-05-05", "itime": "2026-05-05 10:00"}
ALWAYS = {"send_email_to": "demo", "send_email_on_success": "1"}


@pytest.fixture
def books(bench: Bench, auth: Connection, mailbox: Mailbox) -> Bench:
    """Sound books: every assertion passes."""
    with auth.cursor() as cursor:
        cursor.execute(
            """INSERT INTO auth."user" (id, login) VALUES (1, 'demo'), (2, 'ohne');
               INSERT INTO auth.user_config (user_id, cfg_key, cfg_value)
                   VALUES (1, 'email', 'demo@x.de'), (2, 'email', ' ')"""
        )
    bench.insert("tax", [{"id": 1, "taxkey": 0, "rate": 0, "taxdescription": "-",
                          "chart_categories": "ALQCIE"},
                         {"id": 2, "taxkey": 3, "rate": "0.19", "taxdescription": "19 %",
                          "chart_categories": "I"}])  # fmt: skip
    bench.insert(
        "chart",
        [
            {"id": 20, "accno": "8400", "category": "I", "link": "AR_amount", "pos_eur": 1},
            {"id": 21, "accno": "1200", "category": "A", "link": "AR_paid:AP_paid"},
            {"id": 22, "accno": "9000", "category": "Q", "link": ""},
        ],
    )
    bench.execute(
        """INSERT INTO taxkeys (chart_id, tax_id, taxkey_id, startdate)
           SELECT id, 1, 0, '1970-01-01' FROM chart"""
    )
    common = {"taxzone_id": 1, "currency_id": 1, "storno": False, "invoice": True, **DATES}
    bench.insert(
        "ar",
        [{"id": 1, "invnumber": "R1", "type": "invoice", "amount": 119, "netamount": 119,
          "paid": 119, "datepaid": "2026-05-06", **common}],
    )  # fmt: skip
    _post(bench, 1, 10, "AR", -119)
    _post(bench, 1, 20, "AR_amount", 119)
    _post(bench, 1, 10, "AR", 119)
    _post(bench, 1, 21, "AR_paid", -119)
    bench.insert("parts", [{"id": 1, "partnumber": "P", "unit": "Stck", "part_type": "part"}])
    bench.insert(
        "invoice",
        [{"id": 1, "trans_id": 1, "parts_id": 1, "qty": 2, "sellprice": 59.5, "position": 1,
          "transdate": "2026-05-05"}],
    )  # fmt: skip
    return bench


def _post(bench: Bench, trans: int, chart: int, link: str, amount: float, **other: Any) -> None:
    bench.insert(
        "acc_trans",
        [{"trans_id": trans, "chart_id": chart, "chart_link": link, "amount": amount,
          **DATES, "taxkey": 0, "tax_id": 1, **other}],
    )  # fmt: skip


def _report(bench: Bench, mailbox: Mailbox, data: str | None = None) -> str:
    """Run with a mail in any case; the mail's text."""
    bench.section("self_test", **ALWAYS)
    assert bench.run(SelfTest, data).text == "1"
    return str(mailbox.messages[-1].get_content())


def _failed(report: str) -> list[int]:
    """The numbers of the assertions that failed; all others must have passed."""
    lines = [line.split() for line in report.splitlines()]
    passed = [int(words[1]) for words in lines if words[:1] == ["ok"]]
    failed = [int(words[2]) for words in lines if words[:2] == ["not", "ok"]]
    assert sorted(passed + failed) == list(range(1, 35))
    return failed


def test_scenario_1_an_account_without_tax_keys(books: Bench, mailbox: Mailbox) -> None:
    books.execute("DELETE FROM taxkeys WHERE chart_id = 21")
    books.section("self_test", send_email_to="demo")
    assert books.run(SelfTest) == JobResult("1")
    (message,) = mailbox.messages
    assert message["To"] == "demo@x.de"
    assert message["Subject"] == "kivitendo self test report"
    report = message.get_content()
    assert _failed(report) == [21]
    assert "#   1200" in report
    assert "Ergebnis: FEHLER" in report


def test_scenario_2_all_is_well(books: Bench, mailbox: Mailbox) -> None:
    books.section("self_test", send_email_to="demo")
    assert books.run(SelfTest) == JobResult("1")
    assert mailbox.messages == []
    report = _report(books, mailbox)
    assert _failed(report) == []
    assert "Ergebnis: in Ordnung" in report  # FAIL in the original
    assert "# Saldo von Konto 9000 am 01.01.2026: 0" in report


EARLIER = """
INSERT INTO schema_info (tag) VALUES ('release_3_5_8');
ALTER TABLE tax DROP reverse_charge_chart_id;
DROP TABLE reconciliation_links;
"""


def test_earlier_releases_skip_what_they_lack(books: Bench, mailbox: Mailbox) -> None:
    books.execute(EARLIER)
    report = _report(books, mailbox)
    assert _failed(report) == []
    skipped = [line for line in report.splitlines() if " # SKIP " in line]
    assert [line.split()[1] for line in skipped] == ["22", "27"]
    assert 'relation "reconciliation_links" does not exist' in skipped[1]


def test_release_4_1_lacks_nothing(books: Bench, mailbox: Mailbox) -> None:
    books.execute(EARLIER.replace("3_5_8", "4_1_0"))
    books.section("self_test", **ALWAYS)
    result = books.run(SelfTest)
    assert result.failed and "reverse_charge_chart_id" in (result.error or "")
    assert books.value("SELECT count(*) FROM ar") == 1  # the transaction goes on


def test_scenario_3(books: Bench, mailbox: Mailbox) -> None:
    books.insert(
        "ar",
        [{"id": 2, "invnumber": "R2", "type": "invoice", "amount": 100, "netamount": 84,
          "paid": 50, "invoice": False, "storno": False, "taxzone_id": 1, "currency_id": 1,
          **DATES}],
    )  # fmt: skip
    _post(books, 2, 21, "AR_paid", -100)
    assert _failed(_report(books, mailbox)) == [3, 14, 20, 24]


def test_scenario_4_an_unknown_module(books: Bench, mailbox: Mailbox) -> None:
    books.section("self_test", **ALWAYS)
    result = books.run(SelfTest, "modules:\n  - Transactions\n  - Nix\n")
    assert result.failed
    assert str(result.error).startswith("Unsuccessfully executed:\nNix: there is no such module")
    report = mailbox.messages[0].get_content()
    assert _failed(report) == []
    assert "Nix: there is no such module" in report


@pytest.mark.parametrize("data", [None, "mail_to: chef@x.de"])
def test_scenario_5_no_mail_without_send_email_to(
    books: Bench, mailbox: Mailbox, data: str | None
) -> None:
    books.execute("DELETE FROM taxkeys")
    assert books.run(SelfTest, data) == JobResult("1")
    assert mailbox.messages == []


def test_scenario_6_recipients(books: Bench, mailbox: Mailbox) -> None:
    _report(books, mailbox, "mail_to: chef@x.de\nemail: zwei@x.de")
    assert mailbox.envelopes[0].rcpt_tos == ["chef@x.de", "zwei@x.de"]
    assert books.rows('SELECT "from", recipients, status FROM email_journal') == [
        ("kivitendo Daemon <root@localhost>", "chef@x.de, zwei@x.de", "sent")
    ]


@pytest.mark.parametrize(
    ("to", "complaint"),
    [
        ("ohne", "ohne ([self_test] send_email_to) has no address"),
        ("nobody", "nobody ([self_test] send_email_to) has no address"),
        ("refuse@x.de", "Emailfehler: refuse@x.de: 550 5.1.1 no such mailbox"),
    ],
)
def test_mail_trouble_is_a_failure(books: Bench, to: str, complaint: str) -> None:
    books.section("self_test", send_email_to=to, send_email_on_success="1")
    result = books.run(SelfTest)
    assert result.failed and complaint in str(result.error)


def test_no_modules(books: Bench, mailbox: Mailbox) -> None:
    books.section("self_test", modules=" ", **ALWAYS)
    assert books.run(SelfTest) == JobResult("1")
    assert mailbox.messages == []


def test_a_switch_written_no_is_off_with_a_warning(
    books: Bench, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    books.section("self_test", send_email_to="demo", send_email_on_success="no")
    assert books.run(SelfTest) == JobResult("1")
    assert mailbox.messages == []
    assert "[self_test] send_email_on_success = no: taken as off" in caplog.text


def test_the_log_line(books: Bench, caplog: pytest.LogCaptureFixture) -> None:
    books.section("self_test", log_to_file="1")
    books.execute("DELETE FROM taxkeys")
    with caplog.at_level(logging.INFO):
        books.run(SelfTest)
    assert (
        "[SL::BackgroundJob::SelfTest] SelfTest status: FAIL, passed: 33, failed: 1,"
        " unexpectedly succeeded: 0"
    ) in caplog.messages


def test_a_database_error_is_a_failure_of_the_module(books: Bench, mailbox: Mailbox) -> None:
    books.execute("DROP TABLE reconciliation_links")
    books.section("self_test", **ALWAYS)
    result = books.run(SelfTest)
    assert 'relation "reconciliation_links" does not exist' in str(result.error)
    assert books.value("SELECT count(*) FROM email_journal") == 0  # the transaction goes on


def test_many_violations_are_counted_not_listed(books: Bench, mailbox: Mailbox) -> None:
    books.execute(
        "INSERT INTO chart (accno, link) SELECT 'x' || n, '' FROM generate_series(1, 50) n"
    )
    report = _report(books, mailbox)
    assert len([line for line in report.splitlines() if line.startswith("#   x")]) == 20
    assert "#   … 50" in report


AR = """INSERT INTO ar (id, invnumber, type, amount, netamount, paid, invoice, storno, storno_id,
                        taxzone_id, currency_id, transdate, gldate, itime, datepaid)
        VALUES ({}, 1, 1, '2026-05-05', '2026-05-05', '2026-05-05', {})"""
AP = """INSERT INTO ap (id, invnumber, amount, netamount, paid, storno, storno_id,
                        transdate, gldate, itime, datepaid)
        VALUES ({}, '2026-05-05', '2026-05-05', '2026-05-05', {})"""
POST = """INSERT INTO acc_trans (trans_id, chart_id, chart_link, amount, taxkey, tax_id,
                                 transdate, gldate, itime)
          VALUES ({}, 1, '2026-05-05', '2026-05-05', '2026-05-05')"""
BANK = "INSERT INTO bank_transactions (id, transdate, amount, invoice_amount, cleared) VALUES ({})"
LINK = "INSERT INTO bank_transaction_acc_trans (bank_transaction_id, acc_trans_id) VALUES ({})"


def _ar(columns: str, datepaid: str = "NULL") -> str:
    return AR.format(columns, datepaid)


def _ap(columns: str, datepaid: str = "NULL") -> str:
    return AP.format(columns, datepaid)


# number of the assertion -> what makes exactly it (and those named) fail
VIOLATIONS: dict[int, tuple[list[str], list[int]]] = {
    1: (["UPDATE chart SET pos_eur = NULL WHERE id = 20"], [1]),
    2: (["UPDATE chart SET pos_eur = 1 WHERE id = 21"], [2]),
    3: ([POST.format("1, 22, '', 5, 0")], [3]),
    4: ([POST.format("999, 22, '', 5, 0"), POST.format("999, 22, '', -5, 0")], [4]),
    5: (["UPDATE invoice SET trans_id = NULL", "UPDATE ar SET invoice = false"], [5]),
    6: (
        [POST.format("1, 20, 'AR_amount:IC_sale', 1, 0"), POST.format("1, 22, '', -1, 0")],
        [6],
    ),
    7: (
        [
            _ap("5, 'E', 10, 10, 0, false, NULL"),
            POST.format("5, 22, 'AP_amount', -9, 0"),
            POST.format("5, 11, 'AP', 9, 0"),
        ],
        [7],
    ),
    8: (["UPDATE invoice SET qty = 3"], [8]),
    9: ([_ar("5, 'R1', 'invoice', 0, 0, 0, false, false, NULL")], [9]),
    10: (
        [
            _ar("5, 'S', 'invoice', 10, 0, 10, false, true, NULL"),
            _ar("6, 'S*', 'invoice', -9, 0, -9, false, true, 5"),
        ],
        [10, 11],
    ),
    12: (
        [
            _ap("5, 'S', 10, 0, 10, true, NULL"),
            _ap("6, 'S*', -9, 0, -9, true, 5"),
        ],
        [12, 13],
    ),
    14: (["UPDATE ar SET paid = 118"], [14, 20, 24]),
    15: (
        [
            _ap("5, 'E', 10, 0, 10, false, NULL"),
            POST.format("5, 21, 'AP_paid', 9, 0"),
            POST.format("5, 11, 'AP', -9, 0"),
        ],
        [15, 25],
    ),
    16: ([_ar("5, 'U', 'credit_note', 10, 0, 11, false, false, NULL")], [16]),
    17: ([_ap("5, 'U', 10, 0, -11, false, NULL")], [17]),
    18: (
        [
            _ar("5, 'S', 'invoice', 10, 0, 9, false, true, NULL"),
            _ar("6, 'S*', 'invoice', -10, 0, -10, false, true, 5"),
        ],
        [18],
    ),
    19: ([_ap("5, 'S', 0, 0, 0, true, NULL")], [19]),
    21: (["DELETE FROM taxkeys WHERE chart_id = 22"], [21]),
    22: (["UPDATE acc_trans SET taxkey = 3 WHERE chart_id = 20"], [22]),
    23: ([BANK.format("1, '2026-05-05', 10, -11, false")], [23]),
    26: ([_ap("5, 'E', 10, 0, 0, false, NULL", "'2026-05-05'")], [26]),
    27: ([BANK.format("1, '2026-05-05', 10, 0, true")], [27]),
    28: (["UPDATE defaults SET gl_changeable = 1, payments_changeable = 1"], [28]),
    29: (
        [
            BANK.format("1, '2026-05-05', 10, 10, false"),
            LINK.format("1, (SELECT min(acc_trans_id) FROM acc_trans)"),
            "UPDATE bank_transaction_acc_trans SET itime = '2020-01-01'",
            BANK.format("2, '2026-05-05', 10, 10, false"),
        ],
        [29],
    ),
    30: ([BANK.format("1, '2026-05-05', 10, 10, false"), LINK.format("1, 0")], [30]),
    31: (["UPDATE acc_trans SET gldate = '2026-05-06' WHERE chart_id = 20"], [31]),
    32: ([_ap("5, 'E', 10, 0, 0, false, NULL"), "UPDATE ap SET gldate = '2026-05-06'"], [32]),
    33: (["UPDATE ar SET gldate = '2026-05-06'"], [33]),
    34: (["INSERT INTO gl (transdate, gldate, itime) VALUES ('2026-05-05', '2026-05-06',"
          " '2026-05-05')"], [34]),
}  # fmt: skip


@pytest.mark.parametrize("number", VIOLATIONS)
def test_each_assertion_can_fail(books: Bench, mailbox: Mailbox, number: int) -> None:
    statements, expected = VIOLATIONS[number]
    for statement in statements:
        books.execute(statement)
    assert _failed(_report(books, mailbox)) == expected


def test_every_assertion_has_been_seen_failing() -> None:
    assert len(ASSERTIONS) == 34
    assert {n for _, expected in VIOLATIONS.values() for n in expected} == set(range(1, 35))


def test_other_years_do_not_count(books: Bench, mailbox: Mailbox) -> None:
    for number in (3, 4, 16, 23, 31, 34):
        for statement in VIOLATIONS[number][0]:
            books.execute(statement)
        for table in ("ar", "ap", "gl", "acc_trans", "bank_transactions"):
            books.execute(f"UPDATE {table} SET transdate = transdate - 366")  # noqa: S608
    books.execute("UPDATE invoice SET transdate = NULL")
    assert _failed(_report(books, mailbox)) == []
