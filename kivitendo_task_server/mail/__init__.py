"""Mails: what they are made of, and how they leave (task-server.md, a.5 and g.4).

``compose`` makes the message, ``deliver`` hands it to the SMTP server or the sendmail program of
the configuration and tells what became of each recipient. ``send`` does both.
"""

from kivitendo_task_server.mail.addresses import AddressError, parse_addresses
from kivitendo_task_server.mail.delivery import deliver, delivery_settings, send
from kivitendo_task_server.mail.message import Attachment, Mail, compose, header_lines
from kivitendo_task_server.mail.outcome import Outcome, Refusal

__all__ = [
    "AddressError",
    "Attachment",
    "Mail",
    "Outcome",
    "Refusal",
    "compose",
    "deliver",
    "delivery_settings",
    "header_lines",
    "parse_addresses",
    "send",
]
