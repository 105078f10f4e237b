"""The numbers of section 6.2, 4 and 5.8 against slow models, and against their tables."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kivitendo_task_server.jobs.periodic_invoices.arithmetic import (
    number,
    rounded,
    rounded_to_precision,
    sent,
)
from kivitendo_task_server.jobs.periodic_invoices.numbers import successors
from kivitendo_task_server.jobs.periodic_invoices.periods import Terms, due_periods
from kivitendo_task_server.jobs.periodic_invoices.prices import adjusted_price

# -- rounding (6.2) --------------------------------------------------------------------------------


def model_rounded(value: float, places: int, digits: int) -> Decimal:
    """Section 6.2 sentence by sentence, with exact decimals."""
    with localcontext() as context:
        context.prec = 80
        size = abs(Decimal(value))
        length = len(str(int(size)))
        extra = max(min(10, digits - length - places), places)
        if places + extra == 0:
            return Decimal(value)
        written = size.quantize(Decimal(1).scaleb(-(places + extra)), ROUND_HALF_EVEN)
        unit = Decimal(1).scaleb(-places)
        cut = written.quantize(unit, ROUND_DOWN)
        next_digit = int((written - cut).scaleb(places + 1))
        if next_digit >= 5:
            cut += unit
        return -cut if value < 0 else cut


# amounts as they occur: products of prices, discounts and quantities; and halves of a cent
amounts = st.one_of(
    st.floats(-1e13, 1e13, allow_nan=False),
    st.floats(-1000, 1000, allow_nan=False),
    st.builds(
        lambda price, qty, discount: price / 1000 * (1 - discount / 100) * (qty / 10),
        st.integers(-(10**7), 10**7),
        st.integers(-500, 500),
        st.integers(0, 100),
    ),
    st.integers(-(10**9), 10**9).map(lambda n: n / 1000),
    st.integers(-(10**6), 10**6).map(lambda n: (n + 0.5) / 100),
)


@given(amounts, st.integers(0, 5), st.sampled_from([15, 16]))
@example(1.0049999999999, 2, 15)
@example(123456789012345.0, 0, 15)
def test_rounding_is_what_the_text_says(value: float, places: int, digits: int) -> None:
    assert rounded(value, places, digits) == float(model_rounded(value, places, digits))


@given(st.integers(-(10**12), 10**12), st.integers(2, 4))
def test_decimals_that_people_enter_are_rounded_commercially(digits: int, places: int) -> None:
    """Where nothing was computed, it is rounding half away from zero, as everybody expects."""
    text = Decimal(digits).scaleb(-places)
    expected = text.quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert rounded(float(text), 2) == float(expected)


@pytest.mark.parametrize(
    ("value", "places", "expected"),
    [
        (1.005, 2, "1.01"), (2.675, 2, "2.68"), (0.285, 2, "0.29"), (-0.005, 2, "-0.01"),
        (1.0049999999999, 2, "1.01"), (1234567.895, 2, "1234567.9"), (1.4949, 2, "1.49"),
        (None, 2, "0"), (0.5, 0, "1"), (-0.5, 0, "-1"), (0.49, 0, "0"), (0.0, 2, "0"),
    ],
)  # fmt: skip
def test_table_of_rounding(value: float | None, places: int, expected: str) -> None:
    assert sent(rounded(value, places)) == expected


def test_zero_has_no_sign() -> None:
    assert str(rounded(-0.004, 2)) == str(rounded(-0.0, 2)) == "0.0"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (119.01, 119.00), (119.02, 119.00), (119.025, 119.05),
        (119.03, 119.05), (119.07, 119.05), (119.075, 119.10),
    ],
)  # fmt: skip
def test_table_of_rounding_with_precision(value: float, expected: float) -> None:
    assert rounded_to_precision(value, 0.05) == expected


def test_a_precision_of_zero_is_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        rounded_to_precision(1.0, 0.0)


@given(st.decimals(-(10**9), 10**9, places=5))
def test_what_the_database_sends_goes_back_unchanged(value: Decimal) -> None:
    """A numeric(15,5) up to 15 significant digits survives text, double, text (6.1)."""
    double = number(str(value))
    assert double is not None
    assert Decimal(sent(double)) == value


# -- prices per period (4) -------------------------------------------------------------------------

DIGITS = 15


def stored(value: float) -> str:
    """What a numeric(15,5) column makes of it, without trailing zeros."""
    places = Decimal(sent(value)).quantize(Decimal("0.00001"), ROUND_HALF_UP)
    return format(places.normalize(), "f")


def prices(price: float, kind: str, count: int, **dates: date | None) -> list[str]:
    """What the first invoices of a configuration charge; ``kind`` as ``m/q``."""
    periodicity, value = kind.split("/")
    dates = {"start_date": date(2026, 1, 1), "first_billing_date": None} | dates
    life = Terms(periodicity, value, end_date=None, terminated=False,
                 extend_automatically_by=None, **dates)  # fmt: skip
    due = due_periods(life, None, date(2035, 12, 31))[:count]
    return [stored(adjusted_price(price, life, period, DIGITS, False)) for period in due]


@pytest.mark.parametrize(
    ("price", "kind", "expected"),
    [
        (100.0, "m/q", ["33.33", "33.33", "33.34"] * 2),
        (333.33, "m/y", ["27.78"] * 11 + ["27.75"]),
        (333.33, "q/y", ["83.33"] * 3 + ["83.34"]),
        (333.33, "b/y", ["166.67", "166.66"]),
        (333.33, "m/b", ["55.56"] * 5 + ["55.53"]),
        (333.33, "q/b", ["166.67", "166.66"]),
        (100.0, "m/y", ["8.33"] * 11 + ["8.37"]),
        (1.005, "m/y", ["0.08"] * 11 + ["0.125"]),
        (0.005, "m/q", ["0", "0", "0.005"]),
        (-10.0, "m/q", ["-3.33", "-3.33", "-3.34"]),
        (12.34, "y/m", ["148.08"] * 2),
        (9.999, "q/m", ["29.997"]),
        (1000.0, "m/2", ["41.67"] * 23 + ["41.59"]),
        (999.99, "y/5", ["200"] * 4 + ["199.99"]),
        (100.0, "m/p", ["100"] * 2),
        (100.0, "o/y", ["100"]),
    ],
)
def test_table_of_prices(price: float, kind: str, expected: list[str]) -> None:
    assert prices(price, kind, len(expected)) == expected


def test_the_cycle_counts_from_the_later_of_two_starts() -> None:
    later = prices(100.0, "m/q", 4, first_billing_date=date(2026, 2, 1))
    assert later == ["33.33", "33.33", "33.34", "33.33"]
    earlier = prices(
        100.0, "m/q", 4, start_date=date(2026, 3, 1), first_billing_date=date(2026, 2, 1)
    )
    assert earlier == ["33.34", "33.33", "33.33", "33.34"]
    alone = prices(100.0, "m/q", 3, start_date=None, first_billing_date=date(2026, 3, 1))
    assert alone == ["33.33", "33.33", "33.34"]


def test_cycles_that_miss_each_other_have_no_last_invoice() -> None:
    """Section 4 [W]: from the 31st of August the cent stays lost, as in the original."""
    assert prices(100.01, "q/y", 8, start_date=date(2025, 8, 31)) == ["25"] * 8
    assert prices(100.0, "m/q", 3, start_date=date(2025, 11, 30)) == ["33.33", "33.33", "33.34"]


prices_entered = st.decimals(-100_000, 100_000, places=5)


@given(
    prices_entered, st.sampled_from("mqby"), st.sampled_from("mqby2345"),
    st.dates(date(2019, 1, 1), date(2027, 12, 31)),
)  # fmt: skip
def test_a_whole_cycle_charges_the_whole_price(
    price: Decimal, periodicity: str, value: str, start: date
) -> None:
    assume(start.day <= 28)
    life = Terms(periodicity, value, start, None, None, False, None)
    billing, whole = life.billing_length, life.value_length
    due = due_periods(life, None, start + timedelta(days=31 * max(whole, billing)))
    cycle = due[: max(whole // billing, 1)]
    charged = [adjusted_price(float(price), life, period, DIGITS, False) for period in cycle]
    expected = Fraction(price) * max(billing // whole, 1)
    assert abs(sum(Fraction(sent(one)) for one in charged) - expected) < Fraction(1, 10**7)
    # all but the last are whole cents, and as near to their share as cents can be
    share = Fraction(price) * billing / whole
    for one in charged[:-1]:
        cents = Fraction(sent(one)) * 100
        assert cents.denominator == 1
        assert abs(cents - share * 100) <= Fraction(1, 2) + Fraction(1, 10**6)


def test_before_3_5_7_one_time_prices_were_adjusted_too() -> None:
    life = Terms("o", "y", date(2026, 1, 1), None, None, False, None)
    assert adjusted_price(120.0, life, date(2026, 1, 1), DIGITS, True) == 10.0


# -- invoice numbers (5.8) -------------------------------------------------------------------------


def model_successor(last: str) -> str:
    """Carry by hand, from the last digit to the left."""
    position = len(last)
    digits = list(last)
    while position and digits[position - 1] in "0123456789":
        position -= 1
        if digits[position] != "9":
            digits[position] = chr(ord(digits[position]) + 1)
            return "".join(digits)
        digits[position] = "0"
    return last[:position] + "1" + "".join(digits[position:])


@given(st.text(st.sampled_from("0019RE-/. ÄäüxZ\n"), max_size=12))
def test_numbers_are_counted_as_by_hand(last: str) -> None:
    expected = []
    for _ in range(25):
        expected.append(model_successor(expected[-1] if expected else last))
    assert list(islice(successors(last), 25)) == expected


@pytest.mark.parametrize(
    ("last", "following"),
    [
        (None, "1"), ("", "1"), ("0", "1"), ("007", "008"), ("0999", "1000"),
        ("R2026-0099", "R2026-0100"), ("2026/9", "2026/10"), ("-5", "-6"), ("R2026-", "R2026-1"),
        ("RE", "RE1"), ("12-34", "12-35"), ("a1b", "a1b1"), ("1.5", "1.6"), ("  5", "  6"),
        ("99999999999999999999", "100000000000000000000"),
    ],
)  # fmt: skip
def test_table_of_numbers(last: str | None, following: str) -> None:
    assert next(successors(last)) == following


def test_digits_of_other_scripts_do_not_count() -> None:
    assert next(successors("RE٣")) == "RE٣1"
