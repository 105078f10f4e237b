"""Our own templates: the folder ``templates`` of the package, in a checkout beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

import kivitendo_task_server


def templates_directory() -> Path:
    """Where the templates lie: beside the package's modules, in a checkout beside the package."""
    package = Path(kivitendo_task_server.__file__).parent
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


def render(name: str, **values: Any) -> str:
    """The template ``name`` (such as ``mail/works_again.txt.j2``) with ``values``.

    A value that a template uses must be given. In templates ending with ``.html.j2`` values are
    escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_directory()),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values)
