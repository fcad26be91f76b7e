from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Conflict
from schemas.lifecycle import FOLLOWS, check_history, may_follow

KINDS = ("accepted", "routed", "started", "attempt_failed", "ended")
ALLOWED = {
    (None, "accepted"),
    ("accepted", "routed"),
    ("accepted", "ended"),
    ("routed", "started"),
    ("routed", "attempt_failed"),
    ("routed", "ended"),
    ("started", "attempt_failed"),
    ("started", "ended"),
    ("attempt_failed", "routed"),
    ("attempt_failed", "ended"),
}
histories = st.lists(st.sampled_from(KINDS), max_size=8)


def test_exactly_the_designed_steps_are_allowed() -> None:
    assert {(a, b) for a, b in product((None, *KINDS), KINDS) if may_follow(a, b)} == ALLOWED


def test_every_event_of_the_log_has_a_place_in_the_machine() -> None:
    assert set(FOLLOWS) == {None, *KINDS}


def test_nothing_follows_an_end_and_every_state_can_end() -> None:
    assert FOLLOWS["ended"] == frozenset()
    assert all("ended" in FOLLOWS[kind] for kind in KINDS if kind != "ended")


@given(kinds=histories)
def test_a_history_passes_exactly_when_each_of_its_steps_does(kinds: list[str], event_of: Callable[[str], Any]) -> None:
    events = [event_of(kind) for kind in kinds]
    if all(step in ALLOWED for step in pairwise([None, *kinds])):
        check_history(events)
        return
    with pytest.raises(Conflict):
        check_history(events)


def test_the_first_wrong_step_is_named(event_of: Callable[[str], Any]) -> None:
    with pytest.raises(Conflict, match="event 2 of task t-1 is routed after ended"):
        check_history([event_of(kind) for kind in ("accepted", "ended", "routed", "started")])
