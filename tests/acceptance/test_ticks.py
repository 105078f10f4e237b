"""Two thousand ticks, through both nights in which the clock changes."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

from database_fixture import NewDatabase
from job_rows import add_job, execute
from kivitendo_fixture import CHECKOUT, KivitendoDir
from one_tenant import OneTenant
from real_service import environment
from ticking_service import BERLIN

TICKS = 1000  # through each of them
MEGABYTE = 1024 * 1024


def every(minutes: int, start: datetime) -> list[datetime]:
    """Real time in steps that divide the hour, as wall-clock times."""
    moments = [start.astimezone(UTC) + timedelta(minutes=n) for n in range(1, TICKS + 1)]
    return [_wall(moment) for moment in moments if moment.minute % minutes == 0]


def _wall(moment: datetime) -> datetime:
    return moment.astimezone(BERLIN).replace(tzinfo=None)


def tick(installation: KivitendoDir, busy: str, ticks: int, *starts: datetime) -> list[int]:
    """Run tests/ticking_service.py; what it printed."""
    process = subprocess.run(
        [
            sys.executable,
            "tests/ticking_service.py",
            str(installation.path),
            str(installation.path / "config/kivitendo.conf"),
            busy,
            str(ticks),
            *(start.isoformat() for start in starts),
        ],
        cwd=CHECKOUT,
        env=environment(installation),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return [int(line) for line in process.stdout.split()]


def test_two_thousand_ticks_through_both_nights(tenant: OneTenant) -> None:
    spring, autumn = datetime(2026, 3, 28, 20, 0), datetime(2026, 10, 24, 20, 0)
    in_zone = [start.replace(tzinfo=BERLIN) for start in (spring, autumn)]
    # all that was planned between the two is made up for by one run, at once
    jump = autumn + timedelta(minutes=1)
    expected = {
        "*/20 * * * *": [*every(20, in_zone[0]), jump, *every(20, in_zone[1])],
        "0 * * * *": [*every(60, in_zone[0]), jump, *every(60, in_zone[1])],
        # it does not exist: right after the gap; it exists twice: the first one
        "30 2 * * *": [datetime(2026, 3, 29, 3, 0), jump, datetime(2026, 10, 25, 2, 30)],
        "0 4 * * *": [datetime(2026, 3, 29, 4, 0), jump, datetime(2026, 10, 25, 4, 0)],
        "0 12 * * 1": [jump],  # a Monday, and these are nights to Sunday
    }
    for spec in expected:
        tenant.add(cron_spec=spec, next_run_at=None, description=spec)
    early, late = tick(tenant.installation, "", TICKS, spring, autumn)
    runs: dict[str, list[datetime]] = {spec: [] for spec in expected}
    for spec, run_at in tenant.execute(
        "SELECT description, run_at FROM background_job_histories ORDER BY id"
    ):
        runs[spec].append(run_at)
    assert runs == expected
    assert late < early + 2 * MEGABYTE


def test_a_long_job_costs_no_other_tenant_a_minute(
    kivitendo_dir: KivitendoDir, new_database: NewDatabase
) -> None:
    """In the original one job of half a minute makes every second minute be left out, for all."""
    start = datetime(2026, 11, 22, 12, 0)
    busy, other = new_database(), new_database()
    kivitendo_dir.configure("task_server", stop_timeout="0")
    kivitendo_dir.add_tenant("busy", busy)
    kivitendo_dir.add_tenant("other", other)
    add_job(busy, "Sleep", data="seconds: 600")
    add_job(other, cron_spec="* * * * *", next_run_at=None)
    tick(kivitendo_dir, "busy", 10, start)
    assert execute(other, "SELECT run_at FROM background_job_histories ORDER BY id") == [
        (start + timedelta(minutes=minute),) for minute in range(1, 11)
    ]
    ((error,),) = execute(busy, "SELECT error FROM background_job_histories")
    assert "stop_timeout" in error  # it ran all the time
