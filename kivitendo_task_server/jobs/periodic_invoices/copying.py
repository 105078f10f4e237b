"""Rows into tables by COPY, the fastest way there is (section 5)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor

# COPY's text format, with Python's own word for NULL: a row is made by str() alone, and whether
# anything in it has to be escaped is seen by one look at the line
_NULL = "None"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def copy_rows(
    cursor: Cursor, table: str, names: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Append rows to a table; the values are texts, numbers, dates, booleans or None.

    Raises psycopg2.Error. ``table`` and ``names`` are ours, never a user's.
    """
    copy_lines(cursor, table, names, lines_of(list(rows)))


def copy_lines(cursor: Cursor, table: str, names: Sequence[str], lines: Sequence[str]) -> None:
    """Append rows that :func:`lines_of` has made; lines of the same rows may be joined by tabs."""
    if lines:
        cursor.copy_expert(
            f"COPY {table} ({', '.join(names)}) FROM STDIN WITH (NULL '{_NULL}')",
            io.StringIO("\n".join(lines) + "\n"),
        )


def lines_of(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows of one length as lines of COPY's text format, without their ends."""
    lines = ["\t".join(map(str, row)) for row in rows]
    if lines and not _plain(
        "\n".join(lines),
        len(rows),
        len(rows) * len(rows[0]),
        sum(row.count(None) for row in rows),
    ):
        return [
            line if _plain(line, 1, len(row), row.count(None)) else _escaped(row)
            for line, row in zip(lines, rows, strict=True)
        ]
    return lines


def _plain(text: str, rows: int, values: int, nulls: int) -> bool:
    """Whether str() was enough: all that has a meaning for COPY in a text is what we put there."""
    return (
        "\\" not in text
        and "\r" not in text
        and text.count("\n") == rows - 1
        and text.count("\t") == values - rows
        and text.count(_NULL) == nulls
    )


def _escaped(row: Sequence[Any]) -> str:
    return "\t".join([_NULL if value is None else _escaped_text(str(value)) for value in row])


def _escaped_text(text: str) -> str:
    # NULL is recognised before a backslash is: that before an N stands for nothing else
    return f"\\{text}" if text == _NULL else text.translate(_ESCAPES)
