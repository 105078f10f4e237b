"""Lists of mail addresses as people type them (task-server.md, g.4)."""

from __future__ import annotations

import re
from email.headerregistry import Address

from kivitendo_task_server.errors import TaskServerError

SURPLUS_PER_ADDRESS = 3  # characters that are no part of an address, such as commas and blanks
_WORD = r"[^\s<>()\[\]\\,;:@\"\x00-\x1f\x7f]+"
_ADDRESS = re.compile(
    r"(?:(?P<name>\"(?:[^\"\\]|\\.)*\"|[^<>,;\"@]*?)\s*<\s*"
    rf"(?P<local>{_WORD})@(?P<domain>{_WORD})\s*>|"
    rf"(?P<bare_local>{_WORD})@(?P<bare_domain>{_WORD}))"
)


class AddressError(TaskServerError):
    """A text that should be a list of mail addresses and is not."""


def parse_addresses(text: str, *, where: str | None = None) -> list[Address]:
    """The addresses in ``text``, with or without display names, between commas or blanks.

    Domains outside ASCII become their IDNA form. Raises AddressError if there is no address, or
    more besides them than separators; ``where`` names the place in the message.
    """
    found = list(_ADDRESS.finditer(text))
    surplus = len(_ADDRESS.sub("", text))
    if not found or surplus > SURPLUS_PER_ADDRESS * len(found):
        raise AddressError(
            f'"{text}" seems to be a faulty list of email addresses',
            where=where,
            remedy="write name@example.com or Name <name@example.com>, several with commas",
        )
    return [_address(match, where) for match in found]


def addresses_or_none(text: str) -> list[Address]:
    """Like :func:`parse_addresses`, but a text of white space only is an empty list."""
    return parse_addresses(text) if text.strip() else []


def _address(match: re.Match[str], where: str | None) -> Address:
    name = (match["name"] or "").strip()
    if name.startswith('"'):
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    domain = match["domain"] or match["bare_domain"]
    try:
        ascii_domain = domain if domain.isascii() else domain.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise AddressError(
            f"{domain!r} is not a domain", where=where, remedy="correct the address"
        ) from error
    return Address(
        " ".join(name.split()),
        username=match["local"] or match["bare_local"],
        domain=ascii_domain,
    )
