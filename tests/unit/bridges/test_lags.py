"""How old events were when they were committed."""

import pytest

from bridges.lags import KEPT, Lags


def test_before_the_first_write_nothing_lags() -> None:
    assert Lags().percentiles_ms(0.5, 0.99) == [0.0, 0.0]


def test_a_write_counts_for_as_many_events_as_it_has() -> None:
    lags = Lags()
    lags.add(990, oldest_ms=10, newest_ms=10)
    lags.add(10, oldest_ms=500, newest_ms=500)
    assert lags.percentiles_ms(0.5, 0.99, 1.0) == [10, 10, 500]


def test_events_of_a_write_are_between_its_oldest_and_its_newest() -> None:
    lags = Lags()
    lags.add(1000, oldest_ms=150, newest_ms=0)
    low, middle, high = lags.percentiles_ms(0.01, 0.5, 1.0)
    assert (low, high) == (0, 150)
    assert middle == pytest.approx(75, abs=30)


def test_only_the_last_writes_count_and_a_clock_that_is_ahead_makes_no_negative_age() -> None:
    lags = Lags()
    lags.add(1, oldest_ms=9000, newest_ms=9000)
    for _ in range(KEPT):
        lags.add(1, oldest_ms=-3, newest_ms=-5)
    assert lags.percentiles_ms(1.0) == [0]
