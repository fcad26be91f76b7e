"""When a reader asks and when it wakes, without a server."""

from typing import cast

import pytest

from bus.nats.connection import Connection
from bus.nats.message import Message
from bus.nats.pulls import ROUND_BYTES, Flow, Rounds
from bus.nats.reader import Start, StreamReader

BATCH, LINGER_S = 10, 0.5


def rung(now_s: float = 0.0) -> Rounds:
    """Rounds on a quiet log, with the bell hung up."""
    rounds = Rounds(BATCH, LINGER_S)
    first = rounds.request(now_s, 0)
    assert first is not None
    assert first["no_wait"]
    assert rounds.status(now_s, "404", BATCH, newest=True)
    bell = rounds.request(now_s, 0)
    assert bell is not None
    assert bell["batch"] == 1
    assert "no_wait" not in bell
    return rounds


def come(rounds: Rounds, now_s: float, pending: int) -> None:
    """One message with `pending` more stored behind it."""
    if rounds.arrived():
        rounds.behind(now_s, pending)


def test_the_entry_that_rings_the_bell_waits_for_those_behind_it() -> None:
    rounds = rung()
    come(rounds, 1.0, pending=0)
    assert not rounds.complete(1)
    assert rounds.request(1.0, 1) is None
    assert rounds.pause_s(1.0) == pytest.approx(LINGER_S)
    gather = rounds.request(1.5, 1)
    assert gather is not None
    assert gather["no_wait"]
    come(rounds, 1.6, pending=1)
    assert not rounds.complete(2)
    come(rounds, 1.6, pending=0)
    assert rounds.complete(3)


def test_a_lone_entry_is_handed_out_once_nothing_gathered() -> None:
    rounds = rung()
    come(rounds, 1.0, pending=0)
    assert rounds.request(1.5, 1) is not None
    assert rounds.status(1.5, "404", BATCH, newest=True)
    assert rounds.complete(1)
    bell = rounds.request(1.5, 0)
    assert bell is not None
    assert bell["batch"] == 1


def test_a_backlog_is_asked_for_without_a_pause_up_to_two_batches_ahead() -> None:
    rounds = Rounds(BATCH, LINGER_S)
    buffered = 0
    for _ in range(2):
        assert rounds.request(0.0, buffered) is not None
        for _ in range(BATCH):
            come(rounds, 0.0, pending=500)
        buffered += BATCH
        assert rounds.complete(buffered)
    assert rounds.request(0.0, buffered) is None
    assert rounds.request(0.0, BATCH) is not None


def test_a_busy_log_is_read_once_per_linger_without_a_bell() -> None:
    rounds = rung()
    come(rounds, 0.0, pending=3)
    now_s = 0.0
    for _ in range(5):
        assert rounds.request(now_s, 0) is None
        now_s += LINGER_S
        request = rounds.request(now_s, 0)
        assert request is not None
        assert request["no_wait"]
        come(rounds, now_s, pending=0)


def test_the_late_status_of_an_older_request_changes_nothing() -> None:
    rounds = rung()
    assert rounds.status(0.1, "404", 3, newest=False)
    assert rounds.expects
    assert rounds.request(0.1, 0) is None


@pytest.mark.parametrize("code", ["409", "503"])
def test_a_consumer_that_is_gone_is_told_by_both(code: str) -> None:
    assert not rung().status(0.0, code, 0, newest=True)
    assert not Flow(BATCH).status(0.0, code, 0, newest=True)


def test_flow_keeps_two_requests_open_and_hands_out_at_once() -> None:
    flow = Flow(BATCH)
    assert flow.request(0.0, 0) is not None
    assert flow.request(0.0, 0) is not None
    assert flow.request(0.0, 0) is None
    flow.arrived()
    assert flow.complete(1)
    assert flow.pause_s(0.0) is None


def test_of_a_round_only_its_first_and_its_last_are_looked_at() -> None:
    rounds = Rounds(BATCH, LINGER_S)
    assert rounds.request(0.0, 0) is not None
    looked = []
    for number in range(6):
        looked.append(rounds.arrived())
        if looked[-1]:
            rounds.behind(0.0, pending=5 - number)
    assert looked == [True, False, False, False, False, True]
    assert rounds.complete(6)


def test_a_round_that_others_lengthen_is_read_to_its_new_end() -> None:
    rounds = Rounds(BATCH, LINGER_S)
    assert rounds.request(0.0, 0) is not None
    for pending in (1, 3, 2, 1):
        come(rounds, 0.0, pending=pending)
        assert not rounds.complete(1)
    come(rounds, 0.0, pending=0)
    assert rounds.complete(5)


def test_of_large_entries_a_round_asks_for_fewer() -> None:
    rounds = Rounds(20_000, LINGER_S)
    assert rounds.request(0.0, 0) is not None
    come(rounds, 0.0, pending=0)
    rounds.taken(100, 100 << 18)
    ask = rounds.request(LINGER_S, 0)
    assert ask is not None
    assert ask["batch"] == 128


def walk(size_bytes: int, rounds_of: int) -> list[int]:
    """What each of the rounds over a backlog of entries of that size asks for."""
    rounds, asked = Rounds(5000, LINGER_S), []
    for _ in range(rounds_of):
        ask = rounds.request(0.0, 0)
        assert ask is not None
        asked.append(ask["batch"])
        for _ in range(asked[-1]):
            come(rounds, 0.0, pending=100_000)
        assert rounds.complete(asked[-1])
        rounds.taken(asked[-1], asked[-1] * size_bytes)
    return asked


def test_a_backlog_of_small_entries_is_read_in_full_rounds_from_the_fourth_on() -> None:
    assert walk(500, 5) == [64, 512, 4096, 5000, 5000]


def test_no_round_over_large_entries_brings_more_than_a_hand_out_may_have() -> None:
    assert all(asked * (200 << 10) <= ROUND_BYTES for asked in walk(200 << 10, 5))


def test_what_is_left_of_a_round_is_handed_out_before_more_is_fetched() -> None:
    rounds = Rounds(5000, LINGER_S)
    rounds.taken(64, 64 << 19)
    assert rounds.request(0.0, 65) is None
    assert rounds.complete(65)


async def test_a_hand_out_has_at_most_32_mib_and_at_least_one_message() -> None:
    reader = StreamReader(cast("Connection", None), "LOG", Start(), 5000, LINGER_S)
    sizes = [ROUND_BYTES + 1, ROUND_BYTES // 2, ROUND_BYTES // 2, 1, 1]
    place = "$JS.ACK.LOG.reader.1.%d.%d.1700000000000000000.9"
    reader._buffer.extend(Message("s", place % (n, n), bytes(size)) for n, size in enumerate(sizes, start=1))
    handed_out = []
    while reader._buffer:
        handed_out.append(len(reader._take()))
    assert handed_out == [1, 2, 2]
