"""The dialect of kivitendo.conf against the vectors recorded from Config::Std, and fuzzed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kivitendo_task_server.config.grammar import parse
from kivitendo_task_server.errors import ConfigurationError

FILE = Path("kivitendo.conf")
VECTOR_FILE = Path(__file__).parents[1] / "vectors" / "config_vectors.json"
VECTORS: list[dict[str, Any]] = json.loads(VECTOR_FILE.read_text())["vectors"]


def content_of(vector: dict[str, Any]) -> bytes:
    if "input_hex" in vector:
        return bytes.fromhex(vector["input_hex"])
    text: str = vector["input"]
    return text.encode()


def test_all_vectors_are_there() -> None:
    assert len(VECTORS) == json.loads(VECTOR_FILE.read_text())["count"] == 106


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with pytest.raises(ConfigurationError):
            parse(content_of(vector), FILE)
    else:
        assert parse(content_of(vector), FILE).plain() == vector["result"]


def test_a_header_without_a_name() -> None:
    """Seen by running Config::Std."""
    assert parse(b"[]\n", FILE).plain() == {}
    assert parse(b"[a]\n[]\nk = v\n", FILE).plain() == {"a": {}, "": {"k": "v"}}


# Config::Std names no line, only (sometimes) the text near it; ours names every bad line.
@pytest.mark.parametrize(
    ("content", "line", "text"),
    [
        ("[a]\n[b] remark\n", 2, "'[b] remark'"),
        ("k = v\n[a]]\n", 2, "not closed"),
        ("[a\n", 1, "not closed"),
        ("[a]\n\n= x\n", 3, "does not continue a value"),
        ("[a]\nk = v\n\nword\n", 4, "'word'"),
        ("\ufeff[a]\n", 1, "byte order mark"),
    ],
)
def test_an_error_names_the_line(content: str, line: int, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(content.encode(), FILE)
    assert caught.value.where == f"kivitendo.conf:{line}"
    assert text in caught.value.what
    assert caught.value.remedy


def test_all_bad_lines_are_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(b"[a]\nfirst\nk = v\nsecond\n[third", FILE)
    assert [problem.where for problem in caught.value.problems] == [
        "kivitendo.conf:2",
        "kivitendo.conf:4",
        "kivitendo.conf:5",
    ]
    assert "kivitendo.conf:4" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_file_in_utf_16(encoding: str) -> None:
    """Windows calls it Unicode. Its passwords would not be recognised, so no line is repeated."""
    with pytest.raises(ConfigurationError) as caught:
        parse("[a]\nk = v\npassword geheim\n".encode(encoding), FILE)
    assert str(caught.value.problems[0]) == (
        "kivitendo.conf:1: this is not text in UTF-8 (save the file as UTF-8 without BOM)"
    )
    assert "g\\x00e" not in str(caught.value)


def test_a_file_of_another_kind_is_not_told_line_by_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(b"word\n" * 1000, FILE)
    *named, rest = caught.value.problems
    assert [error.where for error in named] == [f"kivitendo.conf:{n}" for n in range(1, 101)]
    assert str(rest) == (
        "kivitendo.conf: 900 more lines are not understood (is it a configuration file?)"
    )


@pytest.mark.parametrize(
    "content",
    [
        "[authentication/database]\npassword geheim\n",
        "[authentication/database]\npassword =\n# it is\ngeheim\n",
        "[secrets]\ngeheim\n",
    ],
)
def test_a_bad_line_that_may_hold_a_password_is_not_repeated(content: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(content.encode(), FILE)
    assert "geheim" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="Zeile"):
        parse(f"{content}[b]\nZeile\n".encode(), FILE)


def test_positions() -> None:
    parsed = parse(b"[a]\nk = 1\nk = one\n  = two\n# c\n[b]\nx = y\n[a]\nk = 3\nj = 4\n", FILE)
    assert parsed.header_lines == {"a": 1, "b": 6}
    k = parsed.sections["a"]["k"]
    assert (k.value, k.lines, k.replaced_lines, k.where) == ("3", (9,), (2, 3), "kivitendo.conf:9")
    assert parsed.sections["a"]["j"].lines == (10,)
    many = parse(b"[a]\nk = 1\n" * 100_000, FILE).sections["a"]["k"]  # not quadratic
    assert (many.values, many.lines, len(many.replaced_lines)) == (("1",), (200_000,), 99_999)


DIALECT = st.lists(
    st.sampled_from(
        ["[a]", "[", "]", "k", " ", "\t", "=", ":", "#", ";", "\n", "\r", "v", "\n = ", "\x00", "ü"]
    ),
    max_size=60,
).map("".join)


@given(st.one_of(st.binary(max_size=200), DIALECT.map(str.encode), st.text().map(str.encode)))
def test_any_input_parses_or_is_our_error(content: bytes) -> None:
    try:
        parsed = parse(content, FILE)
    except ConfigurationError as error:
        assert all(problem.where for problem in error.problems)
        return
    line_count = content.count(b"\n") + 1
    for section, keys in parsed.sections.items():
        for key, entry in keys.items():
            assert (entry.section, entry.key) == (section, key) and key
            assert len(entry.values) == len(entry.lines) > 0
            assert all(1 <= line <= line_count for line in entry.lines)
    json.dumps(parsed.plain())


PLAIN = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=10)
NAMES = PLAIN.filter(lambda name: not any(c in "=:[]#;\ufeff" for c in name))


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, PLAIN, max_size=4), max_size=4))
def test_what_is_written_is_read(sections: dict[str, dict[str, str]]) -> None:
    text = "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for section, keys in sections.items()
    )
    assert parse(text.encode(), FILE).plain() == sections
