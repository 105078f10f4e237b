"""Calendar arithmetic of jobs, by the specification's examples."""

from __future__ import annotations

from datetime import date

import pytest

from kivitendo_task_server.jobs.dates import minus_months_keeping_month_end, minus_years


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        ("2026-03-31", 2, "2026-01-31"),
        ("2026-02-28", 1, "2026-01-31"),
        ("2028-02-28", 1, "2028-01-28"),
        ("2026-04-30", 1, "2026-03-31"),
        ("2028-03-30", 1, "2028-02-29"),
        ("2027-03-29", 1, "2027-02-28"),
        ("2026-01-15", 1, "2025-12-15"),
        ("2026-01-15", 13, "2024-12-15"),
        ("2026-12-31", 12, "2025-12-31"),
        ("0002-01-01", 1200, "0001-01-01"),
    ],
)
def test_minus_months(day: str, months: int, expected: str) -> None:
    found = minus_months_keeping_month_end(date.fromisoformat(day), months)
    assert found == date.fromisoformat(expected)


def test_minus_years() -> None:
    assert minus_years(date(2028, 2, 29), 1) == date(2027, 2, 28)
    assert minus_years(date(2028, 2, 29), 4) == date(2024, 2, 29)
    assert minus_years(date(2026, 11, 22), 0) == date(2026, 11, 22)
    assert minus_years(date(2026, 11, 22), 5000) == date(1, 11, 22)
