"""What is wrong with a template."""

from __future__ import annotations

from kivitendo_task_server.errors import TaskServerError


class TemplateError(TaskServerError):
    """A template that cannot be read, understood or rendered; ``where`` is file:line."""
