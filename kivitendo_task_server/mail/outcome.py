"""What became of a mail."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """A recipient that the mail was not accepted for."""

    recipient: str
    text: str
    """The server's answer, or our own explanation."""
    permanent: bool
    """Whether trying again is useless: the server said no, not "not now"."""


@dataclass(frozen=True)
class Outcome:
    """The result of one attempt to deliver one mail."""

    accepted: tuple[str, ...]
    refused: tuple[Refusal, ...]
    answer: str
    """The server's answer or the error, on one line; kivitendo's extended_status."""
    uncertain: bool = False
    """The connection broke after all was sent and before the answer: the mail may have arrived
    at the recipients in ``refused``, so trying again may deliver it twice."""

    @property
    def sent(self) -> bool:
        """Whether the mail was accepted for every recipient."""
        return bool(self.accepted) and not self.refused

    @property
    def retry(self) -> tuple[str, ...]:
        """The recipients for whom another attempt makes sense and cannot deliver twice."""
        if self.uncertain:
            return ()
        return tuple(refusal.recipient for refusal in self.refused if not refusal.permanent)


def all_refused(
    recipients: Iterable[str], text: str, *, permanent: bool, uncertain: bool = False
) -> Outcome:
    """The outcome of an attempt that failed for everyone for one reason."""
    answer = " ".join(text.split())
    refused = tuple(Refusal(recipient, answer, permanent) for recipient in recipients)
    return Outcome((), refused, answer, uncertain)
