"""Mails to the administrators when something fails, and when it works again.

The supervisor says what happens; every call returns at once. The mails are sent by a process of
its own (:mod:`~kivitendo_task_server.scheduling.notification_sender`), one at a time; one that
cannot be sent is tried again, with growing pauses, for a day, also by the service after a restart
(:mod:`~kivitendo_task_server.scheduling.kept_notices`).

* A job: its first failure at once, then once a day while it goes on (see
  :mod:`~kivitendo_task_server.scheduling.throttle`); kept in the tenant's database.
* A tenant that cannot be served, and the service as a whole: after half a minute, because a
  restart of PostgreSQL is not worth a mail; kept in memory. While the service as a whole fails,
  nothing is told of its tenants: mostly it is the same thing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import kivitendo_task_server
from kivitendo_task_server.clock import Clock
from kivitendo_task_server.config.settings import Settings
from kivitendo_task_server.database.failure_mails import Episode
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling import throttle
from kivitendo_task_server.scheduling.kept_notices import KeptNotices
from kivitendo_task_server.scheduling.notice import Answer, FinishedRun, Notice, Order, Subject
from kivitendo_task_server.scheduling.notice_queue import NoticeQueue, remember_nothing

log = logger(__name__)

SENDER = "kivitendo_task_server.scheduling.notification_sender"
PATIENCE = 30.0  # seconds that a tenant or the service may fail before it is worth a mail
PAUSES = (60.0, 300.0, 900.0, 1800.0, 3600.0)
"""Seconds until the next attempt after failures in a row; the last one for all later ones."""
KEEP = 24 * 3600.0  # seconds until a mail that cannot be sent is given up
LONGEST_SENDING = 600.0  # seconds; then the process is ended
CLOSING = 5.0  # seconds that the end of the service leaves for mails that are due

# What belongs to the supervisor and systemd alone.
_OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")


class Notifier:
    """Use it within a running event loop; :meth:`close` at the end."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        kivitendo_dir: Path,
        *,
        patience: float = PATIENCE,
        pauses: Sequence[float] = PAUSES,
        keep: float = KEEP,
        kept: KeptNotices | None = None,
    ) -> None:
        """``kept`` is what an earlier service left, and what the next one finds."""
        self._settings = settings
        self._clock = clock
        self._kivitendo_dir = kivitendo_dir
        self._patience = patience
        self._keep = timedelta(seconds=keep)
        self._kept = kept
        self._queue = NoticeQueue(
            self._send,
            self._answered,
            pauses=pauses,
            keep=keep,
            remember=kept.keep if kept else remember_nothing,
        )
        self._failing_jobs: set[Subject] = set()
        self._quiet: dict[Subject, datetime] = {}
        """Failing jobs, and before when there is no need to ask whether a mail is due."""
        self._episodes: dict[Subject, Episode] = {}
        """Tenants and the service, if they fail or have failed."""

    # --- what the supervisor says -----------------------------------------------------------

    def use(self, settings: Settings) -> None:
        """Another configuration is in force; what could not be sent is tried at once."""
        self._settings = settings
        self._queue.hurry()

    def take_up(self, tenants: Iterable[Tenant]) -> None:
        """Send what an earlier service could not, as far as it is about these or about itself."""
        if self._kept is None:
            return
        for notice in self._kept.claim(tenants):
            if notice.at > self._now() - self._keep:
                self._tell(notice)
            else:
                log.error(
                    "a notification could not be sent for a day and is given up",
                    extra=fields("notification_given_up", at=notice.at, subject=notice.subject[0]),
                )
            self._queue.remember_soon()

    def job_finished(self, tenant: Tenant, run: FinishedRun) -> None:
        """A run of a job was recorded."""
        notice = Notice(tenant, self._now(), run)
        subject = notice.subject
        if run.error is None:
            failed_before = run.failed_before or subject in self._failing_jobs
            self._failing_jobs.discard(subject)
            self._quiet.pop(subject, None)
            if failed_before:
                self._tell(notice)
            return
        self._failing_jobs.add(subject)
        quiet_until = self._quiet.get(subject)
        if quiet_until is None or notice.at >= quiet_until:
            self._tell(notice)

    def tenant_failed(self, tenant: Tenant | None, error: str) -> None:
        """A tenant cannot be served; None: the service cannot work. Call it at each attempt."""
        now = self._now()
        subject = Notice(tenant, now).subject
        episode = throttle.failed(self._episodes.get(subject, Episode()), now)
        self._episodes[subject] = episode
        if tenant is None:
            self._drop_tenants_nobody_was_told_of()
        elif self._fails(Notice(None, now).subject):
            return
        if subject not in self._queue and throttle.mail_is_due(episode, now):
            again = episode.reported_at is not None
            self._tell(
                Notice(tenant, now, error=error, since=episode.failing_since, again=again),
                after=0.0 if again else self._patience,
            )

    def tenant_recovered(self, tenant: Tenant | None) -> None:
        """It is served again; None: the service works again."""
        now = self._now()
        subject = Notice(tenant, now).subject
        if not self._fails(subject):
            return
        episode = self._episodes[subject]
        self._episodes[subject] = throttle.recovered(episode)
        if episode.reported_at is None:
            self._queue.drop(subject)  # over before anybody was told
        else:
            self._tell(Notice(tenant, now, since=episode.failing_since))

    async def close(self, patience: float = CLOSING) -> None:
        """Send what can be sent at once; what waits for a later attempt is kept."""
        await self._queue.close(patience)

    def _now(self) -> datetime:
        """With a plain offset: a zone without a name cannot be given to another process."""
        now = self._clock.now()
        return now.replace(tzinfo=timezone(now.utcoffset() or timedelta(0)), fold=0)

    # --- sending ----------------------------------------------------------------------------

    def _tell(self, notice: Notice, after: float = 0.0) -> None:
        if self._settings.notify_on_failure.send_email_to:
            self._queue.put(notice, after)

    def _answered(self, notice: Notice, answer: Answer) -> None:
        subject = notice.subject
        if notice.run is not None:
            if answer.quiet_until is not None and subject in self._failing_jobs:
                self._quiet[subject] = answer.quiet_until
        elif notice.failure and self._fails(subject):
            now = self._now()
            self._episodes[subject] = throttle.reported(self._episodes[subject], now)
        elif notice.failure:
            # it was over while the mail was being sent
            self._tell(Notice(notice.tenant, self._now(), since=notice.since))

    def _fails(self, subject: Subject) -> bool:
        episode = self._episodes.get(subject)
        return episode is not None and episode.failing_since is not None

    def _drop_tenants_nobody_was_told_of(self) -> None:
        for subject, episode in self._episodes.items():
            if subject[0] and episode.reported_at is None:
                self._queue.drop(subject)

    async def _send(self, notice: Notice, first_attempt: bool) -> Answer:
        """Have the process send one; it is ended if that takes too long, or if we end."""
        order = Order(notice, self._settings, self._kivitendo_dir, self._now(), first_attempt)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", SENDER),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            return Answer(False, error=f"no process can be started: {error}")
        try:
            output, errors = await asyncio.wait_for(
                process.communicate(pickle.dumps(order)), LONGEST_SENDING
            )
        except TimeoutError:
            return Answer(False, error=f"sending did not end within {LONGEST_SENDING:.0f} s")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        lines = errors.decode("utf-8", "replace").splitlines()
        if process.returncode != 0:
            last = lines[-1] if lines else ""
            return Answer(False, error=f"the sending process ended early: {last}")
        for line in lines:
            log.warning("%s", line, extra=fields("notification_output"))
        answer = pickle.loads(output)
        assert isinstance(answer, Answer)
        return answer


def _environment() -> dict[str, str]:
    """Ours, so that the process finds the same modules; nothing that systemd gave to us alone."""
    environment = {key: value for key, value in os.environ.items() if key not in _OWN_VARIABLES}
    root = str(Path(kivitendo_task_server.__file__).parents[1])
    path = [root, environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    return environment
