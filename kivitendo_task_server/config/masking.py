"""Which settings are secret, and how they are shown instead."""

from __future__ import annotations

import re

MASK = "********"

_SECRET_NAME = re.compile(
    r"passw|passphrase|secret|master_?key|api_?(key|id)|token|credential|private_?key",
    re.IGNORECASE,
)
_PASSWORD_IN_URL = re.compile(r"(//[^\s/:]*:)[^\s/]+@")
"""Without the scheme: "url https://…" has lost it to the key. User and password may contain @."""


def is_secret(section: str, key: str) -> bool:
    """Whether a key of this section holds something that must never be shown.

    Also one of nothing but blanks: it is what a value became whose continuation is separated from
    it, which may be half of a password.
    """
    return section == "secrets" or not key.strip() or _SECRET_NAME.search(key) is not None


def shown(section: str, key: str, value: str) -> str:
    """The value as it may be shown, on one line: secrets masked, also the password in a URL."""
    if value and is_secret(section, key):
        return MASK
    return printable(_PASSWORD_IN_URL.sub(rf"\1{MASK}@", value))


def shown_key(key: str) -> str:
    """The key as it may be shown: of "password ab" (from "password ab=c") only the first word."""
    words = key.split(maxsplit=1)
    is_half_a_secret = len(words) > 1 and _SECRET_NAME.search(key)
    return f"{printable(words[0])} {MASK}" if is_half_a_secret else printable(key)


def printable(text: str) -> str:
    """The text on one line, without what a terminal or a log would take for more than text."""
    return text if text.isprintable() else repr(text)[1:-1]
