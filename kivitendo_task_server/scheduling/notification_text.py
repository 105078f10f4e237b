"""What a notification says (task-server.md, g)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from kivitendo_task_server import template_toolkit, templating
from kivitendo_task_server.config.settings import FailureNotification
from kivitendo_task_server.database.tenants import Tenant
from kivitendo_task_server.jobs.periodic_invoices.date_format import in_user_format
from kivitendo_task_server.log import fields, logger
from kivitendo_task_server.mail import Mail
from kivitendo_task_server.scheduling.notice import Notice, Order

log = logger(__name__)

OWN_FAILURE = "mail/failure_notification.txt.j2"
OWN_RECOVERY = "mail/works_again.txt.j2"


def mail_for(
    order: Order,
    recipients: str,
    *,
    since: datetime | None,
    again: bool = False,
    failures: int = 1,
    data: str | None = None,
) -> Mail:
    """The mail that tells ``order``'s notice.

    ``since`` when it has been failing, ``failures`` how often in a row, ``again`` whether it was
    told already; ``data`` is the job's data column. kivitendo's own template is used for
    failures if there is one; should it not work, ours tells it.
    """
    own = FailureNotification()
    settings = order.settings.notify_on_failure
    notice = order.notice
    values = _own_values(order, since, again, failures)
    kind: Literal["text/plain", "text/html"] = "text/plain"
    if notice.failure:
        subject = settings.email_subject or own.email_subject
        body = _by_kivitendos_template(order, data)
        if body is None:
            body = templating.render(OWN_FAILURE, **values)
        elif settings.email_template.endswith(".html"):
            kind = "text/html"
    else:
        subject = "kivitendo Task-Server: " + _what_works(notice)
        body = templating.render(OWN_RECOVERY, **values)
    return Mail(
        sender=settings.email_from or own.email_from,
        to=recipients,
        subject=subject,
        body=body,
        content_type=kind,
        headers={"Auto-Submitted": "auto-generated"},
    )


def _by_kivitendos_template(order: Order, data: str | None) -> str | None:
    """The body by the configured template; None if there is none that works."""
    template = order.settings.notify_on_failure.email_template
    if not template:
        return None
    path = order.kivitendo_dir / template
    try:
        return template_toolkit.render_file(path, _kivitendos_variables(order.notice, data))
    except template_toolkit.TemplateError as error:
        log.warning(
            "[task_server/notify_on_failure] email_template: %s; the mail has our own text",
            error,
            extra=fields("notification_template"),
        )
        return None


def _kivitendos_variables(notice: Notice, data: str | None) -> dict[str, Any]:
    """The variables of kivitendo's template (g.3)."""
    tenant, run = notice.tenant, notice.run
    client: dict[str, Any] = {}
    if tenant is not None:
        access = tenant.access
        client = {
            "id": tenant.id,
            "name": tenant.name,
            "dbhost": access.host,
            "dbport": access.port,
            "dbname": access.name,
            "dbuser": access.user,
        }
    if run is None:
        return {"client": client, "exception": notice.error}
    history = {
        "package_name": run.package_name,
        "description": run.description,
        "run_at": run.run_at.isoformat(" ", "seconds"),
        "run_at_as_timestamp": _in_words(run.run_at, tenant),
        "status": "failure",
        "error_col": run.error,
        "error": run.error,
        "data": data,
    }
    return {"client": client, "history": history}


def _own_values(order: Order, since: datetime | None, again: bool, failures: int) -> dict[str, Any]:
    """The variables of our templates."""
    notice = order.notice
    tenant, run = notice.tenant, notice.run
    job = run and {
        "package_name": run.package_name,
        "description": run.description,
        "run_at": _in_words(run.run_at, tenant),
        "failures": failures,
    }
    local_since = (since or notice.at).astimezone(notice.at.tzinfo)
    return {
        "client": tenant.name if tenant else "",
        "job": job,
        "error": ((run.error if run else notice.error) or "").strip(),
        "again": again,
        "since": _in_words(local_since, tenant),
        "node": order.settings.task_server.node_id,
    }


def _what_works(notice: Notice) -> str:
    if notice.run is not None:
        return f"Hintergrundjob {notice.run.package_name} läuft wieder"
    if notice.tenant is not None:
        return f"Mandant {notice.tenant.name} wird wieder bedient"
    return "arbeitet wieder"


def _in_words(moment: datetime, tenant: Tenant | None) -> str:
    """A time in the date format of the tenant's user, without seconds."""
    day = in_user_format(moment, tenant.user.dateformat if tenant else "")
    return f"{day} {moment:%H:%M}"
