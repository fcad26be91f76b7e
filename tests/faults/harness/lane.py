"""One direction of one proxied connection: bytes that pass at once, late, or not before they may."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from harness.kafka_wire import END_TXN, Requests

Direction = Literal["up", "down"]
MOST_HELD_BYTES = 4 << 20
"""As a network with full buffers: past it the sender is no longer read."""


@dataclass(frozen=True)
class Disturbance:
    """One thing that is wrong with a wire; `held` is the direction in which nothing arrives."""

    cut: bool = False
    delay_s: float = 0.0
    end_txn_delay_s: float = 0.0
    held: Direction | None = None


@dataclass
class Weather:
    """What a front does to the bytes of its connections, now: the worst of all that disturbs it."""

    active: list[Disturbance] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def cut(self) -> bool:
        """Whether there is no wire."""
        return any(one.cut for one in self.active)

    @property
    def delay_s(self) -> float:
        """How much later everything arrives."""
        return max((one.delay_s for one in self.active), default=0.0)

    @property
    def end_txn_delay_s(self) -> float:
        """How much later still an EndTxn arrives."""
        return max((one.end_txn_delay_s for one in self.active), default=0.0)

    def holds(self, direction: Direction) -> bool:
        """Whether nothing arrives in that direction."""
        return any(one.held == direction for one in self.active)


class Lane:
    """Bytes keep their order. What waits is let go when its time has come and the direction is open."""

    def __init__(self, weather: Weather, direction: Direction, requests: Requests | None) -> None:
        self._weather = weather
        self._direction = direction
        self._requests = requests
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._last_due_s = 0.0
        self.held_bytes = 0
        self.write: Callable[[bytes], None] | None = None
        """Where bytes go; None until the other side is connected."""
        self.close: Callable[[], None] = lambda: None
        """Ends the other side, after all that was sent before."""

    def feed(self, data: bytes) -> None:
        """Bytes came from this direction's sender."""
        now_s = self._loop.time()
        for piece, extra_s in self._timed(data):
            delay_s = self._weather.delay_s + extra_s
            if self._weather.delay_s:
                self._weather.counts["delayed_bytes"] += len(piece)
            if self._weather.holds(self._direction):
                self._weather.counts[f"held_{self._direction}_bytes"] += len(piece)
            self._put(now_s + delay_s, piece)
        self.flush()

    def end(self) -> None:
        """The sender closed; the other side hears of it when what was sent before has arrived."""
        self._put(self._loop.time() + self._weather.delay_s, None)
        self.flush()

    def flush(self) -> None:
        """Let go what may go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self.write is not None and not self._weather.holds(self._direction):
            due_s, piece = self._waiting[0]
            if due_s > self._loop.time():
                self._timer = self._loop.call_at(due_s, self.flush)
                return
            self._waiting.popleft()
            if piece is None:
                self.close()
            else:
                self.held_bytes -= len(piece)
                self.write(piece)

    def drop(self) -> None:
        """Forget what waits."""
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        self.held_bytes = 0

    def _put(self, due_s: float, piece: bytes | None) -> None:
        self._last_due_s = max(self._last_due_s, due_s)
        self._waiting.append((self._last_due_s, piece))
        self.held_bytes += len(piece or b"")

    def _timed(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        """Pieces and how much later than all others each one may leave."""
        if self._requests is None:
            yield data, 0.0
            return
        for piece, key in self._requests.cut(data):
            late = key == END_TXN and self._weather.end_txn_delay_s > 0
            self._weather.counts["end_txn_delayed"] += late
            yield piece, self._weather.end_txn_delay_s if late else 0.0
