"""How long the log may keep events: a pure decision (DESIGN section 1, "a window, not an archive")."""

from collections.abc import Mapping, Sequence

from schemas.registry import ProjectionPosition

LIFT_SHARE = 0.1
"""The window is lifted when a required projection lags more than this share of it."""


def lag_s(position: ProjectionPosition | None, log_last: int, now_ms: int) -> float:
    """Seconds by which a projection is behind; infinite when it never told where it is in this log.

    A position that stands still below the log's end ages: a dead projection lags more every second. One past the end
    was taken from another log: that projection has read nothing of this one.
    """
    if position is None or position.sequence > log_last:
        return float("inf") if log_last else 0.0
    if position.sequence == log_last:
        return 0.0
    return position.lag_s + max(0, now_ms - position.at_ms) / 1000


def window_s(
    keep_s: float,
    required: Sequence[str],
    positions: Mapping[str, ProjectionPosition],
    log_last: int,
    now_ms: int,
) -> float | None:
    """`keep_s`, or None (keep everything) while anything required lags too far."""
    worst = max((lag_s(positions.get(name), log_last, now_ms) for name in required), default=0.0)
    return None if worst > keep_s * LIFT_SHARE else keep_s
