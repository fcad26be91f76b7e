"""Deltas that wait for their turn in a stream: bounded, in order, each once. No I/O."""

from heapq import heappop, heappush
from typing import Final

from edge.tasks.bookmark import Bookmark
from edge.tasks.items import Said
from schemas.delta import RUN, Delta, run_of

MAX_DELTAS: Final = 64
MAX_BYTES: Final = 16 << 10
"""What waits for one stream, as UTF-8; the token stream on the bus has the rest."""
_HOW: Final = ("utf-8", "surrogatepass")


class Deltas:
    """Fed from replay and live alike: what comes twice or too late falls out when it is looked at."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, bytes]] = []  # a `str` may take four times as much
        self._bytes = 0

    def add(self, delta: Delta) -> bool:
        """Keep it; False when there is no room. One has room, however long it is."""
        return self._add(delta.lease, delta.number, delta.text.encode(*_HOW))

    def join(self, others: "Deltas") -> bool:
        """Take over what the others hold; False when not all of it has room."""
        return all(self._add(*waiting) for waiting in others._waiting)

    def next(self, mark: Bookmark) -> Bookmark | None:
        """The place of the first that lies behind `mark`."""
        while self._waiting and self._waiting[0][:2] <= mark:
            self._pop()
        return Bookmark(*self._waiting[0][:2]) if self._waiting else None

    def take(self, mark: Bookmark) -> Said | None:
        """All that directly continues `mark`, as one; None when nothing does."""
        texts: list[str] = []
        fresh = False
        while (found := self.next(mark)) and _continues(mark, found):
            starts = _starts(found)
            if starts and texts:
                break
            fresh = fresh or starts
            texts.append(self._pop().decode(*_HOW))
            mark = found
        return Said(mark, "".join(texts), fresh) if texts else None

    def _add(self, lease: int, number: int, text: bytes) -> bool:
        if self._waiting and (len(self._waiting) >= MAX_DELTAS or self._bytes + len(text) > MAX_BYTES):
            return False
        heappush(self._waiting, (lease, number, text))
        self._bytes += len(text)
        return True

    def _pop(self) -> bytes:
        text = heappop(self._waiting)[2]
        self._bytes -= len(text)
        return text


def missing(mark: Bookmark, found: Bookmark) -> int:
    """How many deltas of its run are not there before `found`, which does not continue `mark`."""
    same_run = run_of(found.number) == run_of(max(1, mark.number))
    return found.number - 1 - (mark.number if same_run else (run_of(found.number) - 1) * RUN)


def _continues(mark: Bookmark, found: Bookmark) -> bool:
    return found.sequence == mark.sequence and (found.number == mark.number + 1 or _starts(found))


def _starts(found: Bookmark) -> bool:
    return found.number % RUN == 1
