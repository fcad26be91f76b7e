"""Where a sweeper that starts may begin to read: plain decisions, no I/O (ADR 0013)."""

import hashlib

from bus.port import Entry, LogInfo
from schemas.registry import SweepMark

KEY = "sweeper"
"""In the bucket `POSITIONS`. Whichever sweeper wrote last is right: a mark stays true."""


def mark_of(oldest_open: int | None, newest: Entry, created: str) -> SweepMark:
    """The mark of who has read the log `created` up to `newest`, and knows which task is the oldest open one."""
    low = newest.sequence + 1 if oldest_open is None else oldest_open
    return SweepMark(created=created, low=low, seen=newest.sequence, seen_sha256=_digest(newest))


def fits(mark: SweepMark, info: LogInfo) -> bool:
    """Whether the mark may be of this log: its creation agrees, and the event by which to tell is there."""
    return mark.created == info.created and info.first <= mark.seen <= info.last


def holds(mark: SweepMark, entry: Entry) -> bool:
    """Whether `entry`, the first at or after `mark.seen`, is the event that was seen there.

    It is not in a log that was restored from an older copy and went on from there: what the mark says has not
    happened in it.
    """
    return entry.sequence == mark.seen and _digest(entry) == mark.seen_sha256


def begin_after(mark: SweepMark) -> int:
    """The sequence after which to read, so that the event by which to tell comes as well."""
    return min(mark.low, mark.seen) - 1


def _digest(entry: Entry) -> str:
    return hashlib.sha256(entry.data).hexdigest()
