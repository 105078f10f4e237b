"""The data column of a job: reading it, and Perl's idea of truth.

The dialect itself is :mod:`kivitendo_task_server.jobs.yaml_dialect` (task-server.md, e.5).
"""

from __future__ import annotations

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.yaml_dialect import Value, read


def parse_data(text: str | None) -> dict[str, Value]:
    """The options in ``background_jobs.data``; NULL, empty and ``0`` mean none.

    Raises JobFailed if the text is not in the dialect, or is not a mapping at its top.
    """
    if text in (None, "", "0"):
        return {}
    assert text is not None
    options = read(text)
    if options is None:
        return {}
    if not isinstance(options, dict):
        kind = "a list" if isinstance(options, list) else "plain text"
        raise JobFailed(
            f"Not a HASH reference: the job's data is {kind}",
            remedy="write it as 'key: value' lines",
        )
    return options


def is_true(value: object) -> bool:
    """Perl's truth: undefined, empty text and ``0`` are false, all else (``no``!) is true."""
    return value is not None and value not in ("", "0")
