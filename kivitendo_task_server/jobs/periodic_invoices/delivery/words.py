"""What users read of a delivery, in the task server user's language."""

from __future__ import annotations

from typing import Literal

Language = Literal["de", "en"]

_MAIL_FAILED = {
    "de": "E-Mail-Versand von wiederkehrender Rechnung {number} schlug fehl: {reason}",
    "en": "Sending recurring invoice {number} by e-mail failed: {reason}",
}
_PRINT_FAILED = {
    "de": "Ausdruck von wiederkehrender Rechnung {number} schlug fehl: {reason}",
    "en": "Printing recurring invoice {number} failed: {reason}",
}


def mail_failed(language: Language, number: str, reason: str) -> str:
    """The line of the job's error text for a mail that was not sent (8.3)."""
    return _MAIL_FAILED[language].format(number=number, reason=reason)


def print_failed(language: Language, number: str, reason: str) -> str:
    """The line of the job's error text for an invoice that was not printed (8.1)."""
    return _PRINT_FAILED[language].format(number=number, reason=reason)
