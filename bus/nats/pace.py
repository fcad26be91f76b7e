"""When appends are worth grouping: a small state machine over measured latencies, without I/O."""

_FIRST_GUESS_S = 0.00025
_SHORTEST_S, _LONGEST_S = 0.00005, 0.05
_WEIGHT = 0.1


class Pace:
    """How many single appends may be in flight before the next ones are grouped.

    The server stores singles one after the other, each with its own fsync, so the last of n waits n times the cost
    of one. Past `worth_s` a batch is cheaper, whose own cost is about that (measured: 32 appends on a quiet disk
    with 0.25 ms per fsync, and 2 on a busy one with 4 ms).
    """

    def __init__(self, worth_s: float, most: int) -> None:
        self._worth_s = worth_s
        self._most = most
        self._cost_s = _FIRST_GUESS_S

    @property
    def singles(self) -> int:
        """At least 2, at most `most`."""
        return max(2, min(self._most, round(self._worth_s / self._cost_s)))

    def took(self, latency_s: float, in_flight: int) -> None:
        """A single append came back; `in_flight` singles, itself included, were open when it was sent."""
        cost_s = min(_LONGEST_S, max(_SHORTEST_S, latency_s / max(1, in_flight)))
        self._cost_s += _WEIGHT * (cost_s - self._cost_s)
