"""The state machine of a task: which event may follow which, and what a history amounts to."""

from collections.abc import Iterable
from typing import Final

from schemas.errors import Conflict
from schemas.events import TaskEvent

FOLLOWS: Final[dict[str | None, frozenset[str]]] = {
    None: frozenset({"accepted"}),
    "accepted": frozenset({"routed", "ended"}),
    "routed": frozenset({"started", "attempt_failed", "ended"}),
    "started": frozenset({"attempt_failed", "ended"}),
    "attempt_failed": frozenset({"routed", "ended"}),
    "ended": frozenset(),
}
"""DESIGN section 1. A task may be ended from any state, and by one event only."""


def may_follow(previous: str | None, event: str) -> bool:
    """Whether `event` may be appended after `previous` (None: the task does not exist yet)."""
    return event in FOLLOWS[previous]


def check_history(events: Iterable[TaskEvent]) -> None:
    """Raise `Conflict` naming the first step that the state machine does not allow."""
    previous: str | None = None
    for number, event in enumerate(events):
        if not may_follow(previous, event.event):
            raise Conflict(f"event {number} of task {event.task_id} is {event.event} after {previous}")
        previous = event.event
