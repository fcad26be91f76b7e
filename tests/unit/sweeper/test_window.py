from actors.sweeper.window import lag_s, window_s
from schemas.registry import ProjectionPosition

KEEP_S = 3600.0


def position(name: str, sequence: int, *, lag: float = 0.0, at_ms: int = 0) -> ProjectionPosition:
    return ProjectionPosition(projection=name, sequence=sequence, head=sequence, lag_s=lag, at_ms=at_ms)


def test_the_window_stands_when_all_required_projections_are_near_the_end() -> None:
    positions = {"kafka": position("kafka", 99, lag=1), "ledger": position("ledger", 100)}
    assert window_s(KEEP_S, ("kafka", "ledger"), positions, log_last=100, now_ms=1000) == KEEP_S


def test_a_projection_that_lags_a_tenth_of_the_window_lifts_it() -> None:
    positions = {"kafka": position("kafka", 5, lag=361)}
    assert window_s(KEEP_S, ("kafka",), positions, log_last=100, now_ms=0) is None


def test_a_projection_that_never_spoke_lifts_the_window_once_there_is_something_to_lose() -> None:
    assert window_s(KEEP_S, ("kafka",), {}, log_last=0, now_ms=0) == KEEP_S
    assert window_s(KEEP_S, ("kafka",), {}, log_last=1, now_ms=0) is None


def test_a_dead_projection_lags_more_every_second() -> None:
    stopped = position("kafka", 5, lag=2, at_ms=10_000)
    assert lag_s(stopped, log_last=6, now_ms=70_000) == 62


def test_a_dead_projection_of_a_quiet_log_does_not_lag() -> None:
    assert lag_s(position("kafka", 6, at_ms=0), log_last=6, now_ms=10**9) == 0


def test_a_projection_that_is_not_required_is_not_waited_for() -> None:
    assert window_s(KEEP_S, (), {}, log_last=100, now_ms=0) == KEEP_S


def test_a_position_past_the_end_of_the_log_was_taken_from_another_one() -> None:
    positions = {"kafka": position("kafka", 1_000_000, at_ms=1000)}
    assert window_s(KEEP_S, ("kafka",), positions, log_last=5, now_ms=1000) is None
