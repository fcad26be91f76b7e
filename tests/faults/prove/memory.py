"""What the clients remember: for the checker, and for the figures."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from checker.history import Reading, Submission


class Operation(NamedTuple):
    """One thing a client wanted, with all of its attempts. `answered`: it got an answer that settles it."""

    what: str
    answered: bool
    attempts: int
    latency_s: float
    last: str


@dataclass
class Memory:
    """Grows while the clients run. `troubles` counts attempts that did not settle anything, by what was seen.

    `complaints` are answers that no client can act on or that break the documented form: each one is a bug.
    """

    submissions: list[Submission] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    replays: int = 0

    @property
    def given_up(self) -> list[Operation]:
        """What clients did not get, although they tried as the documentation says."""
        return [operation for operation in self.operations if not operation.answered]

    def late_s(self, share: float) -> float:
        """A quantile of the time that submissions took, retries included."""
        times = sorted(o.latency_s for o in self.operations if o.what == "submit" and o.answered)
        return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0
