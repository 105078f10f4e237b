"""The order in which notices are sent, retried and given up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kivitendo_task_server.config.settings import DatabaseAccess
from kivitendo_task_server.database.tenants import Tenant, TenantUser
from kivitendo_task_server.scheduling.kept_notices import KeptNotices
from kivitendo_task_server.scheduling.notice import Answer, FinishedRun, Notice
from kivitendo_task_server.scheduling.notice_queue import NoticeQueue

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TENANT = Tenant(1, "Eins", DatabaseAccess("h", 1, "d", "u"), TenantUser("login"))
SENT = Answer(True, "a@b.example")
LATER = Answer(False, error="server down")


def notice(job: int, error: str | None) -> Notice:
    run = FinishedRun(job, "Test", None, NOW.replace(tzinfo=None), error)
    return Notice(TENANT, NOW, run)


class Sender:
    """Stands for the sending process: gives prepared answers, notes what it was asked."""

    def __init__(self, answers: Sequence[Answer] = (), hold: asyncio.Event | None = None) -> None:
        self.answers = list(answers)
        self.hold = hold
        self.seen: list[tuple[int, str | None, bool]] = []
        self.settled: list[tuple[int, bool]] = []

    async def send(self, notice: Notice, first_attempt: bool) -> Answer:
        assert notice.run is not None
        self.seen.append((notice.run.job_id, notice.run.error, first_attempt))
        if self.hold is not None:
            await self.hold.wait()
        return self.answers.pop(0) if self.answers else SENT

    def answered(self, notice: Notice, answer: Answer) -> None:
        assert notice.run is not None
        self.settled.append((notice.run.job_id, notice.failure))

    def queue(self, pauses: Sequence[float] = (0.0,), keep: float = 60.0) -> NoticeQueue:
        return NoticeQueue(self.send, self.answered, pauses=pauses, keep=keep)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))  # type: ignore[arg-type]


async def _until_empty(queue: NoticeQueue) -> None:
    while queue.subjects():
        await asyncio.sleep(0)


def test_one_after_the_other_and_retries(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        sender = Sender([LATER, LATER, SENT, SENT])
        queue = sender.queue()
        queue.put(notice(1, "e"))
        await _until_empty(queue)
        queue.put(notice(2, "e"))
        await queue.close(10)
        assert sender.seen == [(1, "e", True), (1, "e", False), (1, "e", False), (2, "e", True)]
        assert sender.settled == [(1, True), (2, True)]

    with caplog.at_level(logging.INFO):
        run(test)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]
    assert "server down" in caplog.messages[0]


def test_a_stuck_mail_does_not_hold_up_another_subject() -> None:
    async def test() -> None:
        sender = Sender([LATER])
        queue = sender.queue(pauses=(3600.0,))
        queue.put(notice(1, "e"))
        queue.put(notice(2, "e"))
        while len(sender.settled) < 1:
            await asyncio.sleep(0)
        assert sender.settled == [(2, True)]
        queue.hurry()  # a new configuration
        await _until_empty(queue)
        assert sender.settled == [(2, True), (1, True)]
        await queue.close(0)

    run(test)


def test_failures_are_not_heaped_up_while_nothing_can_be_sent() -> None:
    async def test() -> None:
        hold = asyncio.Event()
        sender = Sender(hold=hold)
        queue = sender.queue()
        for minute in range(5):
            queue.put(notice(1, f"e{minute}"))
            await asyncio.sleep(0)
        queue.put(notice(1, None))
        queue.put(notice(1, "again"))  # the recovery is contradicted before it was told
        queue.put(notice(1, None))
        hold.set()
        await _until_empty(queue)
        assert [error for _, error, _ in sender.seen] == ["e0", None]
        await queue.close(0)

    run(test)


def test_given_up_after_its_time(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        sender = Sender([LATER] * 1000)
        queue = sender.queue(pauses=(0.01,), keep=0.05)
        queue.put(notice(1, "e"))
        await _until_empty(queue)
        assert sender.settled == []
        await queue.close(0)

    run(test)
    assert "given up" in caplog.messages[-1]
    assert len(caplog.messages) == 2, "one line when it begins, one when it ends"


def test_dropped_before_and_while_it_is_sent() -> None:
    async def test() -> None:
        hold = asyncio.Event()
        sender = Sender(hold=hold)
        queue = sender.queue()
        queue.put(notice(1, "e"), after=3600)
        assert notice(1, None).subject in queue
        queue.drop(notice(1, None).subject)
        queue.put(notice(2, "e"))
        while not sender.seen:
            await asyncio.sleep(0)
        queue.drop(notice(2, "e").subject)
        hold.set()
        while not sender.settled:
            await asyncio.sleep(0)
        assert sender.settled == [(2, True)], "whoever dropped it learns that it was told"
        await queue.close(0)

    run(test)


def test_the_end_sends_what_is_due_and_logs_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        sender = Sender([LATER, SENT])
        queue = sender.queue(pauses=(3600.0,))
        queue.put(notice(1, "e"))
        queue.put(notice(2, "e"))
        queue.put(notice(3, "e"), after=3600)
        await queue.close(20)
        assert sender.settled == [(2, True)]

    run(test)
    lost = [r for r in caplog.records if r.fields["action"] == "notification_lost"]  # type: ignore[attr-defined]
    assert [record.fields["job"] for record in lost] == [1, 3]  # type: ignore[attr-defined]


# --- what outlives the service --------------------------------------------------------------------

OTHER = replace(TENANT, id=2, name="Zwei", access=DatabaseAccess("h", 1, "d2", "u", "SehrGeheim"))
KEPT = [
    notice(1, "Fehler: ä\n  am Ende"),
    notice(1, None),
    Notice(OTHER, NOW, error="weg", since=NOW, again=True),
    Notice(None, NOW, since=NOW),
]


def test_what_waits_is_kept_and_claimed_once(tmp_path: Path) -> None:
    file = tmp_path / "x.mails"
    assert KeptNotices(file).keep(KEPT)
    assert "SehrGeheim" not in file.read_text()
    kept = KeptNotices(file)
    assert kept.claim([TENANT]) == [KEPT[0], KEPT[1], KEPT[3]]
    assert kept.keep([])
    assert file.exists(), "nobody has claimed what is about the other tenant"
    kept = KeptNotices(file)
    assert kept.claim([TENANT, OTHER]) == [KEPT[2]]
    assert kept.claim([TENANT, OTHER]) == []
    assert kept.keep([])
    assert not file.exists()


@pytest.mark.parametrize(
    "content",
    ["", "{", "7", '["x"]', '[{"tenant": null}]', '[{"tenant": [1], "at": "2026-11-22T12:00Z"}]'],
)
def test_a_damaged_file_stops_nobody(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "x.mails"
    file.write_text(content)
    kept = KeptNotices(file)
    assert kept.claim([TENANT]) == []
    assert len(caplog.messages) == 1
    assert kept.keep(KEPT[:1])
    assert KeptNotices(file).claim([TENANT]) == KEPT[:1]


def test_the_file_follows_no_links_and_may_be_unwritable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("[]")
    (tmp_path / "x.mails.new").symlink_to(victim)
    assert KeptNotices(tmp_path / "x.mails").keep(KEPT)
    assert victim.read_text() == "[]"
    kept = KeptNotices(tmp_path / "no folder/x.mails")
    assert not kept.keep(KEPT)
    assert not kept.keep(KEPT)
    assert len(caplog.messages) == 1


def test_the_queue_remembers_changes_and_keeps_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = KeptNotices(tmp_path / "x.mails")

    async def test() -> None:
        sender = Sender([LATER])
        queue = NoticeQueue(
            sender.send, sender.answered, pauses=(3600.0,), keep=60.0, remember=kept.keep
        )
        queue.put(notice(1, "e"))
        queue.put(notice(2, "e"))
        queue.put(notice(1, None))
        await queue.close(20)

    with caplog.at_level(logging.INFO):
        run(test)
    assert KeptNotices(tmp_path / "x.mails").claim([TENANT]) == [notice(1, "e"), notice(1, None)]
    actions = [record.fields["action"] for record in caplog.records]  # type: ignore[attr-defined]
    assert actions == ["notification_failed", "notification_sent", "notification_kept"]
