"""When a reader asks and when it wakes, without a server."""

import pytest

from bus.nats.pulls import Flow, Rounds

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


def test_the_entry_that_rings_the_bell_waits_for_those_behind_it() -> None:
    rounds = rung()
    rounds.arrived(1.0, pending=0)
    assert not rounds.complete(1)
    assert rounds.request(1.0, 1) is None
    assert rounds.pause_s(1.0) == pytest.approx(LINGER_S)
    gather = rounds.request(1.5, 1)
    assert gather is not None
    assert gather["no_wait"]
    rounds.arrived(1.6, pending=1)
    assert not rounds.complete(2)
    rounds.arrived(1.6, pending=0)
    assert rounds.complete(3)


def test_a_lone_entry_is_handed_out_once_nothing_gathered() -> None:
    rounds = rung()
    rounds.arrived(1.0, pending=0)
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
            rounds.arrived(0.0, pending=500)
        buffered += BATCH
        assert rounds.complete(buffered)
    assert rounds.request(0.0, buffered) is None
    assert rounds.request(0.0, BATCH) is not None


def test_a_busy_log_is_read_once_per_linger_without_a_bell() -> None:
    rounds = rung()
    rounds.arrived(0.0, pending=3)
    now_s = 0.0
    for _ in range(5):
        assert rounds.request(now_s, 0) is None
        now_s += LINGER_S
        request = rounds.request(now_s, 0)
        assert request is not None
        assert request["no_wait"]
        rounds.arrived(now_s, pending=0)


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
    flow.arrived(0.0, pending=0)
    assert flow.complete(1)
    assert flow.pause_s(0.0) is None
