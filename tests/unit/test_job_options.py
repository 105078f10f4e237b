"""Declared options: what they take, and what they say when they do not."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kivitendo_task_server.errors import JobFailed
from kivitendo_task_server.jobs.interface import Job
from kivitendo_task_server.jobs.options import (
    NoOptions,
    choice,
    option_name,
    read_options,
    switch,
    text,
    texts,
    whole_number,
)
from kivitendo_task_server.jobs.registry import NATIVE, job_class


@dataclass(frozen=True)
class Options:
    sender: str = text(name="from", required=True)
    recipients: tuple[str, ...] = texts(required=True)
    dry_run: bool = switch()
    set_inactive: bool = switch(True)
    years: int = whole_number(1, maximum=100)
    months: int = whole_number(6, minimum=1, maximum=100, zero_means_default=True)
    digits: str = choice("4", "2", "4")
    comment: str = text("vor Inventur")
    modules: tuple[str, ...] = texts()


GIVEN: dict[str, Any] = {"from": "a@b.de", "recipients": ["c@d.de"]}


def test_defaults() -> None:
    assert read_options(Options, GIVEN) == Options(sender="a@b.de", recipients=("c@d.de",))


@pytest.mark.parametrize("word", ["1", "yes", "true", "ON", "ja"])
def test_switch_on(word: str) -> None:
    assert read_options(Options, {**GIVEN, "dry_run": word}).dry_run is True


@pytest.mark.parametrize("word", ["", "0", "no", "False", "off", "nein", None])
def test_switch_off(word: str | None) -> None:
    assert read_options(Options, {**GIVEN, "set_inactive": word}).set_inactive is False


def test_undefined_and_zero_mean_the_default_where_declared() -> None:
    options = read_options(Options, {**GIVEN, "years": "0", "months": "0", "comment": ""})
    assert (options.years, options.months, options.comment) == (0, 6, "vor Inventur")
    assert read_options(Options, {**GIVEN, "years": None}).years == 1


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"dry_run": "maybe"}, "dry_run must be 1 or 0 (yes or no), not 'maybe'"),
        ({"dry_run": ["1"]}, "dry_run must be 1 or 0 (yes or no), not a list"),
        ({"years": "abc"}, "years must be a whole number from 0 to 100, not 'abc'"),
        ({"years": "1.5"}, "years must be a whole number"),
        ({"years": "-1"}, "years must be a whole number from 0 to 100, not '-1'"),
        ({"years": "101"}, "from 0 to 100, not '101'"),
        ({"years": "٣"}, "years must be a whole number"),
        ({"years": "9" * 5000}, "years must be a whole number"),
        ({"digits": "3"}, "digits must be one of 2, 4, not '3'"),
        ({"comment": {"a": "b"}}, "comment must be text, not a mapping"),
        ({"from": " "}, "from must be text that is not blank, not ' '"),
        ({"recipients": "a@b.de"}, "recipients must be a list, each entry on a line"),
        ({"recipients": []}, "recipients must be a list"),
        ({"recipients": ["a", None]}, "recipients must be a list"),
        ({"recipients": None}, "recipients must be a list"),
        ({"modules": "A B"}, "modules must be a list"),
        ({"dryrun": "1", "x": "2"}, "unknown: dryrun, x (known: comment, digits, dry_run, from"),
    ],
)
def test_refuses(data: dict[str, Any], complaint: str) -> None:
    with pytest.raises(JobFailed) as caught:
        read_options(Options, {**GIVEN, **data})
    assert complaint in str(caught.value)


def test_names_everything_that_is_wrong_at_once() -> None:
    with pytest.raises(JobFailed) as caught:
        read_options(Options, {"years": "x", "foo": None})
    message = str(caught.value)
    for part in ("unknown: foo", "from is missing", "recipients is missing", "years must be"):
        assert part in message


def test_a_job_without_options_takes_none() -> None:
    assert read_options(NoOptions, {}) == NoOptions()
    with pytest.raises(JobFailed, match=r"unknown: a \(known: none\)"):
        read_options(NoOptions, {"a": "1"})


KINDS = [kind for name in NATIVE if (kind := job_class(name)) and kind.Options is not None]
VALUES = st.recursive(
    st.none() | st.text() | st.sampled_from(["0", "1", "-5", "1e9", "today", "\0", "a@b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_no_data_do_more_to_a_native_job_than_fail(data: st.DataObject, kind: type[Job]) -> None:
    assert kind.Options is not None
    names = [option_name(option) for option in fields(kind.Options)]
    keys = st.sampled_from(names) | st.text(max_size=5) if names else st.text(max_size=5)
    given_data = data.draw(st.dictionaries(keys, VALUES, max_size=6))
    try:
        options = read_options(kind.Options, given_data)
    except JobFailed as error:
        assert str(error).startswith("the job's options are wrong: ")
    else:
        assert set(given_data) <= set(names)
        assert isinstance(options, kind.Options)
