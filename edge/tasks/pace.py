"""How many submissions may begin in a turn of the process: where its own time is what is scarce, the rest is refused.

A turn is the time that a task's way through this process's loop takes, whatever it waits for elsewhere. What may begin
in one follows from how long turns are, so what is under way here is bounded by time and not by number (ADR 0020).
"""

from random import Random
from typing import Final

TARGET_SHARE: Final = 0.2
"""How long turns shall be while there is more than fits, of the lag from which on that is said."""
GAIN: Final = 0.25
"""Of the error of a turn's length, for what may begin in the next: what has begun is felt for two or three turns."""
MOST_STEP: Final = 2.0
"""By which it changes from one turn to the next, at most."""
LEAST_LAG_S: Final = 1e-6
QUIET_S: Final = 1.0
"""Without a refusal for so long, and nothing is bounded any more; without a submission, and turns are not timed."""
MOST_RETRY_S: Final = 10


class Pace:
    """The bound, and who is refused by it; `turn` is told how long each turn was. Pure: chance is given.

    Off until a turn is longer than it may be: until then nothing is refused, however many requests are under way.
    """

    def __init__(self, max_lag_s: float, rng: Random) -> None:
        self._max_lag_s = max_lag_s
        self._target_s = TARGET_SHARE * max_lag_s
        self._rng = rng
        self._began = 0
        self._turned_away = 0
        self._left = 0.0
        self._quiet_s = 0.0
        self._excess = 0.0
        self.bounded = False
        """Whether something may be refused now."""
        self.bound = 0.0
        """What may begin in a turn, while `bounded`."""
        self.refused = 0
        self.lag_s = 0.0
        """How long the last turn was."""

    @property
    def quiet(self) -> bool:
        """Whether so little happens that turns need not be timed."""
        return not self.bounded and self._quiet_s > QUIET_S

    def take(self) -> bool:
        """Whether one more may begin in this turn."""
        if self.bounded:
            if self._left < 1.0:
                self._turned_away += 1
                self.refused += 1
                return False
            self._left -= 1.0
        self._began += 1
        return True

    def stands(self, lag_s: float) -> bool:
        """Whether a turn that takes so long is reason to refuse, where nothing is refused yet."""
        return lag_s > self._max_lag_s and not self.bounded

    def turn(self, lag_s: float, worked_s: float, passed_s: float) -> None:
        """A turn that takes `lag_s` is over, in which so much was worked and passed."""
        self.lag_s = lag_s
        began, turned_away = self._began, self._turned_away
        self._began = self._turned_away = 0
        if self.bounded:
            self._adapt(lag_s, passed_s, began, turned_away)
            return
        self._quiet_s = 0.0 if began else self._quiet_s + passed_s
        if lag_s > self._max_lag_s:
            self.bounded, self._quiet_s = True, 0.0
            self.bound = self._left = max(1.0, began * self._target_s / max(worked_s, LEAST_LAG_S))

    def retry_after_s(self) -> int:
        """When to come back: what is refused in a second takes `excess` seconds to be done, and is spread over them."""
        return min(MOST_RETRY_S, 1 + int(self._rng.random() * (1.0 + self._excess)))

    def _adapt(self, lag_s: float, passed_s: float, began: int, turned_away: int) -> None:
        self._quiet_s = 0.0 if turned_away else self._quiet_s + passed_s
        self._excess += GAIN * (turned_away / max(1, began) - self._excess)
        if self._quiet_s > QUIET_S:
            self.bounded, self._quiet_s, self._excess = False, 0.0, 0.0
        elif turned_away or lag_s > self._target_s:
            step = (self._target_s / max(lag_s, LEAST_LAG_S)) ** GAIN
            self.bound = max(1.0, self.bound * min(MOST_STEP, max(1 / MOST_STEP, step)))
        self._left = min(self._left, 1.0) + self.bound
