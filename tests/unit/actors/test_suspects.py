"""Work that processes were lost with: counted while it runs, tried alone once it was lost, and given up in the end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import structlog

from actors.runtime import GiveBack
from actors.runtime.suspects import MOST_LOST, Suspects
from bus.memory import MemoryBus, MemoryServer
from bus.port import Delivery, Entry
from bus.subjects import SUSPECTS
from schemas.errors import BusDisconnected


@dataclass
class Handed:
    """A delivery that nobody answers here."""

    sequence: int
    delivered: int = 3
    entry: Entry = field(init=False)

    def __post_init__(self) -> None:
        self.entry = Entry(self.sequence, 0, f"aion.task.routed.wasm-normal.acme.t{self.sequence}", b"")

    async def done(self) -> None: ...

    async def give_back(self, delay_s: float = 0.0) -> None: ...


@dataclass
class Processes:
    """One process after the other over one server; `lose` ends one as SIGKILL does: nothing of it goes on."""

    server: MemoryServer = field(default_factory=MemoryServer)
    begun: list[int] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)
    beside: dict[int, int] = field(default_factory=dict)
    """How many others were at work when one began."""
    most_at_once: int = 0
    _inside: int = 0

    def next(self) -> Suspects:
        self.bus = MemoryBus(self.server)
        self.suspects = Suspects(self.bus.kv, structlog.get_logger())
        return self.suspects

    async def handle(self, delivery: Delivery) -> None:
        self.begun.append(delivery.entry.sequence)
        self.beside[delivery.entry.sequence] = self._inside
        self._inside += 1
        self.most_at_once = max(self.most_at_once, self._inside)
        try:
            await asyncio.sleep(0.05)
        finally:
            self._inside -= 1

    async def give_up(self, delivery: Delivery) -> None:
        self.given_up.append(delivery.entry.sequence)

    async def lose(self, *sequences: int) -> None:
        """A process takes these, and is gone while they run."""
        suspects, begun = self.next(), len(self.begun)
        tries = [asyncio.create_task(self.attempt(suspects, sequence)) for sequence in sequences]
        async with asyncio.timeout(5):
            while len(self.begun) == begun:  # noqa: ASYNC110 - a turn of the loop each
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)
        self.bus.kill()
        for one in tries:
            one.cancel()
        await asyncio.gather(*tries, return_exceptions=True)

    async def attempt(self, suspects: Suspects, sequence: int) -> None:
        await suspects.attempt(Handed(sequence), self.handle, self.give_up)

    def lost(self, sequence: int) -> int:
        entries = self.server.buckets.bucket(SUSPECTS).entries
        found = entries.get(f"aion.task.routed.wasm-normal.acme.t{sequence}.{sequence}")
        return 0 if found is None else int(found.value)


async def test_what_every_process_is_lost_with_is_given_up() -> None:
    processes = Processes()
    for _ in range(MOST_LOST):
        await processes.lose(1)
    await processes.attempt(processes.next(), 1)
    assert processes.begun == [1] * MOST_LOST
    assert processes.given_up == [1]


async def test_what_was_never_lost_is_tried_beside_others() -> None:
    processes = Processes()
    suspects = processes.next()
    await asyncio.gather(*(processes.attempt(suspects, sequence) for sequence in range(4)))
    assert processes.most_at_once == 4


async def test_a_neighbour_is_not_lost_with_it_twice() -> None:
    processes = Processes()
    await processes.lose(1, 2, 3)
    assert [processes.lost(sequence) for sequence in (1, 2, 3)] == [1, 1, 1]
    await processes.lose(1, 2, 3)
    first = processes.begun[3]
    assert len(processes.begun) == 4, "one alone was tried"
    assert [processes.lost(sequence) for sequence in (1, 2, 3)] == [1 + (sequence == first) for sequence in (1, 2, 3)]
    processes.most_at_once = 0
    suspects = processes.next()
    await asyncio.gather(*(processes.attempt(suspects, sequence) for sequence in (1, 2, 3)))
    assert processes.most_at_once == 1
    assert not processes.given_up
    assert [processes.lost(sequence) for sequence in (1, 2, 3)] == [0, 0, 0]


async def test_what_was_never_lost_is_not_tried_beside_what_was() -> None:
    """A fresh one may be what kills: it would be counted against the other."""
    processes = Processes()
    await processes.lose(1)
    suspects, fresh = processes.next(), [Handed(sequence, delivered=sequence % 3 + 1) for sequence in range(2, 8)]
    begun, processes.most_at_once = len(processes.begun), 0
    early = [asyncio.create_task(suspects.attempt(one, processes.handle, processes.give_up)) for one in fresh[:3]]
    await asyncio.sleep(0.01)
    suspect = asyncio.create_task(processes.attempt(suspects, 1))
    await asyncio.sleep(0.01)
    late = [asyncio.create_task(suspects.attempt(one, processes.handle, processes.give_up)) for one in fresh[3:]]
    async with asyncio.timeout(5):
        await asyncio.gather(*early, suspect, *late)
    assert processes.begun[begun:][3] == 1
    assert processes.beside[1] == 0
    assert processes.most_at_once == 3


async def test_between_two_that_are_tried_alone_the_others_get_in() -> None:
    processes = Processes()
    await processes.lose(1, 2)
    suspects, begun = processes.next(), len(processes.begun)
    alone = [asyncio.create_task(processes.attempt(suspects, sequence)) for sequence in (1, 2)]
    await asyncio.sleep(0.01)
    fresh = Handed(3, delivered=1)
    async with asyncio.timeout(5):
        await asyncio.gather(*alone, suspects.attempt(fresh, processes.handle, processes.give_up))
    assert processes.begun[begun:] == [1, 3, 2]
    assert processes.beside[1] == processes.beside[2] == 0


async def test_one_that_lasts_keeps_the_others_waiting_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.runtime.suspects.ALONE_S", 0.05)
    processes = Processes()
    await processes.lose(1, 2)
    suspects, ended = processes.next(), asyncio.Event()

    async def last(delivery: Delivery) -> None:
        await ended.wait()

    lasting = asyncio.create_task(suspects.attempt(Handed(1), last, processes.give_up))
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await processes.attempt(suspects, 2)
    assert not lasting.done()
    ended.set()
    await lasting
    async with asyncio.timeout(2):  # what was let go in time is not let go twice
        await processes.attempt(suspects, 2)


@pytest.mark.parametrize("how", [GiveBack(1.0), RuntimeError("a bug"), asyncio.CancelledError()])
async def test_a_process_that_lives_clears_what_it_tried(how: BaseException) -> None:
    processes = Processes()
    await processes.lose(1)
    assert processes.lost(1) == 1

    async def fail(_: Delivery) -> None:
        assert processes.lost(1) == 2
        raise how

    with pytest.raises(type(how)):
        await processes.next().attempt(Handed(1), fail, processes.give_up)
    assert processes.lost(1) == 0


@pytest.mark.parametrize("when", [MemoryBus.kill, MemoryBus.lose])
async def test_a_try_that_cannot_be_counted_is_none(when: Callable[[MemoryBus], None]) -> None:
    processes = Processes()
    suspects = processes.next()
    when(processes.bus)
    with pytest.raises(BusDisconnected):
        await processes.attempt(suspects, 1)
    assert not processes.begun
