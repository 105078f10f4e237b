"""A task server for kivitendo ERP: runs the background jobs of every tenant."""

__version__ = "0.9.0"
