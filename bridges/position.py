"""Where a projection is, and whether that still fits the log: plain decisions, no I/O."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from bridges.judging import ID_CHARS
from bus.port import Entry, LogInfo
from schemas.errors import ProjectionHalted
from schemas.events import read_head
from schemas.message import Unreadable


@dataclass(frozen=True, slots=True)
class Position:
    """The last event a sink holds: its sequence, the log it came from (`LogInfo.created`), and its id."""

    sequence: int
    created: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive entries, none missing: those after position `after` (None: the first ever) up to `up_to`."""

    entries: Sequence[Entry]
    after: Position | None
    up_to: Position


def event_id_of(entry: Entry) -> str:
    """The event's own id, or `sha256:` and a digest of its bytes when it has none that every sink can store."""
    try:
        event_id = read_head(entry.data).event_id
    except Unreadable:
        event_id = ""
    if 0 < len(event_id) <= ID_CHARS and "\0" not in event_id:
        return event_id
    return f"sha256:{hashlib.sha256(entry.data).hexdigest()}"


def check_source(name: str, position: Position | None, info: LogInfo, *, begin_at_oldest: bool) -> None:
    """Raise `ProjectionHalted` unless everything after `position` can be read from the log as it is now."""
    if position is None:
        if info.first > 1 and not begin_at_oldest:
            raise ProjectionHalted(
                f"{name} has no position yet and the log begins at {info.first}: events 1 to {info.first - 1} are "
                "gone. Set begin_at_oldest to begin there."
            )
        return
    if info.created != position.created:
        raise ProjectionHalted(
            f"{name} is at {position.sequence} of the log created {position.created}, but this log was created "
            f"{info.created}: it is another one. Point {name} at the right log, or move it to an empty sink."
        )
    if info.last < position.sequence:
        raise ProjectionHalted(
            f"{name} is at {position.sequence} but the log ends at {info.last}: it lost events, and will use their "
            f"sequences again. Restore the log from a copy that reaches {position.sequence}, or move to an empty sink."
        )
    if info.first > position.sequence + 1:
        raise ProjectionHalted(
            f"{name} is at {position.sequence} but the log begins at {info.first}: the events between were trimmed "
            f"unread. Restore them from a backup of the log, or move {name} to an empty sink with begin_at_oldest."
        )


def check_anchor(name: str, position: Position | None, first: Entry) -> None:
    """Raise `ProjectionHalted` when the entry at the position is not the event the sink holds."""
    if position is None or first.sequence != position.sequence:
        return
    found = event_id_of(first)
    if found != position.event_id:
        raise ProjectionHalted(
            f"{name} holds event {position.event_id} as number {position.sequence}, but the log has {found} there: it "
            "lost events and used their sequences again. Restore the log, or move to an empty sink."
        )


def check_batch(name: str, position: Position | None, entries: Sequence[Entry], *, created: str) -> Batch | None:
    """What is new in `entries`, None when nothing is; raises `ProjectionHalted` at the first missing sequence.

    Without a position the first entry is taken as the beginning: `check_source` has allowed it.
    """
    done = position.sequence if position else entries[0].sequence - 1
    fresh = entries if entries[0].sequence > done else [entry for entry in entries if entry.sequence > done]
    if not fresh:
        return None
    if fresh[-1].sequence - done != len(fresh):  # a reader's sequences strictly increase, so one is missing
        due, found = next((n, e.sequence) for n, e in enumerate(fresh, start=done + 1) if e.sequence != n)
        raise ProjectionHalted(
            f"{name} read event {found} of {created} where {due} was due: something was deleted from the log. "
            f"Restore it, or move {name} to an empty sink."
        )
    return Batch(fresh, position, Position(fresh[-1].sequence, created, event_id_of(fresh[-1])))
