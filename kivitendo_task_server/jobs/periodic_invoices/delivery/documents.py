"""Where an invoice's PDF is kept: names, document storage, the WebDAV copy (8.3 to 8.5)."""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kivitendo_task_server.database.connection import Connection
from kivitendo_task_server.database.schema import existing_columns
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.behaviour import Behaviour
from kivitendo_task_server.jobs.periodic_invoices.delivery.invoice import Invoice, Row

WORDS = {"de": "Rechnung", "en": "Invoice"}
_ENGLISH = ("en", "uk", "us", "gr", "fr")  # languages whose documents are called "Invoice" (8.5)
_UMLAUTS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}
)


class StorageError(TaskServerError):
    """The document cannot be kept as the tenant's settings demand."""


def attachment_name(invoice: Invoice, countrycode: str) -> str:
    """``Rechnung 123.pdf``: in the invoice's language, if kivitendo has it, else the user's."""
    word = WORDS.get(invoice.language) or WORDS.get(countrycode, WORDS["de"])
    return f"{word} {invoice.number}.pdf"


def document_name(invoice: Invoice) -> str:
    """``Rechnung_123.pdf``: safe as the name of a file (8.5)."""
    word = WORDS["en" if invoice.language.startswith(_ENGLISH) else "de"]
    name = f"{word}_{invoice.number}.pdf".translate(_UMLAUTS)
    return re.sub(r"[\s/\\\0]+", "_", name)


@dataclass(frozen=True)
class DocumentStore:
    """Keeps the documents of one tenant."""

    connection: Connection
    defaults: Row
    kivitendo_dir: Path
    client_id: int | None
    document_path: str
    """``[paths] document_path``."""
    behaviour: Behaviour

    def keep(
        self, invoice: Invoice, content: bytes, now: datetime, *, print_variant: str | None
    ) -> None:
        """Store the PDF wherever the tenant's settings say; a copy that exists is not repeated.

        ``now`` is local time; ``print_variant`` is None for what is mailed. The first releases with
        these settings do not yet heed them here (1.10). Raises StorageError or OSError; commits its
        rows.
        """
        copied = print_variant is not None or self.behaviour.webdav_copies_of_mailed
        if copied and self.defaults.get("webdav_documents"):
            self._copy_to_webdav(invoice, content, now)
        if self.behaviour.document_storage and self.defaults.get("doc_storage"):
            self._store(invoice, content, print_variant)

    # -- WebDAV (8.4) --------------------------------------------------------------------------

    def _copy_to_webdav(self, invoice: Invoice, content: bytes, now: datetime) -> None:
        number = re.sub(r"[/\\\0]", "_", invoice.number)
        if number in ("", ".", ".."):
            number = "_"  # a folder of its own, never its parents
        folder = self.kivitendo_dir / "webdav" / str(self.client_id) / "rechnungen" / number
        folder.mkdir(parents=True, exist_ok=True)
        present = [path for path in folder.iterdir() if path.is_file()]
        if present:
            newest = max(present, key=lambda path: (path.stat().st_mtime, path.name))
            if newest.stat().st_size == len(content):
                return
        stem = document_name(invoice).removesuffix(".pdf")
        _write(folder / f"{stem}_{now:%Y%m%d_%H%M%S}.pdf", content)

    # -- document storage (8.5) ----------------------------------------------------------------

    def _store(self, invoice: Invoice, content: bytes, print_variant: str | None) -> None:
        columns = existing_columns(self.connection, ("files", "file_versions"))
        backend = self.defaults.get("doc_storage_for_documents") or "Filesystem"
        if backend != "Filesystem" or not columns["file_versions"]:
            raise StorageError(
                "the document storage of this client cannot be written by this program:"
                + (
                    f" it is of the kind {backend}"
                    if backend != "Filesystem"
                    else " kivitendo before 3.9.1 keeps it in another way"
                ),
                remedy="choose the file system as the storage for documents, switch the storage"
                " off, or set [task_server/runners] CreatePeriodicInvoices = perl",
            )
        if not self.document_path:
            raise StorageError(
                "the document storage is on, but has no folder",
                where="[paths] document_path",
                remedy="set it in kivitendo.conf",
            )
        name = document_name(invoice)
        with self.connection, self.connection.cursor() as cursor:
            # two processes must not give the same version
            cursor.execute("SELECT id FROM ar WHERE id = %s FOR NO KEY UPDATE", (invoice.id,))
            file_id, version, location = self._latest(cursor, invoice.id, name)
            if location is not None and _size(self._absolute(location)) == len(content):
                return
            if file_id is None:
                file_id = _insert_file(
                    cursor, columns["files"], invoice.id, name, backend, print_variant
                )
            version += 1
            location = f"/{self.client_id}/{file_id % 1000:04d}/{file_id}/{file_id}_{version}"
            cursor.execute(
                "INSERT INTO file_versions (guid, file_id, version, file_location, doc_path,"
                "                           backend) VALUES (%s, %s, %s, %s, %s, %s)",
                (str(uuid.uuid4()), file_id, version, location, self.document_path, backend),
            )
            target = self._absolute(location)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, content)

    def _absolute(self, location: str) -> Path:
        return self.kivitendo_dir / self.document_path / location.lstrip("/")

    def _latest(self, cursor: Any, ar_id: int, name: str) -> tuple[int | None, int, str | None]:
        cursor.execute(
            "SELECT files.id, coalesce(version.version, 0), version.file_location"
            "  FROM files LEFT JOIN file_versions version ON version.file_id = files.id"
            " WHERE files.object_id = %s AND files.object_type = 'invoice'"
            "   AND files.file_type = 'document' AND files.source = 'created'"
            "   AND files.file_name = %s"
            " ORDER BY files.id, version.version DESC NULLS LAST LIMIT 1",
            (ar_id, name),
        )
        row = cursor.fetchone()
        return (None, 0, None) if row is None else (row[0], row[1], row[2])


def _insert_file(
    cursor: Any,
    columns: frozenset[str],
    ar_id: int,
    name: str,
    backend: str,
    print_variant: str | None,
) -> int:
    values: dict[str, Any] = {
        "object_id": ar_id,
        "object_type": "invoice",
        "file_type": "document",
        "source": "created",
        "mime_type": "application/pdf",
        "file_name": name,
        "backend": backend,
    }
    if "print_variant" in columns:
        values["print_variant"] = print_variant
    names = ", ".join(values)
    marks = ", ".join(["%s"] * len(values))
    cursor.execute(
        f"INSERT INTO files ({names}, mtime) VALUES ({marks}, now()) RETURNING id",  # noqa: S608
        list(values.values()),
    )
    return int(cursor.fetchone()[0])


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _write(target: Path, content: bytes) -> None:
    """Write a file in one step, with the permissions any new file would get here."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
