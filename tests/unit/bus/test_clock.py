"""A server's clock from afar: never further off than the fastest answer since the last step could leave it."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.clock import ServerClock

S = 1_000_000_000
EPOCH_NS = 1_800_000_000 * S


@dataclass
class Machine:
    """A process and a server, `behind_ns` apart; `passed_ns` is what went by since both began."""

    behind_ns: int
    passed_ns: int = 0

    def own_ns(self) -> int:
        return EPOCH_NS + self.passed_ns - self.behind_ns

    def monotonic_ns(self) -> int:
        return 77 * S + self.passed_ns

    @property
    def server_ns(self) -> int:
        return EPOCH_NS + self.passed_ns

    def ask(self, clock: ServerClock, there_ns: int, back_ns: int) -> float:
        asked_ns = clock.asked()
        self.passed_ns += there_ns
        said_ns = self.server_ns
        self.passed_ns += back_ns
        return clock.told(said_ns, asked_ns)


def new_clock(machine: Machine) -> ServerClock:
    return ServerClock(machine.own_ns, machine.monotonic_ns)


def test_until_the_server_has_told_it_is_the_machine_s_own() -> None:
    machine = Machine(behind_ns=300 * S)
    assert new_clock(machine).now_ms() == machine.own_ns() // 1_000_000


delays = st.integers(min_value=0, max_value=20 * S)


@given(st.integers(-400 * S, 400 * S), st.lists(st.tuples(delays, delays, delays), min_size=1, max_size=8))
def test_it_is_never_further_off_than_the_fastest_answer_took(
    behind_ns: int, answers: list[tuple[int, int, int]]
) -> None:
    machine = Machine(behind_ns)
    clock = new_clock(machine)
    fastest_ns = 400 * S
    for there_ns, back_ns, rest_ns in answers:
        machine.ask(clock, there_ns, back_ns)
        machine.passed_ns += rest_ns
        fastest_ns = min(fastest_ns, there_ns + back_ns)
        assert abs(clock.now_ms() - machine.server_ns // 1_000_000) <= fastest_ns // 1_000_000 + 1


def test_an_answer_that_took_long_moves_nothing_that_was_known_better() -> None:
    machine = Machine(behind_ns=-250 * S)
    clock = new_clock(machine)
    assert machine.ask(clock, S // 1000, S // 1000) == pytest.approx(-250, abs=0.01)
    assert machine.ask(clock, 15 * S, 0) == 0
    assert clock.ahead_ms() == pytest.approx(250_000, abs=2)


@given(st.integers(-400 * S, 400 * S), delays, delays)
def test_the_first_answer_leaves_it_wrong_by_half_of_what_it_took_at_most(
    behind_ns: int, there: int, back: int
) -> None:
    machine = Machine(behind_ns)
    clock = new_clock(machine)
    machine.ask(clock, there, back)
    best_ns = max(abs(behind_ns) if abs(behind_ns) <= there + back else 0, (there + back) // 2)
    assert abs(clock.now_ms() - machine.server_ns // 1_000_000) <= best_ns // 1_000_000 + 1


def test_a_machine_that_sets_its_own_clock_does_not_set_this_one() -> None:
    machine = Machine(behind_ns=0)
    clock = new_clock(machine)
    machine.ask(clock, 1000, 1000)
    machine.behind_ns = 3600 * S
    assert clock.now_ms() == machine.server_ns // 1_000_000
    assert clock.ahead_ms() == -3_600_000
