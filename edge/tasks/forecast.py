"""How long a task that comes now would wait: Little's law over the queue and the speed at which tasks end. Pure."""

from typing import Final

BUSY: Final = 64
"""Tasks under way from which on the speed at which they end says what the system can do, and not what it was asked."""
STALE_S: Final = 60.0
SMOOTHING: Final = 0.5


class Forecast:
    """Learns from looks at the queue; between two of them it counts what this edge took and what ended anywhere.

    Of other edges it knows what they took only from the next look. It knows nothing, and says 0, until the queue was
    busy over two looks in a row, and again when that was long ago.
    """

    def __init__(self) -> None:
        self._looked_s = 0.0
        self._backlog = 0
        self._ended = 0
        self._taken = 0
        self._learned_s = 0.0
        self.rate: float | None = None
        """Tasks that end in a second while many are under way."""

    def look(self, backlog: int, ended: int, now_s: float) -> None:
        """So many are under way, and so many have ended since the start."""
        passed_s = now_s - self._looked_s
        if min(backlog, self._backlog) >= BUSY and passed_s > 0:
            self._learn((ended - self._ended) / passed_s, now_s)
        elif now_s - self._learned_s > STALE_S:
            self.rate = None
        self._looked_s, self._backlog, self._ended, self._taken = now_s, backlog, ended, 0

    def took(self) -> None:
        """One more was taken."""
        self._taken += 1

    def wait_s(self, ended: int) -> float:
        """About how long until a task that is taken now has ended, 0 while that is not known or none waits."""
        under_way = self._backlog + self._taken - (ended - self._ended)
        return under_way / self.rate if self.rate and under_way >= BUSY else 0.0

    def _learn(self, rate: float, now_s: float) -> None:
        self.rate = rate if self.rate is None else self.rate + SMOOTHING * (rate - self.rate)
        self._learned_s = now_s
