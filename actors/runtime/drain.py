"""The drain of one actor as a state machine, without clock or I/O.

    serving -> finishing -> giving back -> closed
       |           `--- all done -----------^
       `-- bus gone -> giving back

A drain only ever moves to the right; asking again changes nothing but the exit code, which keeps the worst.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never


class Phase(StrEnum):
    """Where a drain stands."""

    SERVING = "serving"
    FINISHING = "finishing"
    GIVING_BACK = "giving_back"
    CLOSED = "closed"


class Reason(StrEnum):
    """Why an actor drains."""

    SIGNAL = "signal"
    CONTROL = "control"
    FAILED = "failed"
    BUS_GONE = "bus_gone"


GIVE_BACK_S: Final = 5.0
"""How long cancelled handlers have to let go; after it the redelivery timers of the bus do the rest."""


def exit_code(reason: Reason) -> int:
    """0 when somebody asked, 1 when an actor failed, 75 (EX_TEMPFAIL of sysexits.h) when the bus is gone for good."""
    match reason:
        case Reason.SIGNAL | Reason.CONTROL:
            return 0
        case Reason.FAILED:
            return 1
        case Reason.BUS_GONE:
            return 75
        case _:
            assert_never(reason)


@dataclass(frozen=True, slots=True)
class Drain:
    """One moment of a drain. Times are seconds of any monotonic clock."""

    grace_s: float
    phase: Phase = Phase.SERVING
    until_s: float | None = None
    exit_code: int = 0

    def ask(self, reason: Reason, now_s: float) -> "Drain":
        """Start draining; without a bus there is nothing to finish for, so the grace is skipped."""
        asked = replace(self, exit_code=max(self.exit_code, exit_code(reason)))
        if reason is Reason.BUS_GONE and self.phase in (Phase.SERVING, Phase.FINISHING):
            return replace(asked, phase=Phase.GIVING_BACK, until_s=now_s + GIVE_BACK_S)
        if self.phase is Phase.SERVING:
            return replace(asked, phase=Phase.FINISHING, until_s=now_s + self.grace_s)
        return asked

    def step(self, now_s: float, *, idle: bool) -> "Drain":
        """The state after looking once; `idle` says that nothing is in flight any more."""
        if self.phase in (Phase.SERVING, Phase.CLOSED) or self.until_s is None:
            return self
        if idle:
            return replace(self, phase=Phase.CLOSED, until_s=None)
        if now_s < self.until_s:
            return self
        if self.phase is Phase.FINISHING:
            return replace(self, phase=Phase.GIVING_BACK, until_s=now_s + GIVE_BACK_S)
        return replace(self, phase=Phase.CLOSED, until_s=None)

    def remaining_s(self, now_s: float) -> float:
        """How long the present phase may still take; 0 outside a drain."""
        return 0.0 if self.until_s is None else max(0.0, self.until_s - now_s)
