"""The turns of this process, timed while submissions come: what every door asks before it begins one."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from random import Random
from typing import Final

from edge.tasks.pace import Pace
from schemas.errors import Overloaded

STEPS: Final = 8
"""Times that a task waits for the loop on its way from the first byte to the last, apart from what it waits for."""
ENOUGH: Final = 4
"""Steps after which a turn that is too long whatever comes need not be waited for."""
LEAST_S: Final = 0.020
"""From the beginning of a turn to that of the next, at least: an idle process must sleep."""


class Turns:
    """A `Pace` on the running loop. A turn is `STEPS` callbacks, each behind all that the loop had to do before it.

    What counts is the time that this thread worked meanwhile: a process that waits for a core has no more to do for it,
    and one that was stopped neither. `max_lag_ms` 0 refuses nothing and times nothing.
    """

    def __init__(self, max_lag_ms: float, rng: Random, worked_s: Callable[[], float]) -> None:
        self.pace = Pace(max_lag_ms / 1000, rng)
        self._worked_s = worked_s
        self._began_s = 0.0
        self._steps_s: list[float] = []
        """What had been worked when each step of this turn was done, and before them when it began."""
        self._next: asyncio.Handle | None = None
        self._timed = not max_lag_ms
        """Whether turns are timed; where nothing is refused, as if they were."""

    def take(self) -> bool:
        """Whether one more submission may begin now; what may begin was counted."""
        if not self._timed:
            self._timed = True
            self._begin()
        return self.pace.take()

    def check(self) -> None:
        """The same. Raises `Overloaded`, with when to come back, when it may not."""
        if not self.take():
            raise refusal(self.pace.retry_after_s())

    def status(self) -> Mapping[str, object]:
        """Figures for discovery."""
        return {"lag_ms": round(self.pace.lag_s * 1000, 1), "refused_for_lag": self.pace.refused}

    def close(self) -> None:
        """Time no more turns."""
        if self._next is not None:
            self._next.cancel()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._began_s, self._steps_s = loop.time(), [self._worked_s()]
        self._next = loop.call_soon(self._step)

    def _step(self) -> None:
        loop, steps_s = asyncio.get_running_loop(), self._steps_s
        steps_s.append(self._worked_s())
        done = len(steps_s) - 1
        if done == STEPS or (done >= ENOUGH and self.pace.stands(lag_of(steps_s))):
            self._next = loop.call_at(self._began_s + LEAST_S, self._turn)
        else:
            self._next = loop.call_soon(self._step)

    def _turn(self) -> None:
        steps_s, took_s = self._steps_s, asyncio.get_running_loop().time() - self._began_s
        self.pace.turn(lag_of(steps_s), self._worked_s() - steps_s[0], took_s)
        if self.pace.quiet:
            self._timed = False
        else:
            self._begin()


def lag_of(steps_s: Sequence[float]) -> float:
    """How long a turn takes of which these steps are done, the first of them its beginning.

    The longest is left out: one callback that takes long holds up a turn, and no other after it.
    """
    waits_s = [after_s - before_s for before_s, after_s in pairwise(steps_s)]
    return (sum(waits_s) - max(waits_s)) * STEPS / (len(waits_s) - 1)


def refusal(retry_after_s: int) -> Overloaded:
    """What those are told that may not begin."""
    message = "this edge has more to do than it can: nothing was accepted, send the request again"
    return Overloaded(message, retry_after_s=retry_after_s)
