"""Where the project's own templates lie."""

from __future__ import annotations

from pathlib import Path


def templates_directory() -> Path:
    """Beside the package's modules where it is installed, in a checkout beside the package."""
    package = Path(__file__).resolve().parent
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"
