"""Rendering a template with data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kivitendo_task_server.template_toolkit.errors import TemplateError
from kivitendo_task_server.template_toolkit.runtime import EvaluationError, Runtime
from kivitendo_task_server.template_toolkit.translation import (
    BLOCK,
    COMMENT,
    VARIABLE,
    translate,
)

LARGEST_FILE = 1_000_000  # bytes; a mail's template has a few thousand


def render_file(path: Path, variables: Mapping[str, Any]) -> str:
    """Render the file ``path`` (UTF-8). Raises TemplateError, also if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise TemplateError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TemplateError("is not UTF-8", where=f"{path}:{line}") from error
    if len(data) > LARGEST_FILE:
        raise TemplateError(f"is larger than {LARGEST_FILE} bytes", where=str(path))
    return render(text, variables, name=str(path))


def render(template: str, variables: Mapping[str, Any], *, name: str = "template") -> str:
    """Render ``template``; ``name`` stands in messages.

    Raises TemplateError with ``name`` and the line for everything that is wrong with it.
    """
    environment = ImmutableSandboxedEnvironment(
        block_start_string=BLOCK[0],
        block_end_string=BLOCK[1],
        variable_start_string=VARIABLE[0],
        variable_end_string=VARIABLE[1],
        comment_start_string=COMMENT[0],
        comment_end_string=COMMENT[1],
        keep_trailing_newline=True,
        autoescape=False,  # as kivitendo renders mails (g.3); templates name their filters
        extensions=["jinja2.ext.loopcontrols"],
    )
    environment.globals.clear()
    try:
        translated = translate(template, name)
        return environment.from_string(translated).render(Runtime(variables).functions())
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(str(error.message), where=f"{name}:{error.lineno}") from error
    except (jinja2.TemplateError, EvaluationError, ArithmeticError) as error:
        raise TemplateError(str(error), where=f"{name}:{_line(error)}") from error
    except (RecursionError, SyntaxError) as error:
        # Python, which Jinja2 translates to, allows twenty loops in each other
        raise TemplateError("nested too deeply", where=name) from error


def _line(error: Exception) -> int:
    """The template's line in the error's trace, which Jinja2 puts there."""
    trace, line = error.__traceback__, 1
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
