"""The machine's clock travels to the workers."""

from __future__ import annotations

import pickle
import struct
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from kivitendo_task_server.clock import SystemClock, local_zone
from kivitendo_task_server.errors import ConfigurationError

# The smallest /etc/localtime: one hour east of Greenwich, for ever.
ONE_HOUR_EAST = (
    b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 3600, 0, 0)
    + b"CET\0"
)  # fmt: skip


def test_a_clock_of_a_machine_whose_zone_has_no_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """/etc/localtime may be a plain file; such a zone cannot be pickled itself."""
    file = tmp_path / "localtime"
    file.write_bytes(ONE_HOUR_EAST)
    monkeypatch.setenv("TZ", str(file))
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(SystemClock().zone)
    clock = pickle.loads(pickle.dumps(SystemClock()))
    assert clock.now().utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize(
    ("tz", "expected"),
    [
        ("", "Asia/Tokyo"),
        ("Europe/Berlin", "Europe/Berlin"),
        (":Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("UTC", "UTC"),
    ],
)
def test_the_zone_is_tz_or_what_localtime_links_to(
    tz: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what an old /etc/timezone says, which makes libraries give up."""

    def contradiction() -> None:
        raise ZoneInfoNotFoundError("Multiple conflicting time zone configurations found")

    monkeypatch.setattr("tzlocal.get_localzone", contradiction)
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
    assert str(local_zone({"TZ": tz}, link)) == expected


def test_a_machine_that_keeps_its_zone_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tzlocal.get_localzone", lambda: ZoneInfo("Asia/Kolkata"))
    assert str(local_zone({}, tmp_path / "missing")) == "Asia/Kolkata"


@pytest.mark.parametrize("tz", ["Foo/Bar", "CET-1CEST,M3.5.0,M10.5.0/3", "../etc", "/dev/null"])
def test_a_zone_that_is_none(tz: str) -> None:
    with pytest.raises(ConfigurationError, match="such as Europe/Berlin") as caught:
        local_zone({"TZ": tz})
    assert caught.value.where == "environment variable TZ"


def test_a_given_zone_is_kept() -> None:
    clock = pickle.loads(pickle.dumps(SystemClock(ZoneInfo("Asia/Tokyo"))))
    assert clock.zone.key == "Asia/Tokyo"
