"""PDF files by a real Perl, where they are kept, printing, and the summary (8.1, 8.4 to 8.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from company import CUSTOMER, PDF, Company, FixedPdf, files_below
from mail_peer import Mailbox

from kivitendo_task_server.jobs import perl_bridge
from kivitendo_task_server.jobs.periodic_invoices.delivery.pdf import PerlRenderer

GERMAN, ENGLISH = 211, 212


def attachment(mailbox: Mailbox, number: int = 0) -> tuple[str, str]:
    [part] = mailbox.messages[number].iter_attachments()
    return part.get_filename() or "", part.get_content().decode()


def templates(company: Company) -> Path:
    return company.kivitendo.directory / "templates" / "print" / "Standard"


# ---- the file, by kivitendo's templates


def test_perl_renders_the_invoice(served: Company, mailbox: Mailbox) -> None:
    served.set("oe", notes="Grüße aus Köln")
    assert not served.run(PerlRenderer).failed
    name, text = attachment(mailbox)
    assert name == "Rechnung 1.pdf"
    assert text == "%PDF-1.4\nRechnung 1: 119.00000, Grüße aus Köln\n"


def test_the_template_is_the_languages(served: Company, mailbox: Mailbox) -> None:
    served.add_order(2, {"language_id": ENGLISH})
    served.add_order(3, {"language_id": GERMAN})
    assert not served.run(PerlRenderer).failed
    assert [attachment(mailbox, number) for number in (1, 2)] == [
        ("Invoice 2.pdf", "%PDF-1.4\nInvoice 2: 119.00000\n"),
        ("Rechnung 3.pdf", "%PDF-1.4\nRechnung 3: 119.00000, \n"),
    ]


def test_without_any_template(served: Company) -> None:
    served.set("defaults", templates="templates/print/Eigene")
    error = served.run(PerlRenderer).error or ""
    assert "templates/print/Eigene: there is no template invoice.tex, default.tex" in error


def test_a_broken_template_leaves_the_delivery_pending(served: Company, mailbox: Mailbox) -> None:
    served.add_order(2, {"language_id": ENGLISH})
    (templates(served) / "invoice_en.tex").write_text("\\broken")
    assert "LaTeX: ! Undefined control sequence" in (served.run(PerlRenderer).error or "")
    assert [row[:3] for row in served.deliveries()] == [
        ("1", CUSTOMER, "sent"),
        ("2", "", "pending"),
    ]
    (templates(served) / "invoice_en.tex").write_text("Invoice <%invnumber%>\n")
    assert not served.run(PerlRenderer).failed
    assert attachment(mailbox, 1) == ("Invoice 2.pdf", "%PDF-1.4\nInvoice 2\n")


def test_without_perl_all_stay_pending_with_the_reason(
    served: Company, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (2, 3):
        served.add_order(number)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        result = served.run(PerlRenderer)
    assert (result.error or "").count("there is no Perl on this machine") == 3
    assert served.rows("SELECT count(*) FROM ar") == [(3,)]
    assert [row[2] for row in served.deliveries()] == ["pending"] * 3
    assert all("install the package perl" in (reason or "") for reason in served.reasons())
    assert not served.run(PerlRenderer).failed
    assert len(mailbox.envelopes) == 3


def test_a_missing_module_is_looked_for_once(
    served: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.add_order(2)
    (served.kivitendo.directory / "SL" / "Helper" / "CreatePDF.pm").unlink()
    started = []
    supervise = perl_bridge.supervise
    monkeypatch.setattr(
        perl_bridge, "supervise", lambda *a, **k: started.append(1) or supervise(*a, **k)
    )
    assert (served.run(PerlRenderer).error or "").count("CreatePDF.pm") == 2
    assert started == [1]


# ---- WebDAV and document storage


def test_a_copy_for_webdav(served: Company) -> None:
    served.set("defaults", webdav_documents=True, invnumber="RE/26\\0")
    served.run()
    folder = served.kivitendo.directory / "webdav"
    assert files_below(folder) == {"7/rechnungen/RE_26_1/Rechnung_RE_26_1_20260315_120000.pdf": PDF}


def test_the_same_copy_is_not_made_twice(served: Company) -> None:
    served.set("defaults", webdav_documents=True)
    served.run()
    for size, files in ((len(PDF), 1), (len(PDF) + 1, 2)):
        served.moment += timedelta(hours=1)
        served.execute("UPDATE kivitendo_task_server.deliveries SET state = 'pending'")
        served.run(lambda *_: FixedPdf(PDF.ljust(size)))  # noqa: B023
        assert len(files_below(served.kivitendo.directory / "webdav")) == files


@pytest.mark.parametrize("number", ["..", ".", "../../../x"])
def test_an_invoice_number_cannot_lead_elsewhere(served: Company, number: str) -> None:
    served.set("defaults", webdav_documents=True)
    served.run()
    served.execute("UPDATE kivitendo_task_server.deliveries SET state = 'pending'")
    served.set("ar", invnumber=number)
    before = set(files_below(served.kivitendo.directory.parent))
    served.run()
    [made] = set(files_below(served.kivitendo.directory.parent)) - before
    assert made.startswith("kivitendo/webdav/7/rechnungen/")


@pytest.fixture
def storing(served: Company) -> Company:
    """With document storage in the file system."""
    served.set("defaults", doc_storage=True)
    documents = served.kivitendo.directory.parent / "documents"
    served.settings = replace(served.settings, document_path=str(documents))
    return served


def stored(company: Company) -> dict[str, bytes]:
    return files_below(Path(company.settings.document_path))


def test_the_document_storage(storing: Company) -> None:
    storing.set("defaults", invnumber="Ä 0")
    storing.run()
    [(file_id, *rest)] = storing.rows(
        "SELECT files.id, object_type::text, file_type, source, mime_type, file_name,"
        "       backend::text, print_variant, files.mtime IS NOT NULL, ar.invnumber"
        "  FROM files JOIN ar ON ar.id = object_id"
    )
    assert rest == [
        "invoice", "document", "created", "application/pdf", "Rechnung_Ae_1.pdf", "Filesystem",
        None, True, "Ä 1",
    ]  # fmt: skip
    place = f"7/{file_id % 1000:04d}/{file_id}/{file_id}_1"
    assert stored(storing) == {place: PDF}
    assert storing.rows("SELECT file_id, version, file_location, doc_path FROM file_versions") == [
        (file_id, 1, f"/{place}", storing.settings.document_path)
    ]


def test_versions_of_a_document(storing: Company) -> None:
    storing.run()
    for size, versions in ((len(PDF), [1]), (len(PDF) + 1, [1, 2])):
        storing.execute("UPDATE kivitendo_task_server.deliveries SET state = 'pending'")
        storing.run(lambda *_: FixedPdf(PDF.ljust(size)))  # noqa: B023
        rows = storing.rows("SELECT version FROM file_versions ORDER BY version")
        assert [row[0] for row in rows] == versions
        assert len(stored(storing)) == len(versions)
    assert storing.rows("SELECT count(*) FROM files") == [(1,)]


def test_the_document_is_there_although_the_mail_fails(storing: Company, mailbox: Mailbox) -> None:
    mailbox.failures = 1
    assert storing.run().failed
    assert list(stored(storing).values()) == [PDF]


def test_a_storage_that_cannot_be_written_keeps_the_mail_back(
    storing: Company, mailbox: Mailbox
) -> None:
    Path(storing.settings.document_path).write_text("a file where the folder should be")
    assert storing.run().failed
    assert mailbox.envelopes == []
    assert storing.rows("SELECT count(*) FROM files") == [(0,)]
    Path(storing.settings.document_path).unlink()
    assert not storing.run().failed
    assert len(mailbox.envelopes) == 1


def test_a_storage_of_another_kind_is_said_to_be(storing: Company) -> None:
    storing.set("defaults", doc_storage_for_documents="Webdav")
    assert "it is of the kind Webdav" in (storing.run().error or "")


@pytest.fixture
def without_versions(storing: Company) -> Iterator[Company]:
    """As before 3.9.1; the database itself is used again."""
    storing.execute("ALTER TABLE file_versions RENAME TO of_later_releases")
    yield storing
    storing.execute("ALTER TABLE of_later_releases RENAME TO file_versions")


@pytest.mark.parametrize(
    ("release", "copied", "failure"),
    [("3_5_5", False, ""), ("3_5_6", True, ""), ("3_5_7", True, "before 3.9.1")],
)
def test_documents_of_earlier_releases(
    without_versions: Company, mailbox: Mailbox, release: str, copied: bool, failure: str
) -> None:
    """Mailed invoices are copied since 3.5.6, and stored since 3.5.7, in a way we cannot (1.10)."""
    company = without_versions
    company.execute(
        "DELETE FROM schema_info; INSERT INTO schema_info (tag) VALUES (%s)", [f"release_{release}"]
    )
    company.set("defaults", webdav_documents=True)
    error = company.run().error or ""
    assert failure in error and bool(failure) == bool(error)
    assert len(mailbox.messages) == (0 if failure else 1)
    assert len(files_below(company.kivitendo.directory / "webdav")) == copied


# ---- printing


@pytest.fixture
def printing(company: Company, tmp_path: Path) -> Company:
    """One order to be printed by a program that keeps what it gets."""
    program = tmp_path / "print me"
    program.write_text(
        f'#!/bin/sh\nprintf "%s|" "$@" >> {tmp_path}/arguments\ncat >> {tmp_path}/paper\n'
        f"test ! -e {tmp_path}/jam || {{ echo paper jam; exit 3; }}\n"
    )
    program.chmod(0o755)
    company.insert(
        "printers", id=801, printer_description="Etiketten",
        printer_command=f'"{program}" -P "a b" --title=<%invnumber%>', template_code="etikett",
    )  # fmt: skip
    company.add_order(1, send_email=False, print=True, printer_id=801, copies=2)
    return company


def test_copies_go_to_the_printers_command(printing: Company, tmp_path: Path) -> None:
    result = printing.run(PerlRenderer)
    assert not result.failed and "1 invoices printed:\n1" in (result.text or "")
    assert (tmp_path / "paper").read_text() == "%PDF-1.4\nEtikett 1\n" * 2
    assert (tmp_path / "arguments").read_text() == "-P|a b|--title=1|" * 2
    assert printing.deliveries() == [("1", "", "sent", 1)]
    assert not printing.run(PerlRenderer).failed
    assert (tmp_path / "paper").read_text() == "%PDF-1.4\nEtikett 1\n" * 2


@pytest.mark.parametrize("copies", [None, 0, -1])
def test_there_is_one_copy_at_least(printing: Company, tmp_path: Path, copies: int | None) -> None:
    printing.set_configs(copies=copies)
    assert not printing.run(PerlRenderer).failed
    assert (tmp_path / "paper").read_text() == "%PDF-1.4\nEtikett 1\n"


def test_a_value_stays_one_word(printing: Company, tmp_path: Path) -> None:
    printing.set("defaults", invnumber=f'1"; touch {tmp_path}/owned; $(touch {tmp_path}/owned) 0')
    printing.run()
    assert not (tmp_path / "owned").exists()
    assert (tmp_path / "arguments").read_text().endswith(" 1|" * 1)


def test_a_command_that_needs_a_shell_is_refused(printing: Company) -> None:
    printing.set("printers", printer_command="cat | lpr")
    assert "there is no shell for pipes" in (printing.run().error or "")
    assert printing.deliveries() == [("1", "", "pending", 1)]


def test_a_jam_before_the_first_copy_is_repeated(printing: Company, tmp_path: Path) -> None:
    (tmp_path / "jam").touch()
    error = printing.run().error or ""
    assert error.startswith("Ausdruck von wiederkehrender Rechnung 1 schlug fehl: ")
    assert "ended with exit code 3: paper jam\n\n1 invoices posted:" in error
    assert printing.deliveries() == [("1", "", "pending", 1)]
    (tmp_path / "jam").unlink()
    assert not printing.run().failed


def test_a_jam_after_the_first_copy_is_not(printing: Company, tmp_path: Path) -> None:
    once = tmp_path / "once"
    once.write_text(f"#!/bin/sh\ncat > /dev/null\nmkdir {tmp_path}/printed\n")
    once.chmod(0o755)
    printing.set("printers", printer_command=str(once))
    assert "after 1 printed copies" in (printing.run().error or "")
    assert printing.deliveries() == [("1", "", "failed", 1)]


def test_a_command_that_hangs_may_have_printed(
    printing: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kivitendo_task_server.jobs.periodic_invoices.delivery.printing.TIMEOUT", 1)
    printing.set("printers", printer_command="sleep 600")
    assert "did not end within 1 s" in (printing.run().error or "")
    assert printing.deliveries() == [("1", "", "ambiguous", 1)]


@pytest.mark.parametrize("command", [None, "  "])
def test_no_printer_is_no_error(printing: Company, command: str | None) -> None:
    printing.set("printers", printer_command=command)
    assert not printing.run().failed
    assert printing.deliveries() == [("1", "", "dropped", 0)]


def test_a_printed_document_is_stored_as_such(printing: Company, tmp_path: Path) -> None:
    printing.set("defaults", doc_storage=True)
    printing.settings = replace(printing.settings, document_path=str(tmp_path / "documents"))
    printing.run()
    assert printing.rows("SELECT print_variant FROM files") == [("invoice",)]


# ---- the summary

SECTION = {"send_email_to": "chef@firma.example", "email_from": "dienst@firma.example"}


def test_the_summary_tells_everything(served: Company, mailbox: Mailbox) -> None:
    served.configure(**SECTION)
    served.add_order(2, {"customer_id": None})
    served.add_order(3, end_date="2026-03-10", extend_automatically_by=1, send_email=False)
    served.add_order(4, start_date="2025-01-01", end_date="2025-03-01")
    served.add_order(5, periodicity="o", email_recipient_address="refuse@a.example")
    served.run()
    [message] = [one for one in mailbox.messages if one["To"] == "chef@firma.example"]
    assert message["Subject"] == "Wiederkehrende Rechnungen"
    text = message.get_content().replace("\r\n", "\n")
    for line in (
        "die wiederkehrenden Rechnungen von Musterfirma wurden am 15.03.2026 bearbeitet.",
        "Erstellte Rechnungen (3):\n"
        "  * 1: Auftrag AB-1, Zeitraum ab 01.03.2026, netto 100,00, gesamt 119,00\n",
        "NICHT ERSTELLT: Aufträge mit Fehlern (1):\n  * Auftrag AB-2",
        "Per E-Mail verschickte Rechnungen (1):\n  * 1\n",
        "E-Mail-Fehler (1):\n  * 3: refuse@a.example: ",
        "Beendete einmalige Aufträge (1):\n  * AB-5\n",
        "Automatisch verlängert (1):\n  * Auftrag AB-3: vom 10.03.2026 bis zum 10.04.2026\n",
        "Abgelaufen und deaktiviert (1):\n  * Auftrag AB-4: Ende 01.03.2025, nie berechnet: ",
        "Warnungen (",
    ):
        assert line in text


def test_the_summary_of_failures_only(served: Company, mailbox: Mailbox) -> None:
    served.configure(**SECTION, send_for_errors_only=True)
    served.run()
    assert [message["To"] for message in mailbox.messages] == [CUSTOMER]
    served.add_order(2, {"customer_id": None})
    served.run()
    assert [message["To"] for message in mailbox.messages] == [CUSTOMER, "chef@firma.example"]


def test_the_summary_by_a_template_of_kivitendo(served: Company, mailbox: Mailbox) -> None:
    (served.kivitendo.directory / "summary.html").write_text(
        "[% FOREACH i = POSTED_INVOICES %]<p>[% i.invnumber %]: [% i.ordnumber %]</p>[% END %]"
        "[% FOREACH f = EMAILED_FAILED %]<b>[% f.0.invnumber %] [% f.1 %]</b>[% END %]"
    )
    served.set_configs(email_recipient_address="refuse@a.example")
    served.configure(**SECTION, email_template="summary.html", email_subject="Übersicht")
    served.run()
    [message] = mailbox.messages
    assert (message["Subject"], message.get_content_type()) == ("Übersicht", "text/html")
    assert message.get_content().startswith("<p>1: AB-1</p><b>1 refuse@a.example: ")


def test_an_unusable_template_gives_way_to_ours(served: Company, mailbox: Mailbox) -> None:
    served.configure(**SECTION, email_template="no/such/file.txt")
    served.run()
    assert "Erstellte Rechnungen (1)" in mailbox.messages[-1].get_content()


def test_a_login_as_the_summarys_recipient(served: Company, mailbox: Mailbox) -> None:
    served.configure(send_email_to="buchhaltung")
    served.run()
    assert mailbox.messages[-1]["To"] == served.tenant.user.email
    served.configure(send_email_to="nobody")
    served.add_order(2)
    assert "the user 'nobody' has no e-mail address" in (served.run().error or "")


def test_a_summary_that_cannot_be_sent_is_an_error(served: Company) -> None:
    served.configure(send_email_to="refuse@firma.example")
    error = served.run().error or ""
    assert "the summary could not be mailed to refuse@firma.example" in error
    assert ("refuse@firma.example", "send_failed") in served.journal()
