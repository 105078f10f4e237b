"""What the coroutines of all tenants share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kivitendo_task_server.clock import Clock
from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database.upgrades import UpgradeScripts
from kivitendo_task_server.scheduling.hold import InstallationHold
from kivitendo_task_server.scheduling.kept_connections import KeptConnections
from kivitendo_task_server.scheduling.kept_notices import KeptNotices
from kivitendo_task_server.scheduling.notification import Notifier
from kivitendo_task_server.scheduling.pool import WorkerPool
from kivitendo_task_server.scheduling.slots import Slots


@dataclass
class Service:
    """Settings in force, workers, and the stop flag; changed only by who runs the service."""

    settings: Settings
    clock: Clock
    kivitendo_dir: Path
    pool: WorkerPool
    slots: Slots
    hold: InstallationHold
    upgrade_scripts: UpgradeScripts
    notifier: Notifier
    kept_connections: KeptConnections = field(default_factory=KeptConnections)
    state_changed: Callable[[], None] = field(default=lambda: None)
    """Called when a tenant's state is another."""
    stopping: bool = False
    finished: int = 0
    """Runs recorded as success."""
    failed: int = 0
    """Runs recorded as failure."""

    @classmethod
    def create(
        cls,
        settings: Settings,
        clock: Clock,
        kivitendo_dir: Path,
        pool: WorkerPool,
        waiting_mails: Path | None = None,
    ) -> Service:
        """What these settings need; ``waiting_mails`` is the file for those not sent yet."""
        kept = KeptNotices(waiting_mails) if waiting_mails else None
        return cls(
            settings=settings,
            clock=clock,
            kivitendo_dir=kivitendo_dir,
            pool=pool,
            slots=Slots(settings.task_server.max_parallel_tenants),
            hold=InstallationHold(kivitendo_dir),
            upgrade_scripts=UpgradeScripts(kivitendo_dir),
            notifier=Notifier(settings, clock, kivitendo_dir, kept=kept),
        )
