"""The machine's clock travels to the workers."""

from __future__ import annotations

import io
import pickle
import struct
from zoneinfo import ZoneInfo

import pytest

from kivitendo_task_server.clock import SystemClock

# The smallest /etc/localtime: one hour east of Greenwich, for ever.
ONE_HOUR_EAST = (
    b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 3600, 0, 0)
    + b"CET\0"
)  # fmt: skip


def test_a_clock_of_a_machine_whose_zone_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """/etc/localtime may be a plain file; such a zone cannot be pickled itself."""
    nameless = ZoneInfo.from_file(io.BytesIO(ONE_HOUR_EAST), key="local")
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(nameless)
    monkeypatch.setattr("tzlocal.get_localzone", lambda: nameless)
    clock = pickle.loads(pickle.dumps(SystemClock()))
    assert clock.zone is nameless


def test_a_given_zone_is_kept() -> None:
    clock = pickle.loads(pickle.dumps(SystemClock(ZoneInfo("Asia/Tokyo"))))
    assert clock.zone.key == "Asia/Tokyo"
