"""docs/weaknesses.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
TABLE = TESTS.parent / "docs/weaknesses.md"


WEAKNESSES = 37
"""So many has the specification's list (section i)."""


def test_every_weakness_is_answered_by_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| [^|]+ \| ([^|]+) \|$", TABLE.read_text(), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, WEAKNESSES + 1))
    for number, tests in rows:
        assert re.search(r"`\w+/\w+[\w/]*\.py(::test_\w+)?`", tests), number


def test_every_named_test_exists() -> None:
    named = 0
    file = ""
    for name in re.findall(r"`([^`\s]*(?:\.py|::test_)[^`\s]*)`", TABLE.read_text()):
        path, _, function = name.partition("::")
        file = path or file  # `::test_x` is in the file named before
        source = (TESTS / file).read_text()
        assert not function or f"def {function.partition('[')[0]}(" in source, name
        named += 1
    assert named > 20
