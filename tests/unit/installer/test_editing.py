"""Single keys of a configuration file changed, all else kept; the grammar has the last word."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kivitendo_task_server.config.grammar import parse
from kivitendo_task_server.errors import ConfigurationError
from kivitendo_task_server.installer.editing import changed

FILE = Path("kivitendo.conf")

TEXT = """\
# kivitendo
[authentication]
admin_password = x # stays

[task_server] # ours
# the user
login = admin
  client : Old GmbH
 : continued
debug = 0
[other]
login = untouched
"""


def test_values_are_replaced_in_place_and_comments_kept() -> None:
    result = changed(TEXT.encode(), {"task_server": {"login": "", "client": "Müller & Co"}}, FILE)
    assert result.decode() == TEXT.replace("login = admin", "login =").replace(
        "  client : Old GmbH\n : continued\n", "  client : Müller & Co\n"
    )


def test_a_missing_key_goes_below_its_header() -> None:
    result = changed(TEXT.encode(), {"task_server": {"node_id": "a"}}, FILE)
    assert "[task_server] # ours\nnode_id = a\n# the user\n" in result.decode()


def test_a_missing_section_goes_to_the_end() -> None:
    result = changed(b"[a]\nb = 1\n", {"task_server": {"login": "x"}}, FILE)
    assert result == b"[a]\nb = 1\n\n[task_server]\nlogin = x\n"


def test_repeated_keys_become_one() -> None:
    text = b"[task_server]\nlogin = a\nlogin = b\n[x]\n[task_server]\nlogin = c\n"
    result = changed(text, {"task_server": {"login": "d"}}, FILE)
    assert result == b"[task_server]\n[x]\n[task_server]\nlogin = d\n"


def test_bytes_that_are_not_utf_8_stay() -> None:
    text = b"[x]\nname = M\xfcller\n[task_server]\n"
    assert b"M\xfcller" in changed(text, {"task_server": {"login": "a"}}, FILE)


@pytest.mark.parametrize("value", ["two\nlines", " blank in front", "a\n[b]\nc = d"])
def test_a_value_that_would_read_otherwise_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        changed(TEXT.encode(), {"task_server": {"client": value}}, FILE)


LINES = st.sampled_from(
    ["[task_server]", "[a]", "login = 1", "login: 2", " = more", "=3", "# c", "", "client=x",
     "  : more", "[task_server] ; c", "debug = 0"]
)  # fmt: skip


@example(["[task_server]", "debug = 0", "login: 2", " = more", "login = 1"], "")
@given(st.lists(LINES, max_size=12), st.sampled_from(["", "new", "a = b"]))
def test_any_file_then_has_the_new_value_and_otherwise_the_old_ones(
    lines: list[str], value: str
) -> None:
    content = "\n".join(lines).encode()
    try:
        wanted = parse(content, FILE).plain()
    except ConfigurationError:
        return
    wanted.setdefault("task_server", {})["login"] = value
    result = changed(content, {"task_server": {"login": value}}, FILE)
    assert parse(result, FILE).plain() == wanted
