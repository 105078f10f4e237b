"""The process that sends one notification: decides, composes, delivers, keeps the journal.

The supervisor starts it (``python -m …``), gives it an Order, and hears an Answer. It is a process
of its own because databases and mail servers may keep it waiting, and because the supervisor
needs none of what is loaded for it. What has been reported about a job is kept in the tenant's
database, so all nodes know.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import sys
from datetime import datetime

import psycopg2

from kivitendo_task_server.database import email_journal, failure_mails, own_schema
from kivitendo_task_server.database.connection import Connection, connect, one_line
from kivitendo_task_server.database.failure_mails import Episode
from kivitendo_task_server.database.users import emails_of
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.log import KeyValueFormatter, fields, logger
from kivitendo_task_server.mail import Outcome, delivery_settings, send
from kivitendo_task_server.mail.journal import journal_entry
from kivitendo_task_server.scheduling import throttle
from kivitendo_task_server.scheduling.notice import Answer, FinishedRun, Order
from kivitendo_task_server.scheduling.notification_text import mail_for

log = logger(__name__)

PURPOSE = "notification"
LOCK_PATIENCE = "120s"  # for another node that is just sending a mail about the same job
WITHOUT_DATABASE = 3  # seconds to connect where the connection is only for the journal


def main() -> int:
    """Read an order from standard input and print the answer; log lines go to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    order: Order = pickle.load(sys.stdin.buffer)
    answer = carry_out(order)
    sys.stdout.buffer.write(pickle.dumps(answer))
    return 0


def carry_out(order: Order) -> Answer:
    """Send what is to be sent. What may be better later is an answer that is not done."""
    try:
        if order.notice.run is not None:
            return _about_job(order, order.notice.run)
        return _about_tenant(order)
    except TaskServerError as error:
        return Answer(done=False, error=str(error))
    except psycopg2.Error as error:
        return Answer(done=False, error=f"database: {one_line(error)}")


def _about_job(order: Order, run: FinishedRun) -> Answer:
    assert order.notice.tenant is not None
    connection = connect(order.notice.tenant.access, purpose=PURPOSE)
    with contextlib.closing(connection):
        own_schema.ensure(connection)
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (LOCK_PATIENCE,))
        episode = failure_mails.lock(connection, run.job_id)
        if order.notice.failure:
            answer, episode = _failed(order, run, connection, episode)
        else:
            answer, episode = _works_again(order, connection, episode)
        try:
            failure_mails.save(connection, run.job_id, episode)
            connection.commit()
        except psycopg2.Error as error:
            if not answer.sent_to:
                raise
            # told is told: a mail once more would be worse than one too many tomorrow
            log.warning(
                "that a mail was sent cannot be remembered: %s",
                one_line(error),
                extra=fields("notification_memory", tenant=order.notice.tenant.name),
            )
    return answer


def _failed(
    order: Order, run: FinishedRun, connection: Connection, episode: Episode
) -> tuple[Answer, Episode]:
    again = episode.reported_at is not None
    episode = throttle.failed(episode, order.notice.at)
    if not throttle.mail_is_due(episode, order.now):
        return Answer(True, quiet_until=throttle.quiet_until(episode, order.now)), episode
    answer = _send(
        order,
        connection,
        since=episode.failing_since,
        again=again,
        failures=failure_mails.failures_in_a_row(connection, run.job_id),
        data=failure_mails.job_data(connection, run.job_id),
    )
    if answer.done:
        episode = throttle.reported(episode, order.now)
        quiet_until = throttle.quiet_until(episode, order.now)
        answer = Answer(True, answer.sent_to, answer.error, quiet_until)
    return answer, episode


def _works_again(order: Order, connection: Connection, episode: Episode) -> tuple[Answer, Episode]:
    answer = Answer(True)
    if episode.reported_at is not None:
        answer = _send(order, connection, since=episode.failing_since)
    return answer, throttle.recovered(episode) if answer.done else episode


def _about_tenant(order: Order) -> Answer:
    """Outside of jobs: what has been reported, the supervisor knows."""
    notice = order.notice
    connection: Connection | None = None
    if notice.tenant is not None:
        # for the journal; mostly it is just this connection that does not work
        with contextlib.suppress(TaskServerError):
            connection = connect(
                notice.tenant.access, purpose=PURPOSE, connect_timeout=WITHOUT_DATABASE
            )
    try:
        answer = _send(order, connection, since=notice.since, again=notice.again)
        if connection is not None:
            connection.commit()
        return answer
    finally:
        if connection is not None:
            connection.close()


def _send(
    order: Order,
    connection: Connection | None,
    *,
    since: datetime | None,
    again: bool = False,
    failures: int = 1,
    data: str | None = None,
) -> Answer:
    """Compose and deliver; journal the first attempt and the last. Raises TaskServerError."""
    tenant = order.notice.tenant
    recipients = _recipients(order)
    mail = mail_for(order, recipients, since=since, again=again, failures=failures, data=data)
    delivery = delivery_settings(order.settings, tenant.user.email if tenant else "")
    message, outcome = send(delivery, mail, order.now, timeout=order.timeout)
    answer = _answer(outcome)
    if connection is not None and tenant is not None and (answer.done or order.first_attempt):
        entry = journal_entry(mail, message, outcome, login=tenant.user.login, now=order.now)
        _keep_journal(connection, entry)
    return answer


def _answer(outcome: Outcome) -> Answer:
    """Nothing remains to be done if somebody has it, or may have it, or it is refused for good."""
    return Answer(
        done=bool(outcome.accepted) or not outcome.retry,
        sent_to=", ".join(outcome.accepted),
        error="" if outcome.sent else outcome.answer,
    )


def _keep_journal(connection: Connection, entry: email_journal.JournalEntry) -> None:
    """A journal that cannot be written is no reason to send the mail again."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SAVEPOINT journal")
        email_journal.record(connection, entry)
    except psycopg2.Error as error:
        log.warning(
            "the mail journal cannot be written: %s",
            one_line(error),
            extra=fields("notification_journal", database=connection.info.dbname),
        )
        with contextlib.suppress(psycopg2.Error), connection.cursor() as cursor:
            cursor.execute("ROLLBACK TO SAVEPOINT journal")


def _recipients(order: Order) -> str:
    """Addresses; a text without @ is a login, whose address is taken (g.1)."""
    who = order.settings.notify_on_failure.send_email_to
    if "@" in who:
        return who
    tenant = order.notice.tenant
    if tenant is not None and tenant.user.login == who and "@" in tenant.user.email:
        return tenant.user.email
    connection = connect(order.settings.auth_database, purpose=PURPOSE)
    with contextlib.closing(connection):
        address = emails_of(connection, [who]).get(who, "")
    if "@" not in address:
        raise TaskServerError(
            f"the login {who!r} does not exist or has no e-mail address",
            where=f"{order.settings.config_file}: [task_server/notify_on_failure] send_email_to",
            remedy="name an address, or a login that has one",
        )
    return address


if __name__ == "__main__":
    sys.exit(main())
