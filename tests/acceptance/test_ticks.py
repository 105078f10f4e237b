"""A thousand ticks through each of the two nights in which the clock changes."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from kivitendo_fixture import CHECKOUT
from one_tenant import OneTenant
from real_service import environment
from ticking_service import BERLIN

TICKS = 1000
MEGABYTE = 1024 * 1024


def every(minutes: int, start: datetime) -> list[datetime]:
    """Real time in steps that divide the hour, as wall-clock times."""
    moments = [start.astimezone(UTC) + timedelta(minutes=n) for n in range(1, TICKS + 1)]
    return [_wall(moment) for moment in moments if moment.minute % minutes == 0]


def _wall(moment: datetime) -> datetime:
    return moment.astimezone(BERLIN).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("start", "skipped_or_doubled"),
    [
        # 02:30 does not exist: right after the gap
        (datetime(2026, 3, 28, 20, 0), datetime(2026, 3, 29, 3, 0)),
        # 02:30 exists twice: the first one
        (datetime(2026, 10, 24, 20, 0), datetime(2026, 10, 25, 2, 30)),
    ],
)
def test_ticks_through_a_night(
    tenant: OneTenant, start: datetime, skipped_or_doubled: datetime
) -> None:
    expected = {
        "*/20 * * * *": every(20, start.replace(tzinfo=BERLIN)),
        "0 * * * *": every(60, start.replace(tzinfo=BERLIN)),
        "30 2 * * *": [skipped_or_doubled],
        "0 4 * * *": [skipped_or_doubled.replace(hour=4, minute=0)],
        "0 12 * * 1": [],  # a Monday, and this is the night to Sunday
    }
    for spec in expected:
        tenant.add(cron_spec=spec, next_run_at=None, description=spec)
    process = subprocess.run(
        [
            sys.executable,
            "tests/ticking_service.py",
            str(tenant.installation.path),
            str(tenant.installation.path / "config/kivitendo.conf"),
            start.isoformat(),
            str(TICKS),
        ],
        cwd=CHECKOUT,
        env=environment(tenant.installation),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    runs: dict[str, list[datetime]] = {spec: [] for spec in expected}
    for spec, run_at in tenant.execute(
        "SELECT description, run_at FROM background_job_histories ORDER BY id"
    ):
        runs[spec].append(run_at)
    assert runs == expected
    early, late = (int(line) for line in process.stdout.split())
    assert late < early + 2 * MEGABYTE
