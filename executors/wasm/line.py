"""One cell's line: what it was sent and has not answered yet, oldest first. No I/O; time is a parameter."""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

GRACE_S = 0.05
SLOW_S = 0.005
NO_DEADLINE = float("inf")


@dataclass(slots=True)
class Place(Generic[T]):
    """Something sent for `owner`: a run with the guest's own `timeout_s`, or the load before it."""

    owner: T
    timeout_s: float
    deadline: float = NO_DEADLINE
    is_load: bool = False
    abandoned: bool = False


class Line(Generic[T]):
    """A cell answers in order, so its oldest place is the one that runs: the head. All times are monotonic seconds.

    The watchdog's time counts from when a place became head. Nothing is put behind a head that runs for longer than
    `SLOW_S` already: what waits in a line cannot go to another cell that gets free.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._places: deque[Place[T]] = deque()
        self._head_since = 0.0

    def __len__(self) -> int:
        """Places in it, the head included."""
        return len(self._places)

    def room(self, now: float) -> int:
        """How many more may be sent."""
        if self._places and now - self._head_since > SLOW_S:
            return 0
        return self._depth - len(self._places)

    def add(self, place: Place[T], now: float) -> None:
        """It was sent."""
        if not self._places:
            self._head_since = now
        self._places.append(place)

    @property
    def head(self) -> Place[T] | None:
        """What runs."""
        return self._places[0] if self._places else None

    def answered(self, now: float) -> Place[T]:
        """The head was answered, and the next one runs. `IndexError` when nothing was asked."""
        self._head_since = now
        return self._places.popleft()

    def abandon(self, owner: T) -> bool:
        """Nobody waits for `owner` any more. True when it runs, so that only its cell's death can end it."""
        for place in self._places:
            if place.owner is owner:
                place.abandoned = True
        head = self._places[0] if self._places else None
        return head is not None and head.owner is owner and not head.is_load

    def overdue(self, now: float) -> Place[T] | None:
        """The head, when it should have been stopped by itself `GRACE_S` ago. One abandoned in line gets no more."""
        if not self._places:
            return None
        head, since = self._places[0], self._head_since
        allowed_s = 0.0 if head.abandoned else min(head.timeout_s, max(0.0, head.deadline - since))
        return head if now - since > allowed_s + GRACE_S else None

    def expired(self, now: float) -> list[T]:
        """The owners whose deadline passed while they waited behind the head."""
        return [place.owner for place in list(self._places)[1:] if place.deadline <= now and not place.abandoned]

    def owners(self) -> list[T]:
        """Who waits for an answer."""
        return [place.owner for place in self._places if not place.abandoned]

    def broken(self) -> tuple[Place[T] | None, list[T]]:
        """The cell died: the place that it took along, and the owners that never started. Empties the line."""
        head = self._places.popleft() if self._places else None
        lost = head.owner if head else None
        waiting = [p.owner for p in self._places if not (p.is_load or p.abandoned or p.owner is lost)]
        self._places.clear()
        return head, waiting
