"""The bus of a simulation: the twin, with a wire that takes time and counters of what really happened."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

from simulation.loop import PROCESS

from bus.memory.link import Link
from bus.memory.log_store import LogStore
from bus.memory.server import MemoryServer
from bus.port import Entry
from schemas.errors import LogFull, WrongSequence
from schemas.events import TaskEvent

EPOCH_NS = 1_800_000_000 * 10**9
"""When every simulation begins: a fixed moment, so that ids and times are the same in each run."""


class Figures:
    """How often each thing happened; a fault counts where it had its effect, not where it was planned."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, what: str, times: int = 1) -> None:
        """It happened."""
        self.counts[what] += times


class WatchedStore(LogStore):
    """Keeps every entry ever stored, also trimmed ones, and counts what it refused to whom."""

    def __init__(self, figures: Figures, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._figures = figures
        self.record: list[Entry] = []
        self.listeners[self] = self.record.append

    def append(self, event: TaskEvent, after: int) -> int:
        """See `LogStore.append`."""
        before = self.last_sequence
        try:
            sequence = super().append(event, after)
        except WrongSequence:
            process = PROCESS.get()
            self._figures.count("refused compare-and-set")
            if process.resumed:
                self._figures.count("refused append of a resumed process")
            raise
        except LogFull:
            self._figures.count("refused by a full log")
            raise
        if sequence <= before:
            self._figures.count("append repeated after an unknown outcome")
        return sequence


class SimulatedServer(MemoryServer):
    """A twin whose log is watched."""

    log: WatchedStore

    def __init__(self, figures: Figures, *, max_age_s: float) -> None:
        super().__init__(_now_ns, max_age_s=max_age_s)
        self._figures = figures
        self.log = WatchedStore(
            figures, now_ns=_now_ns, max_bytes=1 << 30, max_age_s=max_age_s, max_payload_bytes=1 << 20
        )

    def ack_is_lost(self) -> bool:
        """See `MemoryServer.ack_is_lost`."""
        lost = super().ack_is_lost()
        self._figures.counts["lost acknowledgement"] += lost
        return lost

    @property
    def redelivered(self) -> int:
        """Deliveries that were not the first of their entry."""
        return sum(cursor.redelivered for cursor in self._cursors.values())


class SlowLink(Link):
    """A connection on which everything takes a while, in order; `slow_s` makes it worse."""

    def __init__(self, rng: Random, figures: Figures, usual_s: float) -> None:
        super().__init__()
        self._rng = rng
        self._figures = figures
        self._usual_s = usual_s
        self._free_s = 0.0
        self.slow_s = 0.0

    async def cross(self) -> None:
        """See `Link.cross`."""
        self.check()
        loop = asyncio.get_running_loop()
        delay_s = self._rng.random() ** 4 * self._usual_s
        if self.slow_s:
            delay_s += self._rng.random() * self.slow_s
            self._figures.count("slow message")
        now_s = loop.time()
        self._free_s = max(self._free_s, now_s + delay_s)
        await asyncio.sleep(self._free_s - now_s)
        if not self.up:
            self._figures.count("message lost with its link")
        self.check()

    def check(self) -> None:
        """See `Link.check`."""
        if self.alive and not self.up:
            self._figures.count("call while the link was away")
        super().check()


def _now_ns() -> int:
    return EPOCH_NS + round(asyncio.get_running_loop().time() * 1e9)


def now_ms() -> int:
    """Unix milliseconds of the running simulation."""
    return _now_ns() // 1_000_000
