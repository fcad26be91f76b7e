"""How many submissions may begin in a turn: the bound, against a process of which the capacity is known."""

import random
from collections import deque
from dataclasses import dataclass, field
from time import thread_time

import pytest

from edge.tasks.pace import MOST_RETRY_S, Pace
from edge.tasks.turns import STEPS, Turns, lag_of

MAX_LAG_S = 0.2
LEAST_S = 0.02


def new_pace() -> Pace:
    return Pace(MAX_LAG_S, random.Random(7))


@dataclass
class Process:
    """Tasks that cost `cost_s` each, spread over the three turns after they began; refusals cost a twentieth."""

    pace: Pace
    cost_s: float
    work_s: deque[float] = field(default_factory=lambda: deque([0.0, 0.0, 0.0]))
    now_s: float = 0.0
    owed: float = 0.0
    began: int = 0

    def run(self, rate: float, seconds: float) -> None:
        """Tasks come at `rate` a second."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            lag_s = self.work_s.popleft()
            self.work_s.append(0.0)
            passed_s = max(LEAST_S, lag_s)
            self.pace.turn(lag_s, lag_s, passed_s)
            self.now_s += passed_s
            self.owed += rate * passed_s
            for _ in range(int(self.owed)):
                self.owed -= 1
                taken = self.pace.take()
                self.began += taken
                spent_s = self.cost_s if taken else self.cost_s / 20
                for number in range(3):
                    self.work_s[number] += spent_s / 3


def test_nothing_is_refused_below_the_lag_however_many_come() -> None:
    pace = new_pace()
    for _ in range(500):
        assert all(pace.take() for _ in range(192))
        pace.turn(MAX_LAG_S, MAX_LAG_S, MAX_LAG_S)
    assert pace.refused == 0


def test_one_long_callback_is_no_lag_and_many_are() -> None:
    assert lag_of([0.0, 0.01, 2.01, 2.02]) == pytest.approx(0.01 * STEPS)
    assert lag_of([0.0, *(0.05 * number for number in range(1, STEPS + 1))]) == pytest.approx(0.05 * STEPS)


def test_three_times_of_what_fits_leaves_nearly_all_of_it_done_and_turns_short() -> None:
    pace = new_pace()
    process = Process(pace, cost_s=0.001)
    process.run(rate=3000.0, seconds=3.0)
    began, lags_s = process.began, []
    for _ in range(100):
        process.run(rate=3000.0, seconds=0.1)
        lags_s.append(pace.lag_s)
    assert process.began - began > 0.85 * 10 * 1000
    assert sorted(lags_s)[95] < MAX_LAG_S


def test_a_second_after_the_load_fits_again_nothing_is_refused() -> None:
    pace = new_pace()
    process = Process(pace, cost_s=0.001)
    process.run(rate=3000.0, seconds=3.0)
    process.run(rate=500.0, seconds=1.5)
    assert not pace.bounded
    refused = pace.refused
    process.run(rate=900.0, seconds=3.0)
    assert pace.refused == refused


def test_even_the_slowest_process_begins_something() -> None:
    pace = new_pace()
    process = Process(pace, cost_s=2.0)
    process.run(rate=2.0, seconds=300.0)
    began = process.began
    process.run(rate=2.0, seconds=300.0)
    assert pace.bounded
    assert process.began > began


@pytest.mark.parametrize(("rate", "latest_s"), [(1500.0, 2), (4000.0, 5), (60_000.0, MOST_RETRY_S)])
def test_the_more_is_refused_the_later_it_should_come_back(rate: float, latest_s: int) -> None:
    pace = new_pace()
    Process(pace, cost_s=0.001).run(rate=rate, seconds=5.0)
    asked = [pace.retry_after_s() for _ in range(500)]
    assert min(asked) == 1
    assert latest_s - 1 <= max(asked) <= latest_s + 1
    assert max(asked) <= MOST_RETRY_S


def test_without_a_lag_nothing_is_timed() -> None:
    turns = Turns(0, random.Random(7), thread_time)
    assert all(turns.take() for _ in range(1000))  # and no loop runs here
    assert turns.status() == {"lag_ms": 0.0, "refused_for_lag": 0}
