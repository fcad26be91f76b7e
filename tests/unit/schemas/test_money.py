from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import MAX_NANOUSD, NANOUSD_PER_USD, to_nanousd, to_usd
from schemas.result import Usage, report

amounts = st.integers(min_value=0, max_value=MAX_NANOUSD)


@given(amounts)
def test_every_amount_survives_the_way_there_and_back(nanousd: int) -> None:
    assert to_nanousd(to_usd(nanousd)) == nanousd


@given(amounts)
def test_dollars_are_exact(nanousd: int) -> None:
    assert Fraction(to_usd(nanousd)) * NANOUSD_PER_USD == nanousd


@given(amounts)
def test_dollars_are_written_without_an_exponent_up_from_a_micro_dollar(nanousd: int) -> None:
    text = f"{to_usd(nanousd):f}"
    assert Decimal(text) == to_usd(nanousd)
    assert "." not in text or not text.endswith("0")


@given(st.lists(amounts, max_size=50))
def test_a_sum_of_dollars_is_the_sum_of_nano_dollars(values: list[int]) -> None:
    assert sum((to_usd(value) for value in values), Decimal(0)) * NANOUSD_PER_USD == sum(values)


@pytest.mark.parametrize(
    ("usd", "nanousd"),
    [
        ("0", 0),
        ("0.01", 10_000_000),
        ("0.000000001", 1),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("0.00000000150001", 2),
        ("0.0000000025", 2),
        ("1000000", MAX_NANOUSD),
        ("100", 100 * NANOUSD_PER_USD),
        ("1E+2", 100 * NANOUSD_PER_USD),
    ],
)
def test_beyond_a_nano_dollar_it_rounds_half_to_even(usd: str, nanousd: int) -> None:
    assert to_nanousd(Decimal(usd)) == nanousd


@pytest.mark.parametrize("usd", ["-0.000000001", "-1", "1000000.000000001", "1E+9", "NaN", "sNaN", "Infinity"])
def test_what_is_no_amount_is_refused(usd: str) -> None:
    with pytest.raises(ValueError, match=r"USD"):
        to_nanousd(Decimal(usd))


@given(st.integers(min_value=0, max_value=10_000 * 100))
def test_whole_cents_are_read_by_clients_to_the_cent(cents: int) -> None:
    shown = report(Usage(latency_ms=1, cost_nanousd=cents * NANOUSD_PER_USD // 100)).cost_usd
    assert round(shown * 100) == cents
    assert f"{shown:.2f}" == f"{Decimal(cents) / 100:.2f}"
