"""The YAML dialect of job data: the specification's vectors, and what no text may do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kivitendo_yaml import write_data

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.data import is_true, parse_data
from kivitendo_task_server.jobs.yaml_dialect import read

FILE = Path(__file__).parents[1] / "vectors" / "yaml_vectors.json"
VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["vectors"]


def test_there_are_75_vectors() -> None:
    assert len(VECTORS) == 75


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: repr(vector["input"]))
def test_vector(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with pytest.raises(JobFailed) as caught:
            read(vector["input"])
        assert str(caught.value).startswith(vector["error"])
    else:
        assert read(vector["input"]) == vector["result"]


# More of what Perl's YAML 1.30 does, seen by running it.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: # c\n  b: 1\n", {"a": {"b": "1"}}),
        ('a: "x" # c\n', {"a": "x"}),
        ("- a: 1\n  b: 2\n- c\n", [{"a": "1", "b": "2"}, "c"]),
        ("- - 1\n  - 2\n", [["1", "2"]]),
        ("a:\n- 1\nb: 2\n", {"a": ["1"], "b": "2"}),
        ("a: |-\n  x\n\n  y\n", {"a": "x\n\ny"}),
        ("a: |+\n  x\n\nb: 1\n", {"a": "x\n\n", "b": "1"}),
        ("a: >\n  x\n  y\n\n  z\n", {"a": "x y\nz\n"}),
        ("a: >-\n  x\n   y\n  z\n", {"a": "x\n y\nz"}),
        ("a: |2\n    x\n", {"a": "  x\n"}),
        ("--- |\nx\ny\n", "x\ny\n"),
        ("a: &x\n  b: 1\nc: *x\n", {"a": {"b": "1"}, "c": {"b": "1"}}),
        ("a: &x 1\nb: &x 2\nc: *x\n", {"a": "1", "b": "2", "c": "2"}),
        ("a: 'it''s'\n", {"a": "it's"}),
        ('a: "x\\t\\x41\\"\\q"\n', {"a": 'x\tA"\\q'}),
        ("a: x#y\n", {"a": "x#y"}),
        ("a: #\n", {"a": None}),
        ("a: -\n", {"a": "-"}),
        ("a: {b: 1, c: [x, {d: ~}]}\n", {"a": {"b": "1", "c": ["x", {"d": None}]}}),
        ("a: [1,,2,]\n", {"a": ["1", "", "2"]}),
        ("a:: 1\n", {"a:": "1"}),
        ("'a b': 1\n", {"a b": "1"}),
        ("a: 1\n--- b\n", "b"),
        ("a: 1\r\rb: 2\r", {"a": "1", "b": "2"}),
        # a block's first line says how far it is indented; if it is blank, by one
        ("a: |\n\n  x\n", {"a": "\n x\n"}),
        ("b:\n  a: |\n\n    x\n   y\n", {"b": {"a": "\n x\ny\n"}}),
        ("a: |\n    \n  x\n", {"a": "   \n x\n"}),
        ("a: >\n  \tl1\n  l2\n", {"a": " \tl1\n l2\n"}),
        ("a: |2\n\n  x\n", {"a": "\nx\n"}),
        ("a: |\n# c\n  x\n", {"a": "x\n"}),
        ("--- |\n\n  x\n", "\n  x\n"),
        ("a: |+\n", {"a": ""}),
        ("a: |+\n  x\n\n", {"a": "x\n\n"}),
        # of several paragraphs every other gap is folded
        ("a: >\n  x\n\n  y\n\n  z\n", {"a": "x\ny\n\nz\n"}),
        ("a: >\n  x\n  y\n\n\n  z\n", {"a": "x y\n\nz\n"}),
        ("- ä: 1\n- $a: 1\n- (a): 1\n", [{"ä": "1"}, {"$a": "1"}, {"(a)": "1"}]),
        ("- 'a''b': c\n- :a: 1\n- , a: 1\n", [{"a'b": "c"}, ":a: 1", ", a: 1"]),
        ("- a:\tb\n", ["a:\tb"]),
        ("- ? a\n  : 1\n", [{"a": "1"}]),
        ("- # c\n-\n-  \n", ["", None, ""]),
        ("--- # c\n", ""),
        ("~: 1\n", {"": "1"}),
        ("a: &x 1\nb: *x # c\nc: *x y\nd: [*x ]\n", {"a": "1", "b": "1", "c": "1", "d": ["1"]}),
    ],
)
def test_reads_like_perl(text: str, expected: object) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: b\n  c\n", "Inconsistent indentation level"),
        ("a: 1\n  b: 2\n", "Inconsistent indentation level"),
        ("  a: 1\n b: 2\n", "Inconsistent indentation level"),
        ("a: 'x' y\n", "Couldn't parse single line value"),
        ("a: 'x'#y\n", "Couldn't parse single line value"),
        ("a: *x\n", "No anchor for alias '*x'"),
        ("a: & 1\n", "Invalid anchor"),
        ("a: *\n", "Invalid alias"),
        ("- 1\nb: 2\n", "Invalid element in sequence"),
        ("a: 1\n- b\n", "Invalid element in map"),
        ("[a]: 1\n", "Invalid element in map: a key must be text"),
        ("? a\nb: 1\n", "Invalid element in map"),
        ("a: |x\n", "No text allowed after indicator"),
        ("a: |0\n x\n", "Can't use zero as an indentation width"),
        ("a: {b}\n", "Can't parse inline map"),
        ("a: [@b]\n", "Can't parse inline implicit value"),
        ("a: 'x\n", "Can't parse single quoted string"),
        ("a: 'x''\n", "Can't parse single quoted string"),
        ('a: "b\n  c"\n', "Inconsistent indentation level"),
        ("a: [1,\n  2]\n", "Inconsistent indentation level"),
        ("  a: 1\nb: 2\n", "Inconsistent indentation level"),
        ("--- x\na: 1\n", "Inconsistent indentation level"),
        ("--- # c\na: 1\n", "Inconsistent indentation level"),
        ("- # c\n  a: 1\n", "Inconsistent indentation level"),
        (" text\n", "Expected separator '---'"),
        ("a:\n  text\nb: 1\n", "Expected separator '---'"),
        ("a: 1\n\tb: 2\n", "Invalid element in map"),
        ("a:\n\tb: 2\n", "YAML_PARSE_ERR_NONSPACE_INDENTATION"),
        ("{a: 1\n", "Can't parse inline map"),
        ("[a: 1\n", "Can't parse inline sequence"),
        ("a: &x 1\nb: [*x]\n", "Invalid alias"),
        ("a: &ä 1\n", "Invalid anchor"),
        ("a: &x &y 1\n", "More than one anchor"),
        ("a: !s !t 1\n", "More than one explicit transfer"),
        ("a: &x *x\n", "Can't define both an anchor and an alias"),
        ("- ?\n", "Invalid element in map"),
        ("- @a: 1\n", "Can't parse inline implicit value ''"),
        ("a: |#c\n", "No text allowed after indicator"),
        ("a: \x07\n", "Invalid characters in stream"),
        ("a: " + "[" * 10_000, "Nested too deeply"),
        ("- " * 10_000 + "x", "Nested too deeply"),
    ],
)
def test_refuses_like_perl_and_names_the_line(text: str, reason: str) -> None:
    with pytest.raises(JobFailed) as caught:
        read("\n" + text)
    message = str(caught.value)
    assert message.startswith(f"YAML Error: {reason}")
    assert "of the job's data)" in message


def test_the_line_number_counts_from_the_top() -> None:
    with pytest.raises(JobFailed, match=r"line 4 of"):
        read("# comment\n\na: 1\nb:2\n")


@pytest.mark.parametrize("text", [None, "", "0", "\n", "---\n", "# only a comment\n"])
def test_nothing_means_no_options(text: str | None) -> None:
    assert parse_data(text) == {}


@pytest.mark.parametrize("text", ["- a\n", "--- text\n"])
def test_options_must_be_a_mapping(text: str) -> None:
    with pytest.raises(JobFailed, match=r"^Not a HASH reference"):
        parse_data(text)


def test_truth_is_perls() -> None:
    assert [is_true(value) for value in (None, "", "0", "no", "false", "00", "0.0", " ")] == [
        *[False] * 3,
        *[True] * 5,
    ]


def test_writes_kivitendos_form() -> None:
    value = {
        "zahl": "1",
        "leer": "",
        "nichts": None,
        "text": "zwei\nZeilen",
        "liste": ["a", {"b": "c: d", "a": "ü"}],
        "keine": [],
        "satz": "Es geht weiter",
    }
    assert write_data(value) == (
        "---\n"
        "keine: []\n"
        "leer: ''\n"
        "liste:\n"
        "  - a\n"
        "  -\n"
        "    a: ü\n"
        "    b: 'c: d'\n"
        "nichts: ~\n"
        "satz: Es geht weiter\n"
        'text: "zwei\\nZeilen"\n'
        "zahl: 1\n"
    )


TEXT = st.text(max_size=12) | st.text(alphabet="ab :-#'\"\\\n\t~[]{},!&*%@`|>?=0", max_size=12)
VALUES = st.recursive(
    st.none() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert read(write_data(value)) == value


@given(
    st.dictionaries(
        st.text(alphabet="abcdefghij_", min_size=1),
        st.text(alphabet="abc xyzäß:'\"#-\n", max_size=20) | st.lists(st.text("abc1 '")),
    )
)
def test_other_yaml_readers_understand_what_is_written(value: dict[str, Any]) -> None:
    assert yaml.load(write_data(value), Loader=yaml.BaseLoader) == value


FRAGMENTS = st.sampled_from(
    [
        *("a", "b", "~", "'q'", '"d"', "- ", "-", " ", "  ", ": ", ":", "\n", "\n  ", "#", " # c"),
        *("[", "]", "{", "}", ",", "|", ">", "&x ", "*x", "!t ", "? ", "---", "\t", "%", "@", "`"),
        *("'", '"', "\\", "\r\n", "a: ", "\nb: ", "\n  - ", "\n  c: ", "é", "\x00", "\ud800"),
    ]
)


@given(st.text() | st.lists(FRAGMENTS, max_size=25).map("".join))
def test_no_text_does_more_than_fail(text: str) -> None:
    try:
        parse_data(text)
    except JobFailed as error:
        assert str(error).startswith(("YAML Error: ", "Not a HASH reference"))


def test_long_texts_take_linear_time() -> None:
    # quadratic patterns would take minutes here
    for text in ("a: x" + " " * 200_000 + "y", "- " + "w" * 200_000, "a: '" + "'" * 200_001):
        read(text)
