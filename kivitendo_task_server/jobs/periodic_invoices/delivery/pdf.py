"""The invoice as a PDF file, made by kivitendo's own templates through the Perl bridge (8.1, 8.3).

Which template is ours to say; the driver only lets kivitendo render it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Protocol

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs import perl_bridge
from kivitendo_task_server.jobs.interface import JobContext
from kivitendo_task_server.jobs.periodic_invoices.delivery.invoice import Invoice, Row

TIME_LIMIT = 180  # seconds for one invoice: LaTeX runs several times


class Renderer(Protocol):
    """Makes the PDF of an invoice. A test's stand-in implements it too."""

    def for_mail(self, invoice: Invoice) -> bytes:
        """The file that goes with a mail. Raises JobFailed."""

    def for_printer(self, invoice: Invoice) -> bytes:
        """The file for the configuration's printer. Raises JobFailed."""


class PerlRenderer:
    """Renders by kivitendo's Perl, one process for each file."""

    def __init__(self, context: JobContext, defaults: Row) -> None:
        self._context = context
        templates = Path(str(defaults.get("templates") or "templates/print/Standard"))
        self._templates = context.kivitendo_dir / templates
        self._unusable: JobFailed | None = None

    def for_mail(self, invoice: Invoice) -> bytes:
        """With the first template of the invoice's language, of all, ``default`` (8.3)."""
        names = [f"invoice_{invoice.language}.tex"] if invoice.language else []
        names += ["invoice.tex", "default.tex"]
        for name in names:
            if (self._templates / name).is_file():
                return self._render(invoice, name)
        raise JobFailed(
            f"there is no template {', '.join(names)}",
            where=str(self._templates),
            remedy="choose a set of print templates in the client's configuration",
        )

    def for_printer(self, invoice: Invoice) -> bytes:
        """With the template of language and printer and no other (8.1)."""
        assert invoice.printer is not None
        parts = ["invoice", invoice.language, invoice.printer.template_code]
        name = "_".join(part for part in parts if part) + ".tex"
        if not (self._templates / name).is_file():
            raise JobFailed(f"there is no template {name}", where=str(self._templates))
        return self._render(invoice, name)

    def _render(self, invoice: Invoice, template: str) -> bytes:
        if "/" in template or "\0" in template:
            raise JobFailed(f"{template!r} is not the name of a template")
        if self._unusable is not None:
            raise self._unusable  # all the others would fail the same way, two seconds each
        with tempfile.TemporaryDirectory(prefix="kivitendo-task-server-") as folder:
            file = Path(folder, "invoice.pdf")
            try:
                perl_bridge.call(
                    self._context,
                    {
                        "command": "render",
                        "invoice_id": invoice.id,
                        "template": template,
                        "file": os.fspath(file),
                    },
                    time_limit=TIME_LIMIT,
                )
                content = file.read_bytes()
            except perl_bridge.BridgeUnusable as error:
                self._unusable = error
                raise
            except FileNotFoundError as error:
                raise JobFailed("kivitendo made no file, and gave no reason") from error
        if not content.startswith(b"%PDF-"):
            raise JobFailed("what kivitendo made is no PDF file", remedy="see the template's log")
        return content
