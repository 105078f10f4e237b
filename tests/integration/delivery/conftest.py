"""The company whose invoices are delivered, and the stand-in of its kivitendo directory."""

from company import company, mailbox, served
from stand_in import kivitendo, kivitendo_databases

__all__ = ["company", "kivitendo", "kivitendo_databases", "mailbox", "served"]
