"""What a delivery run came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from kivitendo_task_server.jobs.periodic_invoices.delivery.words import (
    Language,
    mail_failed,
    print_failed,
)


@dataclass(slots=True)
class DeliveryReport:
    """The invoices by what became of them, each by its number, with the reason if it failed."""

    printed: list[str] = field(default_factory=list)
    emailed: list[str] = field(default_factory=list)
    """Invoices whose mails were accepted for all recipients."""
    print_failed: list[tuple[str, str]] = field(default_factory=list)
    email_failed: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What is wrong besides single invoices."""

    def errors(self, language: Language) -> list[str]:
        """The lines of the job's error text."""
        return [
            *self.problems,
            *(print_failed(language, *one) for one in self.print_failed),
            *(mail_failed(language, *one) for one in self.email_failed),
        ]

    def text(self) -> str:
        """The part of the job's result about deliveries; empty if there were none."""
        sections = (
            ("invoices printed", self.printed),
            ("invoices mailed", self.emailed),
            ("not printed", [": ".join(one) for one in self.print_failed]),
            ("not mailed", [": ".join(one) for one in self.email_failed]),
        )
        return "\n\n".join(
            "\n".join([f"{len(lines)} {title}:", *lines]) for title, lines in sections if lines
        )
