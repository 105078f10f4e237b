"""A supervisor whose clock jumps to the next minute as soon as nothing is left to do.

``python tests/ticking_service.py DIRECTORY CONFIG BUSY TICKS START...``: so many ticks from each
start on, one after the other in one process; the tenant called BUSY has to be running a job at
each of them. Prints its memory in bytes after a fifth of all ticks and at the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from kivitendo_task_server.clock import FixedClock
from kivitendo_task_server.config.settings import load
from kivitendo_task_server.scheduling.memory import resident_bytes
from kivitendo_task_server.scheduling.spawner import fork_spawner
from kivitendo_task_server.scheduling.supervisor import Supervisor

BERLIN = ZoneInfo("Europe/Berlin")


class JumpingPace:
    """Sets the clock forward by a minute whenever all tenants are idle."""

    def __init__(self, clock: FixedClock, ticks: int, starts: list[datetime], busy: str) -> None:
        self._clock = clock
        self._busy = busy
        self._ticks = ticks * len(starts)
        self._jumps = {ticks * number: start for number, start in enumerate(starts)}
        self._done = 0
        self.supervisor: Supervisor | None = None

    async def next_tick(self) -> None:
        assert self.supervisor is not None
        await asyncio.sleep(0)  # those who were woken begin to look
        while not all(
            loop.state.startswith("running") if tenant.name == self._busy else loop.idle
            for tenant, (loop, _) in self.supervisor._loops.items()
        ):
            await asyncio.sleep(0.001)
        if self._done in (self._ticks // 5, self._ticks):
            print(resident_bytes("self"), flush=True)
        if self._done == self._ticks:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)
        start = self._jumps.get(self._done, self._clock.moment)
        self._done += 1
        later = start.astimezone(UTC) + timedelta(minutes=1)
        self._clock.moment = later.astimezone(BERLIN)


def main(directory: Path, config: Path, busy: str, ticks: int, starts: list[datetime]) -> int:
    clock = FixedClock(starts[0])
    pace = JumpingPace(clock, ticks, starts, busy)
    spawner = fork_spawner()

    async def run() -> int:
        supervisor = pace.supervisor = Supervisor(
            load(config, kivitendo_dir=directory).settings,
            clock=clock,
            kivitendo_dir=directory,
            spawner=spawner,
            pace=pace,
        )
        return await supervisor.run()

    return asyncio.run(run())


if __name__ == "__main__":
    folder, file, name, number, *begins = sys.argv[1:]
    moments = [datetime.fromisoformat(begin).replace(tzinfo=BERLIN) for begin in begins]
    raise SystemExit(main(Path(folder), Path(file), name, int(number), moments))
