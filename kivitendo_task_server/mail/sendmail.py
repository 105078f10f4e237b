"""Delivery by a sendmail program (task-server.md, a.5, ``[mail_delivery] sendmail``).

The command is a template: ``<%if myconfig_email%> -f <%myconfig_email%><%end%>``. kivitendo puts
the address of the user there, so that bounces reach whoever that is; here it is the address of
the sender, the same as with SMTP. The words are split here: no shell takes part.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from email.message import EmailMessage

from kivitendo_task_server.config.settings import MailDelivery
from kivitendo_task_server.external_command import CommandError, feed, split_command
from kivitendo_task_server.mail.message import serialised
from kivitendo_task_server.mail.outcome import Outcome, all_refused

# sysexits.h: bad data, no such user, no such host. All else may be better later.
_PERMANENT_EXIT_CODES = frozenset({65, 67, 68})
_SAFE_ADDRESS = re.compile(r"[\w.\-+=@]+\Z", re.ASCII)
_CONDITION = re.compile(r"<%\s*if\s+myconfig_email\s*%>(.*?)<%\s*end\s*%>", re.DOTALL)
_VARIABLE = re.compile(r"<%\s*myconfig_email\s*%>")


def send_by_sendmail(
    settings: MailDelivery,
    message: EmailMessage,
    sender: str,
    recipients: Sequence[str],
    timeout: float,
    before_handover: Callable[[], None] = lambda: None,
) -> Outcome:
    """Give the message to the program, which reads the recipients from it (``-t``).

    ``timeout`` in seconds; then the program is killed. Never raises for what the program does.
    """
    try:
        command = expand_command(settings.sendmail, sender)
        before_handover()
        code, words, read_all = feed(command, serialised(message, with_bcc=True), timeout)
    except CommandError as error:
        text = f"[mail_delivery] sendmail = {settings.sendmail!r}: {error}"
        return all_refused(recipients, text, permanent=False)
    except subprocess.TimeoutExpired:
        text = f"{command[0]} did not end within {timeout:.0f} s and was stopped"
        # it may have handed the mail on before it hung
        return all_refused(recipients, text, permanent=False, uncertain=True)
    except OSError as error:
        return all_refused(recipients, f"{command[0]}: {error.strerror}", permanent=False)
    if code == 0 and read_all:
        return Outcome(tuple(recipients), (), words or f"accepted by {command[0]}")
    if code == 0:
        reason = "ended without reading the whole mail"
    elif code < 0:
        reason = f"was ended by {signal.Signals(-code).name}"
    else:
        reason = f"ended with exit code {code}"
    text = f"{command[0]} {reason}" + (f": {words}" if words else "")
    return all_refused(recipients, text, permanent=code in _PERMANENT_EXIT_CODES)


def expand_command(template: str, address: str) -> list[str]:
    """The words of the command. An address with characters that kivitendo removes is left out."""
    safe = address if _SAFE_ADDRESS.match(address) else ""
    text = _CONDITION.sub(lambda match: match[1] if safe else "", template)
    text = _VARIABLE.sub(safe, text)
    if "<%" in text:
        raise CommandError("only myconfig_email can be used between <% and %>")
    return split_command(text)
