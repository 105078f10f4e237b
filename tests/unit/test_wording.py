"""Text variables (section 3): the tables, and what must hold for any text."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kivitendo_task_server.database.tenants import TenantUser
from kivitendo_task_server.errors import TaskServerError
from kivitendo_task_server.jobs.periodic_invoices.date_format import formatted, in_user_format
from kivitendo_task_server.jobs.periodic_invoices.wording import Wording, period_variables

VECTORS = Path(__file__).parents[1] / "vectors"

NAMES = [
    f"{which}_{what}"
    for which in ("current", "previous", "next")
    for what in ("quarter", "month", "month_long", "year")
] + ["period_start_date", "period_end_date"]

MARCH = date(2026, 3, 1)


def wording(
    period: date = MARCH,
    end: date = date(2026, 3, 31),
    language: str = "de",
    dateformat: str = "dd.mm.yy",
    **rest: bool,
) -> Wording:
    """The texts of one period."""
    user = TenantUser("verkauf", countrycode=language, dateformat=dateformat)
    return Wording(period_variables(period, end, user), english=language == "en", **rest)


# -- names (3.3) -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "quarter", "month", "german", "english", "year"),
    [
        ("current", "1", "3", "März", "March", "2026"),
        ("previous", "4", "2", "Februar", "February", "2025"),
        ("next", "2", "4", "April", "April", "2027"),
    ],
)
def test_table_of_names(
    which: str, quarter: str, month: str, german: str, english: str, year: str
) -> None:
    template = f"<%{which}_quarter%> <%{which}_month%> <%{which}_month_long%> <%{which}_year%>"
    assert wording().text(template) == f"{quarter} {month} {german} {year}"
    assert wording(language="en").text(template) == f"{quarter} {month} {english} {year}"


def test_periods_in_the_users_format() -> None:
    both = "<%period_start_date%>-<%period_end_date%>"
    assert wording().text(both) == "01.03.2026-31.03.2026"
    assert wording(dateformat="dd/mm/yy").text(both) == "01/03/2026-31/03/2026"
    assert wording(dateformat="mm/dd/yy").text(both) == "03/01/2026-03/31/2026"
    assert wording(dateformat="yyyy-mm-dd").text(both) == "2026-03-01-2026-03-31"


@given(st.dates(date(1990, 1, 1), date(2090, 12, 31)), st.sampled_from(NAMES))
def test_names_and_formats_agree(day: date, name: str) -> None:
    """What a name gives is what its base date gives when it is formatted."""
    texts = wording(day, day)
    formats = {
        "quarter": "%{quarter}", "month": "%{month}", "month_long": "%B", "year": "%Y",
        "start_date": "%d.%m.%Y", "end_date": "%d.%m.%Y",
    }  # fmt: skip
    pattern = formats[name.split("_", 1)[1]]
    assert texts.text(f"<%{name}%>") == texts.text(f"<%{name} format={pattern}%>")


@given(st.dates(date(1990, 1, 1), date(2090, 12, 31)))
def test_base_dates(day: date) -> None:
    """Months count from the first of the month, years from the first of January."""

    def base(name: str) -> str:
        return wording(day, day).text(f"<%{name} format=%F%>")

    assert base("current_month") == base("current_quarter") == str(day.replace(day=1))
    assert base("current_year") == f"{day.year}-01-01"
    assert base("previous_year") == f"{day.year - 1}-01-01"
    assert base("next_year") == f"{day.year + 1}-01-01"
    months = day.year * 12 + day.month - 1
    for name, step in (("next_month", 1), ("previous_month", -1), ("next_quarter", 3),
                       ("previous_quarter", -3), ("next_month_long", 1)):  # fmt: skip
        year, month = divmod(months + step, 12)
        assert base(name) == f"{year}-{month + 1:02d}-01"
    assert base("period_start_date") == str(day)


# -- spelling (3.2) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("<%current_month%>", "3"),
        ("<% current_month%>", "<% current_month%>"),
        ("<%current_month %>", "<%current_month %>"),
        ("<%current_month\nformat=%m%>", "03"),
        ("<%current_month \t format \n = \n %m  %>", "03"),
        ("<%current_monthformat=%m%>", "<%current_monthformat=%m%>"),
        ("<%current_month format=%>", "3"),
        ("<%current_month format= %>", "3"),
        ("<%current_month format=%m\n%Y%>", "<%current_month format=%m\n%Y%>"),
        ("<%current_month FORMAT=%m%>", "03"),
        ("<%current_month format=%m%>%>", "03%>"),
        ("<%CURRENT_MONTH%>|<%Current_Month format=%m%>", "|"),
        ("<%foo%> <%foo format=%E%> <%current_mon%>", "<%foo%> <%foo format=%E%> <%current_mon%>"),
        ("&lt;%current_month%&gt;", "&lt;%current_month%&gt;"),
        ("<<%current_month%>>", "<3>"),
        ("100 %> <%", "100 %> <%"),
    ],
)
def test_spelling_in_plain_text(template: str, result: str) -> None:
    assert wording().text(template) == result


@pytest.mark.parametrize(
    ("template", "german", "english"),
    [
        ("&lt;%current_month_long%&gt;", "März", "March"),
        ("<%current_month_long%>", "<%current_month_long%>", "<%current_month_long%>"),
        ("&LT;%current_month%&GT;", "3", "3"),
        ("&lt;%current_month format=%B%&gt;", "März", "M&auml;rz"),
        ("&lt;%current_month format=%B &amp; &auml;%&gt;", "März &amp; &auml;",
         "M&auml;rz &amp; &auml;"),
        ("&lt;%current_month format=&nbsp;&Uuml;ß&lt;%&gt;", "&amp;nbsp;&Uuml;ß&lt;",
         "&amp;nbsp;&Uuml;&szlig;&lt;"),
        ("&lt;%current_month format=&quot;%m&quot; &lt;b&gt;%&gt;", "&quot;03&quot; &lt;b&gt;",
         "&quot;03&quot; &lt;b&gt;"),
        ("&lt;%foo%&gt; &auml;&lt;", "&lt;%foo%&gt; &auml;&lt;", "&lt;%foo%&gt; &auml;&lt;"),
    ],
)  # fmt: skip
def test_spelling_in_html(template: str, german: str, english: str) -> None:
    assert wording().html(template) == german
    assert wording(language="en").html(template) == english


def test_null_becomes_empty() -> None:
    assert wording().text(None) == wording().html(None) == ""


def test_before_3_6_unknown_words_vanished() -> None:
    old = wording(drop_unknown=True)
    assert old.text("a<%foo%>b<%bar_2%>c<%Foo%>d<%f-o%>") == "abc<%Foo%>d<%f-o%>"
    assert old.html("&lt;%foo%&gt;&lt;%current_month%&gt;") == "3"


# -- any text --------------------------------------------------------------------------------------

pieces = st.one_of(
    st.text(max_size=6),
    st.sampled_from(NAMES),
    st.sampled_from(
        ["<%", "%>", "&lt;%", "%&gt;", " format=", "format", "=", "%", "%B", "%{ymd}", "%{", "}",
         "\n", " ", "\x01", "&amp;", "&", ";", "%E", "%9N", "%99999999999999999999N", "\\", "$&"]
    ),
)  # fmt: skip
templates = st.lists(pieces, max_size=12).map("".join)


@given(templates, st.sampled_from(["de", "en"]), st.booleans())
@example("<%current_month format=%99999999999999N%>", "de", False)
def test_no_text_is_too_strange(template: str, language: str, drop: bool) -> None:
    """A text or TaskServerError, never anything else; and never a text out of nothing."""
    texts = wording(language=language, drop_unknown=drop)
    for replaced in (texts.text, texts.html):
        try:
            result = replaced(template)
        except TaskServerError as error:
            assert "pattern" in error.what
        else:
            assert len(result) < 100 * (len(template) + 1)


@given(templates)
def test_text_without_marks_stays(template: str) -> None:
    without = template.replace("<%", "").replace("&lt;%", "")
    if "<%" not in without:
        assert wording().text(without) == without
    if "&lt;%" not in without:
        assert wording().html(without) == without


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("known"), st.sampled_from(NAMES)),
            st.tuples(st.just("unknown"), st.from_regex(r"x[a-z0-9_]{0,8}", fullmatch=True)),
            st.tuples(st.just("plain"), st.text(st.characters(blacklist_characters="<%>&"))),
        )
    )
)
def test_only_known_variables_are_replaced(parts: list[tuple[str, str]]) -> None:
    texts = wording()
    template = "".join(text if kind == "plain" else f"<%{text}%>" for kind, text in parts)
    expected = "".join(
        texts.variables[text].text
        if kind == "known"
        else text
        if kind == "plain"
        else f"<%{text}%>"
        for kind, text in parts
    )
    assert texts.text(template) == expected
    escaped = template.replace("<", "&lt;").replace(">", "&gt;")
    assert texts.html(escaped) == expected.replace("<", "&lt;").replace(">", "&gt;")


# -- patterns (3.4) --------------------------------------------------------------------------------

TABLE = """
%Y=2026 %y=26 %C=20 %G=2026 %g=26 %H=00 %I=12 %l=12 %M=00 %S=00 %m=03 %d=01 %j=060 %p=AM %P=am
%B=März %b=März %h=März %T=00:00:00 %R=00:00 %X=00:00:00 %A=Sonntag %a=So. %D=03/01/26
%F=2026-03-01 %x=01.03.2026 %u=7 %w=0 %U=09 %W=08 %s=1772323200 %N=000000000 %3N=000 %%=% %z=+0000
%Z=floating %O=floating %{quarter}=1 %{year}=2026 %{month_name}=März %{day_name}=Sonntag
%{week_number}=9 %{ymd}=2026-03-01 %{foo}=%{foo} %1=%1 %-d=%-d 5%=5% %=% ä%Ää=ä%Ää
"""


@pytest.mark.parametrize("entry", TABLE.split())
def test_table_of_tokens(entry: str) -> None:
    pattern, _, expected = entry.partition("=") if entry != "%%=%" else ("%%", "=", "%")
    assert formatted(MARCH, pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%e", " 1"), ("%k", " 0"), ("%r", "12:00:00 AM"), ("%c", "01.03.2026, 00:00:00"),
        ("%n%t", "\n\t"), ("%{quarter_name}", "1. Quartal"), ("%B %Y", "März 2026"), ("%%B", "%B"),
        ("", ""),
    ],
)  # fmt: skip
def test_more_tokens(pattern: str, expected: str) -> None:
    assert formatted(MARCH, pattern) == expected


@pytest.mark.parametrize("letter", [*"EfiJKLoqQvV", "03d", "0N", "10N", "99999999999999999999N"])
def test_unknown_letters_are_an_error(letter: str) -> None:
    with pytest.raises(TaskServerError, match=f"»x%{letter}«.*%{letter}"):
        formatted(MARCH, f"x%{letter}")


def test_patterns_as_the_original_s_libraries_format_them() -> None:
    """Measured with them (DateTime 1.59 and its formatter); null: they refuse the pattern."""
    measured = json.loads((VECTORS / "date_patterns.json").read_text("utf-8"))
    assert len(measured["rows"]) > 400
    for day, pattern, expected in measured["rows"]:
        try:
            result = formatted(date.fromisoformat(day), pattern)
        except TaskServerError:
            result = None
        assert result == expected, (day, pattern)


@given(st.dates(date(1970, 1, 1), date(2090, 12, 31)))
def test_numbers_are_those_of_strftime(day: date) -> None:
    """Python's own strftime as the oracle, for what does not depend on a language."""
    for token in ("Y", "y", "G", "m", "d", "j", "u", "w", "U", "W"):
        assert formatted(day, f"%{token}") == day.strftime(f"%{token}"), token
    assert formatted(day, "%D %F") == day.strftime("%m/%d/%y %Y-%m-%d")
    assert formatted(day, "%g") == day.strftime("%G")[2:]


def test_german_names_of_a_year() -> None:
    months = [formatted(date(2026, month, 1), "%B/%b") for month in range(1, 13)]
    assert " ".join(months) == (
        "Januar/Jan. Februar/Feb. März/März April/Apr. Mai/Mai Juni/Juni Juli/Juli August/Aug."
        " September/Sept. Oktober/Okt. November/Nov. Dezember/Dez."
    )
    week = [formatted(date(2026, 3, day), "%A/%a") for day in range(2, 9)]
    assert " ".join(week) == (
        "Montag/Mo. Dienstag/Di. Mittwoch/Mi. Donnerstag/Do. Freitag/Fr. Samstag/Sa. Sonntag/So."
    )


@given(st.dates(date(1000, 1, 1), date(9999, 12, 31)))
def test_user_formats_have_two_digits_and_four(day: date) -> None:
    assert in_user_format(day, "dd.mm.yy") == f"{day.day:02d}.{day.month:02d}.{day.year:04d}"
    assert in_user_format(day, "yyyy-mm-dd") == day.isoformat()
