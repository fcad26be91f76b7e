"""The drain as a state machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.drain import GIVE_BACK_S, Drain, Phase, Reason, exit_code

ORDER = list(Phase)


def test_a_drain_that_finishes_in_time_gives_nothing_back() -> None:
    drain = Drain(20).ask(Reason.SIGNAL, 100)
    assert drain.phase is Phase.FINISHING
    assert drain.remaining_s(105) == 15
    assert drain.step(105, idle=False).phase is Phase.FINISHING
    assert drain.step(106, idle=True).phase is Phase.CLOSED


def test_after_the_grace_the_rest_is_given_back_and_after_that_it_closes_anyway() -> None:
    drain = Drain(20).ask(Reason.SIGNAL, 100).step(120, idle=False)
    assert drain.phase is Phase.GIVING_BACK
    assert drain.step(120 + GIVE_BACK_S - 0.1, idle=False).phase is Phase.GIVING_BACK
    assert drain.step(120 + GIVE_BACK_S, idle=False).phase is Phase.CLOSED


def test_a_bus_that_is_gone_leaves_nothing_to_finish() -> None:
    assert Drain(20).ask(Reason.BUS_GONE, 1).phase is Phase.GIVING_BACK
    assert Drain(20).ask(Reason.SIGNAL, 1).ask(Reason.BUS_GONE, 2).phase is Phase.GIVING_BACK


def test_asking_again_does_not_extend_the_grace() -> None:
    once = Drain(20).ask(Reason.SIGNAL, 100)
    assert once.ask(Reason.CONTROL, 110) == once


@pytest.mark.parametrize(
    ("reasons", "code"),
    [
        ([Reason.SIGNAL], 0),
        ([Reason.CONTROL], 0),
        ([Reason.SIGNAL, Reason.FAILED], 1),
        ([Reason.FAILED, Reason.SIGNAL], 1),
        ([Reason.SIGNAL, Reason.BUS_GONE], 75),
    ],
)
def test_the_exit_code_keeps_the_worst_reason(reasons: list[Reason], code: int) -> None:
    drain = Drain(1)
    for reason in reasons:
        drain = drain.ask(reason, 0)
    assert drain.exit_code == code


def test_serving_never_ends_by_itself() -> None:
    drain = Drain(0)
    assert drain.step(1e9, idle=True) == drain


steps = st.lists(st.tuples(st.one_of(st.none(), st.sampled_from(Reason)), st.floats(0, 30), st.booleans()), max_size=30)


@given(st.floats(0, 60), steps)
def test_a_drain_only_moves_on_and_always_ends(grace_s: float, moves: list[tuple[Reason | None, float, bool]]) -> None:
    drain, now_s = Drain(grace_s), 0.0
    for reason, passed_s, idle in moves:
        now_s += passed_s
        before = drain
        drain = drain.ask(reason, now_s) if reason else drain.step(now_s, idle=idle)
        assert ORDER.index(drain.phase) >= ORDER.index(before.phase)
        assert drain.exit_code >= before.exit_code
    drain = drain.ask(Reason.SIGNAL, now_s)
    for _ in range(2):
        now_s += grace_s + GIVE_BACK_S
        drain = drain.step(now_s, idle=False)
    assert drain.phase is Phase.CLOSED
    assert exit_code(Reason.SIGNAL) == 0
