"""The schedule of a run is its seed's, and leaves nobody out."""

from functools import partial

import pytest
from prove.schedule import ACTOR_NAMES, KINDS, LINKS, PROCESSES, TYPES, Fault, clocks, schedule

long = partial(schedule, seconds=180.0, every_s=2.0, longest_s=20.0)


def type_of(fault: Fault) -> str:
    return fault.victim.partition(".")[0]


@pytest.mark.parametrize("seed", [0, 1, 7, 2**40])
def test_the_same_seed_gives_the_same_schedule_and_another_one_another(seed: int) -> None:
    assert long(seed) == long(seed)
    assert long(seed) != long(seed + 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_long_schedule_strikes_every_type_with_kills_and_pauses_and_uses_every_kind(seed: int) -> None:
    faults = long(seed)
    assert [fault.at_s for fault in faults] == [2.0 * (n + 1) for n in range(90)]
    assert {fault.kind for fault in faults} == set(KINDS)
    assert {fault.direction for fault in faults if fault.kind == "hold"} == {"up", "down"}
    for kind in ("kill", "pause"):
        assert {type_of(fault) for fault in faults if fault.kind == kind} == set(TYPES)
    assert {fault.victim for fault in faults} <= {*PROCESSES, *LINKS}
    assert all(1.0 <= fault.for_s <= 20.0 for fault in faults if fault.kind == "pause")


@pytest.mark.parametrize("seed", range(20))
def test_a_short_schedule_uses_every_kind_too(seed: int) -> None:
    faults = schedule(seed, seconds=60.0, every_s=2.0, longest_s=8.0)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert max(fault.for_s for fault in faults if fault.kind == "pause") <= 8.0


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_struck_while_it_suffers(seed: int) -> None:
    until: dict[str, float] = {}
    for fault in long(seed):
        if fault.kind not in ("end_txn", "zombie"):
            assert fault.at_s >= until.get(fault.victim, 0.0)
            until[fault.victim] = fault.at_s + fault.for_s


def test_a_run_of_one_kind_has_no_other() -> None:
    assert {fault.kind for fault in long(3, kinds=("kill",))} == {"kill"}


def test_the_same_seed_gives_the_same_wrong_clocks_and_some_are_minutes_apart() -> None:
    assert clocks(7) == clocks(7) != clocks(8)
    assert set(clocks(7)) == set(ACTOR_NAMES)
    assert all(max(clocks(seed).values()) - min(clocks(seed).values()) > 240 for seed in range(20))
