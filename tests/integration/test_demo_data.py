"""The demo's companies as rows, and the report read back from rows."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from database_fixture import NewDatabase

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.connection import Connection, connect
from kivitendo_task_server.demo import report
from kivitendo_task_server.demo.scenario import BEISPIEL, COMPANIES, MUSTER, Company
from kivitendo_task_server.demo.tenant_data import month_end, month_start, write_auth, write_tenant

NOW = datetime(2026, 11, 22, 14, 30)


def rows(connection: Connection, statement: str) -> list[tuple[object, ...]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_months() -> None:
    assert month_start(date(2026, 11, 22), -11) == date(2025, 12, 1)
    assert month_start(date(2026, 11, 22), 2) == date(2027, 1, 1)
    assert month_end(date(2028, 3, 31), -1) == date(2028, 2, 29)


@pytest.mark.parametrize("company", COMPANIES, ids=lambda company: company.database)
def test_every_order_is_written(tenant_connection: Connection, company: Company) -> None:
    write_tenant(tenant_connection, company, NOW)
    assert rows(
        tenant_connection,
        "SELECT count(*), count(DISTINCT oe_id) FROM periodic_invoices_configs",
    ) == [(len(company.orders), len(company.orders))]
    assert rows(
        tenant_connection,
        "SELECT package_name FROM background_jobs WHERE next_run_at <= '2026-11-22 14:30'",
    ) == [("CreatePeriodicInvoices",)]


def test_one_order_of_all_leads_to_an_account_without_tax_key(
    tenant_connection: Connection, new_database: NewDatabase
) -> None:
    without = """
        SELECT oe.ordnumber FROM oe
        JOIN orderitems ON orderitems.trans_id = oe.id
        JOIN parts ON parts.id = orderitems.parts_id
        LEFT JOIN taxzone_charts ON taxzone_charts.taxzone_id = oe.taxzone_id
              AND taxzone_charts.buchungsgruppen_id = parts.buchungsgruppen_id
        LEFT JOIN taxkeys ON taxkeys.chart_id = taxzone_charts.income_accno_id
        WHERE taxkeys.id IS NULL
    """
    write_tenant(tenant_connection, MUSTER, NOW)
    assert rows(tenant_connection, without) == [("AB-1015",)]
    other = connect(new_database("tenant"), purpose="test")
    write_tenant(other, BEISPIEL, NOW)
    assert rows(other, without) == []
    other.close()


def test_auth_rows(auth_access: DatabaseAccess) -> None:
    connection = connect(auth_access, purpose="test")
    tenants = DatabaseAccess("127.0.0.1", 5432, "muster", "kivitendo", "x")
    write_auth(connection, ((MUSTER, tenants),))
    assert rows(
        connection,
        """SELECT clients.name, dbport, login, cfg_value FROM auth.clients
           JOIN auth."user" ON "user".id = task_server_user_id
           JOIN auth.user_config ON user_id = "user".id AND cfg_key = 'email'""",
    ) == [("Muster GmbH", 5432, "buchhaltung", "buchhaltung@muster.example")]
    connection.close()


class TestReport:
    """Invoices written by hand, right and wrong ones."""

    @pytest.fixture
    def tenant(self, tenant_connection: Connection) -> Connection:
        write_tenant(tenant_connection, MUSTER, NOW)
        return tenant_connection

    def invoice(
        self, tenant: Connection, order: str, number: str, *postings: str, period: str
    ) -> None:
        with tenant, tenant.cursor() as cursor:
            cursor.execute(
                """INSERT INTO ar (invnumber, customer_id, taxzone_id, currency_id, netamount,
                                   amount, taxincluded, tax_point)
                   SELECT %s, customer_id, taxzone_id, currency_id, 84.03, 100, taxincluded,
                          %s::date + 29
                   FROM oe WHERE ordnumber = %s RETURNING id""",
                (number, period, order),
            )
            row = cursor.fetchone()
            assert row is not None
            for amount in postings:
                cursor.execute(
                    """INSERT INTO acc_trans (trans_id, chart_id, amount, chart_link, tax_id)
                       SELECT %s, chart.id, %s, link, (SELECT min(id) FROM tax)
                       FROM chart WHERE accno = '44190'""",
                    (row[0], Decimal(amount)),
                )
            cursor.execute(
                """INSERT INTO periodic_invoices (config_id, ar_id, period_start_date)
                   SELECT periodic_invoices_configs.id, %s, %s FROM periodic_invoices_configs
                   JOIN oe ON oe.id = oe_id WHERE ordnumber = %s""",
                (row[0], period, order),
            )

    def test_balanced_with_a_fraction_of_a_cent(self, tenant: Connection) -> None:
        self.invoice(tenant, "AB-1008", "RE-1", "84.03361", "15.97", "-100", period="2026-11-01")
        invoices = report.read_invoices(tenant)
        assert report.faults("Muster GmbH", invoices) == []
        table = report.invoices_table(invoices)
        assert "RE-1" in table and "Zahnarztpraxis Dr. Weißmann" in table
        assert "2026-11-01 - 2026-11-30" in table and "+0.00361" in table
        assert "postings balance on 1 of 1" in report.totals_line(invoices)

    def test_half_an_invoice_is_a_fault(self, tenant: Connection) -> None:
        self.invoice(tenant, "AB-1001", "RE-1", period="2026-11-01")
        self.invoice(tenant, "AB-1002", "RE-2", "84.03", "-100", period="2026-11-01")
        faults = report.faults("Muster GmbH", report.read_invoices(tenant))
        assert [fault.split(" add up")[0] for fault in faults] == [
            "Muster GmbH: the postings of invoice RE-1",
            "Muster GmbH: the postings of invoice RE-2",
        ]

    def test_period_billed_twice_is_a_fault(self, tenant: Connection) -> None:
        for number in ("RE-1", "RE-2"):
            self.invoice(tenant, "AB-1001", number, "100", "-100", period="2026-11-01")
        assert report.faults("Muster GmbH", report.read_invoices(tenant)) == [
            "Muster GmbH: order AB-1001 was billed 2 times for 2026-11-01"
        ]

    def test_nothing_billed_is_a_fault(self, tenant: Connection) -> None:
        assert report.faults("Muster GmbH", report.read_invoices(tenant)) == [
            "Muster GmbH: nothing was billed"
        ]

    def test_history(self, tenant: Connection) -> None:
        with tenant, tenant.cursor() as cursor:
            cursor.execute(
                """INSERT INTO background_job_histories
                       (package_name, run_at, status, result, error)
                   VALUES ('Test', '2026-11-22 03:00', 'success', '1', NULL),
                          ('CreatePeriodicInvoices', '2026-11-22 03:01', 'failure', %s, %s)""",
                (
                    "2 invoices posted:\nRE-1: order AB-1\nRE-2: order AB-2\n\n1 failed:\norder X",
                    "order X, period 2026-11-01: no tax key",
                ),
            )
        runs = [("Muster GmbH", run) for run in report.read_runs(tenant)]
        assert "2 invoices posted, 1 failed" in report.runs_table(runs)
        assert "RE-1" not in report.runs_table(runs)
        assert "order X, period 2026-11-01: no tax key" in report.failures_table(runs)
