"""The server's half of the token stream: short, bounded, in memory as on the real server."""

from collections import deque
from collections.abc import Callable

from bus.port import Entry

_MAX_ENTRIES = 100_000


class TokenStore:
    """One ordered stream over all tasks; the oldest go when they are past `keep_s` or too many."""

    def __init__(self, now_ns: Callable[[], int], *, keep_s: float) -> None:
        self._now_ns = now_ns
        self._keep_ns = round(keep_s * 1e9)
        self._entries: deque[Entry] = deque(maxlen=_MAX_ENTRIES)
        self._by_subject: dict[str, deque[Entry]] = {}
        self._sequence = 0
        self.listeners: dict[object, Callable[[str, bytes], None]] = {}

    def append(self, subject: str, data: bytes) -> None:
        """Store one delta."""
        self._trim()
        self._sequence += 1
        entry = Entry(self._sequence, self._now_ns(), subject, data)
        self._entries.append(entry)
        self._by_subject.setdefault(subject, deque()).append(entry)
        for listener in list(self.listeners.values()):
            listener(subject, data)

    def lose(self) -> None:
        """Forget all, as a server that restarts does: its sequences begin anew."""
        self._entries.clear()
        self._by_subject.clear()
        self._sequence = 0

    def after(self, subject: str, sequence: int) -> list[Entry]:
        """The subject's deltas that follow `sequence`."""
        self._trim()
        return [entry for entry in self._by_subject.get(subject, ()) if entry.sequence > sequence]

    def _trim(self) -> None:
        oldest_ns = self._now_ns() - self._keep_ns
        while self._entries and (self._entries[0].at_ns < oldest_ns or len(self._entries) == _MAX_ENTRIES):
            entry = self._entries.popleft()
            own = self._by_subject[entry.subject]
            own.popleft()
            if not own:
                del self._by_subject[entry.subject]
