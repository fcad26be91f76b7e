"""How old events are when a sink has them: figures for whoever asks, over the last writes."""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

KEPT: Final = 256
"""Writes: at thirty a second, eight seconds."""
_POINTS: Final = 4


class _Write(NamedTuple):
    events: int
    newest_ms: float
    oldest_ms: float


class Lags:
    """Ages of events at their commit, by the log's clock and ours; those of one write are taken for evenly spread."""

    def __init__(self) -> None:
        self._writes: deque[_Write] = deque(maxlen=KEPT)

    def add(self, events: int, oldest_ms: float, newest_ms: float) -> None:
        """One write is committed: of so many events, the first and the last this old."""
        self._writes.append(_Write(events, max(0.0, newest_ms), max(0.0, oldest_ms)))

    def percentiles_ms(self, *shares: float) -> Sequence[float]:
        """For each share, the age that so many of the events did not exceed; 0 before the first write."""
        weighed = sorted(
            (one.newest_ms + (one.oldest_ms - one.newest_ms) * step / (_POINTS - 1), one.events / _POINTS)
            for one in self._writes
            for step in range(_POINTS)
        )
        total = sum(weight for _, weight in weighed)
        return [_at(weighed, share * total) for share in shares]


def _at(weighed: Sequence[tuple[float, float]], weight: float) -> float:
    passed = 0.0
    for age_ms, of_this in weighed:
        passed += of_this
        if passed >= weight:
            return age_ms
    return weighed[-1][0] if weighed else 0.0
