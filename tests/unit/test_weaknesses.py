"""docs/weaknesses.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
TABLE = TESTS.parent / "docs/weaknesses.md"


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
