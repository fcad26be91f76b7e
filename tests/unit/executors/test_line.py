"""The line of one cell: who runs, who waits, and what becomes of them."""

import pytest

from executors.wasm.line import GRACE_S, SLOW_S, Line, Place


def run(owner: str, timeout_s: float = 1.0, deadline: float = 100.0) -> Place[str]:
    return Place(owner, timeout_s, deadline)


def line_of(*places: Place[str], now: float = 0.0) -> Line[str]:
    line: Line[str] = Line(depth=4)
    for place in places:
        line.add(place, now)
    return line


def overdue(line: Line[str], now: float) -> str | None:
    place = line.overdue(now)
    return place.owner if place else None


def test_an_empty_line_has_all_its_room_and_nothing_overdue() -> None:
    line = line_of()
    assert (len(line), line.room(5.0), line.overdue(5.0), line.broken()) == (0, 4, None, (None, []))


def test_a_full_line_has_no_room() -> None:
    assert line_of(run("a"), run("b"), run("c"), run("d")).room(0.0) == 0


def test_nothing_is_put_behind_a_head_that_runs_long() -> None:
    line = line_of(run("a"))
    assert line.room(SLOW_S / 2) == 3
    assert line.room(SLOW_S * 2) == 0


def test_answers_come_in_order_and_the_next_head_is_young_again() -> None:
    line = line_of(run("a"), run("b"))
    assert line.answered(0.5).owner == "a"
    assert line.room(0.5) == 3
    assert line.answered(0.6).owner == "b"


def test_an_answer_to_nothing_is_an_error() -> None:
    with pytest.raises(IndexError):
        line_of().answered(0.0)


def test_the_watchdog_counts_from_when_a_request_became_head() -> None:
    line = line_of(run("a", timeout_s=1.0), run("b", timeout_s=1.0))
    line.answered(0.9)
    assert overdue(line, 0.9 + 1.0 + GRACE_S) is None
    assert overdue(line, 0.9 + 1.0 + GRACE_S * 2) == "b"


def test_a_deadline_sooner_than_the_guests_own_time_counts() -> None:
    line = line_of(run("a", timeout_s=10.0, deadline=0.2))
    assert overdue(line, 0.2) is None
    assert overdue(line, 0.2 + GRACE_S * 2) == "a"


def test_a_head_whose_deadline_passed_in_line_gets_a_moment_to_say_so() -> None:
    line = line_of(run("a"), run("b", deadline=0.1))
    line.answered(0.5)
    assert overdue(line, 0.5 + GRACE_S / 2) is None
    assert overdue(line, 0.5 + GRACE_S * 2) == "b"


def test_abandoning_the_head_takes_its_cell() -> None:
    assert line_of(run("a"), run("b")).abandon("a") is True


def test_abandoning_one_that_waits_spares_the_cell() -> None:
    line = line_of(run("a"), run("b"), run("c"))
    assert line.abandon("b") is False
    assert line.owners() == ["a", "c"]


def test_abandoning_a_stranger_changes_nothing() -> None:
    line = line_of(run("a"))
    assert line.abandon("z") is False
    assert line.owners() == ["a"]


def test_an_abandoned_request_that_comes_to_run_may_not_hold_the_line() -> None:
    line = line_of(run("a"), run("b", timeout_s=10.0))
    line.abandon("b")
    line.answered(1.0)
    assert overdue(line, 1.0 + GRACE_S / 2) is None
    assert overdue(line, 1.0 + GRACE_S * 2) == "b"


def test_a_load_is_not_the_run_of_its_owner() -> None:
    line = line_of(Place("a", 20.0, is_load=True), run("a"))
    assert line.abandon("a") is False


def test_only_those_behind_the_head_expire_unstarted() -> None:
    line = line_of(run("a", deadline=1.0), run("b", deadline=1.0), run("c", deadline=9.0))
    assert line.expired(2.0) == ["b"]
    line.abandon("b")
    assert line.expired(2.0) == []


def test_a_broken_line_gives_back_all_but_the_one_that_ran() -> None:
    line = line_of(run("a"), run("b"), run("c"), run("d"))
    line.abandon("c")
    head, waiting = line.broken()
    assert head is not None
    assert (head.owner, waiting, len(line)) == ("a", ["b", "d"], 0)


def test_a_cell_that_dies_loading_names_the_owner_once() -> None:
    head, waiting = line_of(Place("a", 20.0, is_load=True), run("a"), run("b")).broken()
    assert head is not None
    assert (head.owner, head.is_load, waiting) == ("a", True, ["b"])


def test_a_load_in_the_middle_is_forgotten_and_its_owner_goes_on() -> None:
    _, waiting = line_of(run("a"), Place("b", 20.0, is_load=True), run("b")).broken()
    assert waiting == ["b"]
