"""Notices that wait to be sent: one at a time, tried again with growing pauses."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.scheduling.notice import Answer, Notice, Subject

log = logger(__name__)

Send = Callable[[Notice, bool], Awaitable[Answer]]
"""Sends a notice; the flag says whether it is the first attempt. Never raises."""

Keep = Callable[[Sequence[Notice]], bool]
"""Remembers what waits beyond our end; whether it could."""

KEEP_DELAY = 0.2  # seconds until changes are remembered: many come at once


def remember_nothing(notices: Sequence[Notice]) -> bool:
    """For those who have no place to keep them."""
    return not notices


@dataclass
class _Pending:
    """What is to be told about one subject: at most a failure and its end, or the reverse."""

    notices: deque[Notice]
    due: float
    """Loop time of the next attempt."""
    attempts: int = 0
    """Failed attempts to send the first of the notices."""
    given_up: float = float("inf")
    """Loop time after which that one is not tried again."""


class NoticeQueue:
    """Sends notices with ``send``; :meth:`close` at the end."""

    def __init__(
        self,
        send: Send,
        answered: Callable[[Notice, Answer], None],
        *,
        pauses: Sequence[float],
        keep: float,
        remember: Keep = remember_nothing,
    ) -> None:
        """``pauses``: seconds after failed attempts; ``keep``: seconds until one is given up.

        ``remember`` is given all that waits, in its order, when that has changed and at the end.
        """
        self._send = send
        self._answered = answered
        self._pauses = pauses
        self._keep = keep
        self._remember = remember
        self._remembering: asyncio.TimerHandle | None = None
        self._pending: dict[Subject, _Pending] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending = False

    def __contains__(self, subject: Subject) -> bool:
        return subject in self._pending

    def subjects(self) -> tuple[Subject, ...]:
        """About what something waits."""
        return tuple(self._pending)

    def put(self, notice: Notice, after: float = 0.0) -> None:
        """Send it in ``after`` seconds, behind what waits about the same subject.

        Of a sequence of failures only the first is sent, and what is contradicted before anybody
        was told is not told at all.
        """
        pending = self._pending.get(notice.subject)
        if pending is None:
            self._pending[notice.subject] = _Pending(deque([notice]), _now() + after)
        elif pending.notices[-1].failure != notice.failure:
            if len(pending.notices) > 1:
                pending.notices.pop()
            else:
                pending.notices.append(notice)
        if self._task is None:
            self._task = asyncio.create_task(self._serve())
        self._changed.set()
        self.remember_soon()

    def drop(self, subject: Subject) -> None:
        """Forget what waits about it."""
        self._pending.pop(subject, None)
        self.remember_soon()

    def remember_soon(self) -> None:
        """What waits is another, or whoever remembers it has changed."""
        if self._remembering is None:
            loop = asyncio.get_running_loop()
            self._remembering = loop.call_later(KEEP_DELAY, self._remember_now)

    def _remember_now(self) -> bool:
        if self._remembering is not None:
            self._remembering.cancel()
            self._remembering = None
        return self._remember([each for one in self._pending.values() for each in one.notices])

    def hurry(self) -> None:
        """Try at once what failed before."""
        for pending in self._pending.values():
            if pending.attempts:
                pending.due = _now()
        self._changed.set()

    async def close(self, patience: float) -> None:
        """Give what is due ``patience`` seconds; the rest is remembered, or else lost: logged."""
        if self._task is not None:
            deadline = _now() + patience
            while (self._sending or self._earliest() <= _now()) and _now() < deadline:
                await asyncio.sleep(0.02)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        remembered = self._remember_now()
        for pending in self._pending.values():
            if remembered:
                log.info(
                    "a notification waits for the next start",
                    extra=_about("notification_kept", pending.notices[0]),
                )
            else:
                log.warning(
                    "a notification is not sent: the service ends",
                    extra=_about("notification_lost", pending.notices[0]),
                )

    async def _serve(self) -> None:
        while True:
            wait = self._earliest() - _now()
            if wait > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._changed.wait(), None if wait == float("inf") else wait
                    )
                continue
            await self._attempt(min(self._pending.values(), key=lambda pending: pending.due))

    def _earliest(self) -> float:
        return min((pending.due for pending in self._pending.values()), default=float("inf"))

    async def _attempt(self, pending: _Pending) -> None:
        notice = pending.notices[0]
        if not pending.attempts:
            pending.given_up = _now() + self._keep
        self._sending = True
        try:
            answer = await self._send(notice, pending.attempts == 0)
        finally:
            self._sending = False
        if self._pending.get(notice.subject) is not pending:
            if answer.done:  # dropped meanwhile, too late
                self._answered(notice, answer)
            return
        if answer.done:
            self._log_done(notice, answer)
            self._next(pending)
            self._answered(notice, answer)
        elif _now() >= pending.given_up:
            log.error(
                "a notification could not be sent and is given up: %s",
                answer.error,
                extra=_about("notification_given_up", notice),
            )
            self._next(pending)
        else:
            if not pending.attempts:
                log.warning(
                    "a notification cannot be sent and is tried again later: %s",
                    answer.error,
                    extra=_about("notification_failed", notice),
                )
            pause = self._pauses[min(pending.attempts, len(self._pauses) - 1)]
            pending.attempts += 1
            pending.due = _now() + pause

    def _next(self, pending: _Pending) -> None:
        """The first notice is settled; go on with the next about the same subject."""
        notice = pending.notices.popleft()
        self.remember_soon()
        if pending.notices:
            pending.due, pending.attempts = _now(), 0
        else:
            del self._pending[notice.subject]

    def _log_done(self, notice: Notice, answer: Answer) -> None:
        if answer.error:
            log.warning(
                "a notification was refused: %s",
                answer.error,
                extra=_about("notification_refused", notice),
            )
        if answer.sent_to:
            log.info("notified %s", answer.sent_to, extra=_about("notification_sent", notice))


def _about(action: str, notice: Notice) -> dict[str, object]:
    values: dict[str, object] = {}
    if notice.tenant is not None:
        values["tenant"] = notice.tenant.name
    if notice.run is not None:
        values["job"] = notice.run.job_id
    return fields(action, **values, about="failure" if notice.failure else "recovery")


def _now() -> float:
    return asyncio.get_running_loop().time()
