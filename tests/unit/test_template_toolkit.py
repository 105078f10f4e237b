"""The Template Toolkit subset: what kivitendo's mail templates use, and what must not work."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivitendo_task_server.template_toolkit import TemplateError, render, render_file


@dataclass(frozen=True)
class Invoice:
    invnumber: str
    amount: Decimal
    _secret: str = "hidden"


DATA: dict[str, Any] = {
    "name": "Müller & <Söhne>",
    "zero": "0",
    "number": 3,
    "price": Decimal("119.00"),
    "flag": True,
    "off": False,
    "empty": [],
    "nothing": None,
    "day": dt.date(2026, 11, 22),
    "list": ["a", "b", "c"],
    "client": {"name": "Firma", "id": 1, "size": "a key, not the method"},
    "invoices": [Invoice("RE1", Decimal("1.00")), Invoice("RE2", Decimal("2.00"))],
    "failed": [[Invoice("RE3", Decimal(0)), "kein Papier"]],
    "key": "name",
    "people": [{"first": "Ann"}, {"first": "Bob"}],
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        # printing
        ("", ""),
        ("plain {{ text }} {% if %} {# #}\n", "plain {{ text }} {% if %} {# #}\n"),
        ("[% name %]", "Müller & <Söhne>"),
        ("[% name | html %]", "Müller &amp; &lt;Söhne&gt;"),
        ("[% name FILTER html %]", "Müller &amp; &lt;Söhne&gt;"),
        ("[% GET client.name %]", "Firma"),
        ("[% nothing %][% unknown %][% unknown.deeper.still %][% client.unknown %]", ""),
        ("[% list %][% client %][% invoices.0 %]", ""),
        ("[% flag %][% off %] [% price %] [% day %]", "10 119.00 2026-11-22"),
        (r"[% 'it\'s \n' %]", r"it's \n"),
        (r'[% "a\tb $name ${client.name} $client.id \$x" %]', "a\tb Müller & <Söhne> Firma 1 $x"),
        ("[% 1.50 %] [% 007 %] [% -2 %]", "1.5 7 -2"),
        ("<% name %>", "Müller & <Söhne>"),
        ("<%invnumber%> [% key %]", "<%invnumber%> name"),
        # access
        ("[% list.size %][% empty.size %][% list.max %][% list.first %][% list.last %]", "302ac"),
        ("[% list.0 %][% list.7 %][% failed.0.0.invnumber %][% failed.0.1 %]", "aRE3kein Papier"),
        ("[% client.size %] [% client.$key %] [% client.item('name') %]",
         "a key, not the method Firma Firma"),
        ("[% client.exists('id') %][% client.exists('x') %][% client.keys.join(', ') %]",
         "1id, name, size"),
        ("[% list.join('-') %] [% name.length %] [% name.upper %]", "a-b-c 16 MÜLLER & <SÖHNE>"),
        ("[% invoices.0.amount %][% invoices.0._secret %]", "1.00hidden"),
        # conditions
        ("[% IF number %]yes[% ELSE %]no[% END %]", "yes"),
        ("[% IF zero %]yes[% ELSIF flag %]second[% ELSE %]no[% END %]", "second"),
        ("[% UNLESS zero %]yes[% ELSE %]no[% END %]", "yes"),
        ("[% IF empty %]a list is true[% END %][% IF empty.size %]x[% END %]", "a list is true"),
        ("[% IF number == 3 && client.name != 'x' %]y[% END %]", "y"),
        ("[% IF number > 2 AND number <= 3 AND NOT (number < 3) %]y[% END %]", "y"),
        ("[% IF nothing OR off %]x[% ELSE %]y[% END %]", "y"),
        ("[% IF !nothing %]y[% END %][% IF not nothing and flag %]y[% END %]", "yy"),
        ("[% nothing || 'default' %] [% flag && 'both' %]", "default both"),
        ("[% flag ? 'a' : 'b' %][% off ? 'a' : off ? 'b' : 'c' %]", "ac"),
        ("[% 'shown' IF flag %][% 'hidden' UNLESS flag %]", "shown"),
        ("[% IF 'NaN' < 1 %]y[% END %][% IF '5 Stück' == 5 %]x[% END %]", "y"),
        # loops
        ("[% FOREACH x IN list %][% x %],[% END %]", "a,b,c,"),
        ("[% FOREACH x = list %][% loop.count %]/[% loop.size %][% x %][% UNLESS loop.last %], "
         "[% END %][% END %]", "1/3a, 2/3b, 3/3c"),
        ("[% FOR x IN list; loop.index; x; END %]", "0a1b2c"),
        ("[% FOREACH people %][% first %] [% END %]", "Ann Bob "),
        ("[% FOREACH x IN empty %]x[% END %][% FOREACH x IN nothing %]x[% END %]", ""),
        ("[% FOREACH x IN 'one' %][% x %][% END %]", "one"),
        ("[% FOREACH x IN [1..number] %][% x %][% END %][% [3..1].size %]", "1230"),
        ("[% FOREACH p IN client %][% p.key %]=[% p.value %] [% END %]",
         "id=1 name=Firma size=a key, not the method "),
        ("[% FOREACH x IN list %][% NEXT IF x == 'b' %][% x %][% END %]", "ac"),
        ("[% FOREACH x IN list %][% x %][% IF x == 'b' %][% LAST %][% END %][% END %]", "ab"),
        ("[% FOREACH x IN list %][% FOREACH y IN [1, 2] %][% loop.count %][% END %][% loop.count %]"
         " [% END %]", "121 122 123 "),
        ("[% FOREACH f IN failed %][% f.0.invnumber %]: [% f.1 %][% END %]", "RE3: kein Papier"),
        # variables, arithmetic, filters
        ("[% SET a = 'x' b = 2 %][% a %][% b %]", "x2"),
        ("[% a = number + 2 * 3 %][% a %]", "9"),
        ("[% SET n = 0 %][% FOREACH x IN list %][% n = n + 1 %][% END %][% n %]", "3"),
        ("[% DEFAULT name = 'x' other = 'y' %][% other %]", "y"),
        ("[% 7 / 2 %] [% 7 div 2 %] [% 7 % 2 %] [% 'a' _ 1 _ 'b' %]", "3.5 3 1 a1b"),
        ("[% FILTER html %]<[% name %]>[% END %]", "&lt;Müller &amp; &lt;Söhne&gt;&gt;"),
        ("[% name | lower | truncate(6, '…') %]", "mülle…"),
        ("[% 'a\nb' | indent('> ') %]", "> a\n> b"),
        ("[% 'Guten Tag' | $T8 %]", "Guten Tag"),
        # what is left out
        ("[% USE P %][% USE T8; USE date(format = '%d') %]x", "x"),
        ("[% USE LxERP; LxERP.t8('Job #1 failed: #2', key, list.0) %]", "Job name failed: a"),
        ("[% USE H = HTML %][% H.escape(name) %]", "Müller &amp; &lt;Söhne&gt;"),
        ("[%# a comment [ ' \n more %]x[%-# one -%] y", "x y"),
        ("[% name # the rest is a comment\n | html %]", "Müller &amp; &lt;Söhne&gt;"),
        ("[% %]x[%%]", "x"),
    ],
)  # fmt: skip
def test_rendering(template: str, expected: str) -> None:
    assert render(template, DATA) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a \n  [%- 1 -%]  \n  b", "a 1  b"),
        ("a\n\n[%- 1 -%]\n\nb", "a\n1\nb"),
        ("a \n [%~ 1 ~%] \n\n b", "a1b"),
        ("a \n [%= 1 =%] \n\n b", "a 1 b"),
        ("a \n [%+ 1 +%] \n b", "a \n 1 \n b"),
        ("x [%- 1 -%] y", "x 1 y"),
        ("  [%- 1 %]", "1"),
        ("[% 1 -%]  ", "1"),
        ("[% IF 1 -%]\nline\n[% END -%]\nend\n", "line\nend\n"),
        ("[% FOREACH x IN [1,2] -%]\n* [% x %]\n[% END -%]\n", "* 1\n* 2\n"),
        ("[%- 1 -%]\n[%- 2 -%]", "12"),
        ("a\r\n[%- 1 %]\r\nb", "a1\nb"),
    ],
)
def test_chomp_flags(template: str, expected: str) -> None:
    assert render(template, {}) == expected


@pytest.mark.parametrize(
    ("template", "line", "part"),
    [
        ("\n\n[% IF x %]", 3, "IF without END"),
        ("\n[% END %]", 2, "END without a block"),
        ("\n[% x", 2, "without %]"),
        ("a\n[%- ELSE %]", 2, "only allowed inside IF"),
        ("[% FOREACH x IN y %][% ELSE %][% END %]", 1, "only allowed inside IF"),
        ("[% NEXT %]", 1, "only allowed inside FOREACH"),
        ("a\n[%- x -%]\n\n\n[%- y -%]\n[% INCLUDE 'etc/passwd' %]", 6, "INCLUDE is not supported"),
        ("[% PERL %]system('id')[% END %]", 1, "PERL is not supported"),
        ("\n[% 'open %]", 2, "not understood"),
        ("\n[% x. %]", 2, "a name expected"),
        ("\n[% (1 %]", 2, "expected"),
        ("[% 1 2 %]", 1, "expected"),
        ("[% IF %]x[% END %]", 1, "missing"),
        ("[% ((((" + "(" * 200 + "1 %]", 1, "nested too deeply"),
        ("[% " + "NOT " * 500 + "1 %]", 1, "nested too deeply"),
        ("a\n\n[%~ x ~%]\n\n[% x | nofilter %]", 5, "no filter 'nofilter'"),
        ("[%\n\n1 / 0\n\n%]\n", 1, "division by zero"),
        ("\n[% 'x' | truncate('y') %]", 2, "wrong arguments for 'truncate'"),
        ("\n[% x.upper(1, 2) %]", 2, "wrong arguments for 'upper'"),
        ("[% SET a.b = 1 %]", 1, "'=' expected"),
        ("[% x = %]", 1, "missing"),
        ("\n[% x.replace('a', 'b') %]", 2, "the method 'replace' is not supported"),
        ("[% USE LxERP %]\n[% LxERP.format_amount(1) %]", 2, "LxERP.format_amount of a plugin"),
        ("[% USE %]", 1, "a name expected"),
        ("[% [1, 2..3] %]", 1, "a range is [FIRST .. LAST]"),
        ("[% [1..1e9] %]", 1, "expected"),
        ("[% [1..1000000000] %]", 1, "too long"),
        ("[% [1..] %]", 1, "not understood"),
        ("[% list.-1 %]", 1, "a name expected behind '.'"),
        ("[% 'it''s' %]", 1, "';' expected"),
    ],
)
def test_errors_name_the_line(template: str, line: int, part: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template, {}, name="mail.txt")
    assert caught.value.where == f"mail.txt:{line}"
    assert part in caught.value.what


@pytest.mark.parametrize(
    "template",
    [
        "[% " + "- " * 3000 + "1 %]",
        "[% IF 1 %]" * 150 + "[% END %]" * 150,
        "[% FOREACH x IN [1] %]" * 25 + "[% END %]" * 25,
        "[% " + " _ ".join(["x"] * 3000) + " %]",
    ],
    ids=["signs", "conditions", "loops", "joined"],
)
def test_what_python_cannot_nest_is_an_error_of_the_template(template: str) -> None:
    with pytest.raises(TemplateError, match=r"^mail\.txt: nested too deeply$"):
        render(template, {}, name="mail.txt")


@pytest.mark.parametrize(
    "expression",
    [
        "name.__class__", "name.__class__.__mro__", "list.__init__.__globals__", "get.__self__",
        "client.__class__", "invoices.0.__class__", "name.format", "name.encode('x')", "self",
        "day.year", "day.strftime('%Y')", "range", "lipsum", "cycler", "environment", "_variables",
        "$self", "dot", "invoices.0.__dataclass_fields__", "list.append(1)",
    ],
)  # fmt: skip
def test_only_plain_data_is_reached(expression: str) -> None:
    try:
        assert render(f"[% {expression} %]", DATA) == ""
    except TemplateError:
        return
    assert DATA["list"] == ["a", "b", "c"]


def test_text_cannot_become_jinja() -> None:
    sneaky = '\x01% if get.__class__ %\x01 \x02{ get("name") }\x02 "]) }} {{ 1 }}'
    assert render(sneaky, DATA) == '% if get.__class__ % { get("name") } "]) }} {{ 1 }}'
    assert render("[% '\\'}\x02 \")' %]", DATA) == "'} \")"
    assert render("[% name %]", {"name": "[% 1 %]\x02{ 2 }\x02"}) == "[% 1 %]\x02{ 2 }\x02"


def test_the_callers_data_is_not_changed() -> None:
    data: dict[str, Any] = {"a": "1", "list": [1]}
    render("[% a = 2; FOREACH a IN list; END; SET b = 3 %]", data)
    assert data == {"a": "1", "list": [1]}


def test_a_growing_text_is_stopped() -> None:
    doubling = "[% a = 'x' %]" + "[% a = a _ a %]" * 40
    with pytest.raises(TemplateError, match="too long"):
        render(doubling, {})


def test_files(tmp_path: Path) -> None:
    template = tmp_path / "mail.txt"
    template.write_text("Grüße\n[% name", encoding="utf-8")
    with pytest.raises(TemplateError) as caught:
        render_file(template, DATA)
    assert caught.value.where == f"{template}:2"
    template.write_bytes("gut\nGrüße".encode("latin-1"))
    with pytest.raises(TemplateError) as caught:
        render_file(template, DATA)
    assert (caught.value.where, caught.value.what) == (f"{template}:2", "is not UTF-8")
    template.write_bytes(b"x" * 1_000_001)
    with pytest.raises(TemplateError, match="larger than"):
        render_file(template, DATA)
    for path, part in ((tmp_path / "missing", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(TemplateError, match=part):
            render_file(path, DATA)


PIECES = st.sampled_from(
    ["[%", "%]", "[%-", "-%]", "<%", "%>", " IF ", " END ", " ELSE ", " FOREACH x IN ", " list ",
     " name", ".size", ".", "'", '"', "$", "#", "(", ")", "[", "]", " == ", " = ", "|", " html ",
     "0", "\n", ";", "\\", " NOT ", " SET ", "{", "}", "\x01%", " FILTER ", "ä", " NEXT ", "-", "/"]
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_no_text_does_anything_but_render_or_be_refused(template: str) -> None:
    try:
        assert isinstance(render(template, DATA), str)
    except TemplateError as error:
        assert error.where is not None and error.where.startswith("template:")
