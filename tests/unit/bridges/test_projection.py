"""The loop against sinks that die at every step and logs that change under it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from story import Story

from actors.runtime.actor import Context
from bridges.position import Batch, Position
from bridges.projection import Projection, ProjectionSettings
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from schemas.errors import Misconfigured, ProjectionHalted, TakenOver
from schemas.message import decode
from schemas.registry import ProjectionPosition

SETTINGS = ProjectionSettings(batch_events=4, linger_ms=0)


@dataclass
class Store:
    """What survives a crash: rows and position change together, at `commit` alone."""

    rows: list[int] = field(default_factory=list)
    at: Position | None = None
    crashes: list[str] = field(default_factory=list)
    opened: int = 0
    after_write: Callable[[], None] = lambda: None
    claims: list[bool] = field(default_factory=list)
    """What is answered to the next claims; then every claim is granted."""
    prepared: list[int] = field(default_factory=list)
    """Where each prepared batch ends."""
    open_gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Writes wait while it is not set."""

    def __post_init__(self) -> None:
        self.open_gate.set()

    def step(self, name: str) -> None:
        if self.crashes and self.crashes[0] == name:
            self.crashes.pop(0)
            raise ConnectionError(f"killed at {name}")

    @asynccontextmanager
    async def open(self) -> AsyncIterator["StoreSink"]:
        self.opened += 1
        self.step("open")
        yield StoreSink(self)


class StoreSink:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def claim(self) -> bool:
        self._store.step("claim")
        return self._store.claims.pop(0) if self._store.claims else True

    async def position(self) -> Position | None:
        self._store.step("position")
        return self._store.at

    async def prepare(self, batch: Batch) -> None:
        self._store.step("prepare")
        self._store.prepared.append(batch.up_to.sequence)
        await asyncio.sleep(0)

    async def write(self, batch: Batch) -> None:
        assert batch.after == self._store.at
        self._store.step("begin")
        await self._store.open_gate.wait()
        rows = self._store.rows + [entry.sequence for entry in batch.entries]
        self._store.step("commit")
        self._store.rows, self._store.at = rows, batch.up_to
        self._store.step("committed")
        self._store.after_write()


def projection(context: Context, store: Store, settings: ProjectionSettings = SETTINGS) -> Projection:
    return Projection("fake", context, store.open, settings, idle_s=0.0)


async def run_until(projection: Projection, context: Context, condition: Callable[[], bool]) -> None:
    running = asyncio.create_task(projection.run())
    async with asyncio.timeout(5):
        while not condition() and not running.done():  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0)
    context.draining.set()
    await running


async def fill(context: Context, story: Story, count: int) -> None:
    for number in range(count):
        await context.bus.log.append(story.accepted(f"t{number}"), after=0)


async def test_every_event_is_written_once_and_in_order(context: Context, story: Story) -> None:
    await fill(context, story, 10)
    store = Store()
    await run_until(projection(context, store), context, lambda: len(store.rows) >= 10)
    assert store.rows == list(range(1, 11))
    assert store.at is not None
    assert store.at.created == (await context.bus.log.info()).created


@pytest.mark.parametrize("step", ["open", "claim", "position", "prepare", "begin", "commit", "committed"])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_crash_at_any_step_loses_and_repeats_nothing(
    context: Context, story: Story, step: str, times: int
) -> None:
    await fill(context, story, 10)
    store = Store(crashes=[step] * times)
    subject = projection(context, store)
    await run_until(subject, context, lambda: len(store.rows) >= 10 and store.opened == times + 1)
    assert store.rows == list(range(1, 11))
    assert store.crashes == []
    assert store.opened == times + 1
    assert subject.status()["failures"] == times


async def test_events_that_arrive_while_it_waits_are_written(context: Context, story: Story) -> None:
    store = Store()
    running = asyncio.create_task(projection(context, store).run())
    for number in range(5):
        await context.bus.log.append(story.accepted(f"t{number}"), after=0)
        async with asyncio.timeout(5):
            while len(store.rows) <= number:  # noqa: ASYNC110 - another task's progress
                await asyncio.sleep(0)
    context.draining.set()
    await running
    assert store.rows == [1, 2, 3, 4, 5]


async def test_a_second_life_goes_on_where_the_first_was_drained(
    server: MemoryServer, context: Context, story: Story
) -> None:
    await fill(context, story, 5)
    store = Store()
    await run_until(projection(context, store), context, lambda: len(store.rows) >= 5)
    second = Context(MemoryBus(server), "two", context.log, context.now_ms, context.rng)
    for number in range(5, 8):
        await second.bus.log.append(story.accepted(f"t{number}"), after=0)
    await run_until(projection(second, store), second, lambda: len(store.rows) >= 8)
    assert store.rows == list(range(1, 9))


async def test_one_batch_is_prepared_and_none_written_while_another_is_being_written(
    context: Context, story: Story
) -> None:
    await fill(context, story, 14)
    store = Store()
    store.open_gate.clear()
    subject = projection(context, store)
    running = asyncio.create_task(subject.run())
    for _ in range(50):
        await asyncio.sleep(0)
    assert (store.prepared, store.rows) == ([4, 8], [])
    store.open_gate.set()
    async with asyncio.timeout(5):
        while len(store.rows) < 14:  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0)
    context.draining.set()
    await running
    assert store.rows == list(range(1, 15))


async def test_a_write_that_fails_while_nothing_more_comes_is_noticed_at_once(context: Context, story: Story) -> None:
    await fill(context, story, 3)
    store = Store()
    store.open_gate.clear()
    subject = Projection("fake", context, store.open, SETTINGS, idle_s=3600.0)
    running = asyncio.create_task(subject.run())
    async with asyncio.timeout(5):
        while not store.prepared:  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0)
        store.crashes.append("commit")
        store.open_gate.set()
        while store.opened < 2:  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(("wrote_ms", "pause_ms"), [(0, 0), (10, 10), (37, 37), (50, 25), (75, 0), (400, 0)])
async def test_it_rests_as_long_as_a_write_took_and_no_longer_than_it_may(
    context: Context, monkeypatch: pytest.MonkeyPatch, wrote_ms: int, pause_ms: int
) -> None:
    subject = projection(context, Store(), SETTINGS.model_copy(update={"linger_ms": 75}))
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(subject, "_pause", pause)
    await subject._linger(wrote_ms / 1000)
    assert pauses == ([pytest.approx(pause_ms / 1000)] if pause_ms else [])


async def test_a_cancelled_projection_cancels_its_write(context: Context, story: Story) -> None:
    await fill(context, story, 8)
    store = Store()
    store.open_gate.clear()
    running = asyncio.create_task(projection(context, store).run())
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    store.open_gate.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert store.rows == []


async def test_what_was_prepared_is_read_again_when_the_reader_began_anew_meanwhile(bench: Any, story: Story) -> None:
    """The log was restored, and outgrew the position, while a batch was written and the next one prepared."""
    it, log = bench(8)
    it.store.open_gate.clear()
    running = asyncio.create_task(it.subject.run())
    async with asyncio.timeout(5):
        while it.store.prepared != [4, 8]:  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0)
        log.entries[2:] = story.entries(8, first=3)
        log.restarts += 1
        it.store.open_gate.set()
        with pytest.raises(ProjectionHalted, match="used their sequences again"):
            await running
    assert it.store.rows == [1, 2, 3, 4]


async def test_drain_finishes_the_batch_in_hand_and_starts_no_other(context: Context, story: Story) -> None:
    await fill(context, story, 10)
    store = Store(after_write=context.draining.set)
    await projection(context, store).run()
    assert store.rows == [1, 2, 3, 4]


async def test_without_its_turn_it_is_ready_and_writes_and_tells_nothing(context: Context, story: Story) -> None:
    await fill(context, story, 6)
    store = Store(claims=[False] * 1000)
    subject = projection(context, store)
    await run_until(subject, context, lambda: len(store.claims) < 990)
    assert (subject.ready(), subject.status()["standby"], store.rows, store.opened) == (None, True, [], 1)
    assert await context.bus.kv.get(subjects.POSITIONS, "fake") is None


async def test_when_its_turn_comes_it_writes_from_the_position_of_then(context: Context, story: Story) -> None:
    await fill(context, story, 6)
    store = Store(claims=[False, False, True])
    subject = projection(context, store)
    await run_until(subject, context, lambda: len(store.rows) >= 6)
    assert store.rows == [1, 2, 3, 4, 5, 6]
    assert subject.status()["standby"] is False


async def test_a_writer_that_lost_its_claim_stands_by_and_tells_no_more(context: Context, story: Story) -> None:
    await fill(context, story, 6)
    store = Store(claims=[True, False, *[False] * 1000])
    subject = projection(context, store)
    await run_until(subject, context, lambda: len(store.claims) < 990)
    status = subject.status()
    assert (status["standby"], status["failures"], store.opened, len(store.rows)) == (True, 1, 2, 6)
    await context.bus.kv.put(subjects.POSITIONS, "fake", b"what the other one told")
    await subject._beacon.publish()
    told = await context.bus.kv.get(subjects.POSITIONS, "fake")
    assert told is not None
    assert told.value == b"what the other one told"


async def test_the_position_is_published_with_its_head(context: Context, story: Story) -> None:
    await fill(context, story, 6)
    store = Store(after_write=context.draining.set)
    await projection(context, store).run()
    told = await context.bus.kv.get(subjects.POSITIONS, "fake")
    assert told is not None
    position = decode(told.value, ProjectionPosition)
    assert (position.sequence, position.head) == (4, 6)


@pytest.mark.parametrize("error", [TakenOver("another one writes"), Misconfigured("wrong topic")])
async def test_what_trying_again_cannot_change_ends_it(context: Context, story: Story, error: Exception) -> None:
    await fill(context, story, 1)

    def fail() -> None:
        raise error

    store = Store(after_write=fail)
    with pytest.raises(type(error)):
        await projection(context, store).run()
    assert store.opened == 1


class Bench:
    """A projection over an alterable log."""

    def __init__(self, context: Context, log: Any, store: Store, settings: ProjectionSettings = SETTINGS) -> None:
        bus = MemoryBus(MemoryServer())
        bus.log = log
        self.context = Context(bus, "one", context.log, context.now_ms, context.rng)
        self.subject = projection(self.context, store, settings)
        self.store = store

    async def until(self, condition: Callable[[], bool]) -> None:
        await run_until(self.subject, self.context, condition)


@pytest.fixture
def bench(context: Context, story: Story, alterable_log: Any) -> Callable[..., tuple[Bench, Any]]:
    def build(count: int, at: int | None = None, **settings: Any) -> tuple[Bench, Any]:
        log = alterable_log(story.entries(count))
        store = Store()
        if at is not None:
            event_id = log.entries[at - 1].event().event_id
            store.at = Position(at, log.created, event_id)
            store.rows = list(range(1, at + 1))
        return Bench(context, log, store, SETTINGS.model_copy(update=settings)), log

    return build


async def test_a_position_that_fits_is_walked_up_to_and_not_written_again(bench: Any) -> None:
    it, log = bench(6, at=4)
    await it.until(lambda: len(it.store.rows) >= 6)
    assert it.store.rows == [1, 2, 3, 4, 5, 6]
    assert log.opened[0] == 3


async def test_a_recreated_log_halts_before_the_first_write(bench: Any) -> None:
    it, log = bench(6, at=4)
    log.created = "2026-02-02T00:00:00Z"
    with pytest.raises(ProjectionHalted, match="it is another one"):
        await it.until(lambda: False)
    assert len(it.store.rows) == 4
    assert "another one" in it.subject.ready()


async def test_a_truncated_log_halts(bench: Any) -> None:
    it, log = bench(6, at=6)
    del log.entries[4:]
    with pytest.raises(ProjectionHalted, match="the log ends at 4"):
        await it.until(lambda: False)


async def test_a_log_that_lost_events_and_used_their_sequences_again_halts(bench: Any, story: Story) -> None:
    it, log = bench(6, at=6)
    log.entries[4:] = story.entries(4, first=5)
    with pytest.raises(ProjectionHalted, match="used their sequences again"):
        await it.until(lambda: False)
    assert len(it.store.rows) == 6


async def test_events_trimmed_unread_halt(bench: Any) -> None:
    it, log = bench(6, at=2)
    del log.entries[:4]
    with pytest.raises(ProjectionHalted, match="trimmed unread"):
        await it.until(lambda: False)


async def test_a_window_that_begins_right_after_the_position_is_fine(bench: Any) -> None:
    it, log = bench(6, at=4)
    del log.entries[:4]
    await it.until(lambda: len(it.store.rows) >= 6)
    assert it.store.rows == [1, 2, 3, 4, 5, 6]


async def test_a_hole_halts_at_the_hole(bench: Any) -> None:
    it, log = bench(6)
    del log.entries[3]
    with pytest.raises(ProjectionHalted, match=r"event 5 of .* where 4 was due"):
        await it.until(lambda: False)


async def test_an_empty_sink_does_not_skip_what_is_gone_unless_told(bench: Any) -> None:
    it, log = bench(6)
    del log.entries[:2]
    with pytest.raises(ProjectionHalted, match="begin_at_oldest"):
        await it.until(lambda: False)
    it, log = bench(6, begin_at_oldest=True)
    del log.entries[:2]
    await it.until(lambda: len(it.store.rows) >= 4)
    assert it.store.rows == [3, 4, 5, 6]


async def test_a_log_recreated_while_running_is_noticed_before_the_next_write(bench: Any, story: Story) -> None:
    it, log = bench(4)

    def recreate() -> None:
        log.created = "2026-02-02T00:00:00Z"
        log.entries += story.entries(4, first=5)

    it.store.after_write = recreate
    with pytest.raises(ProjectionHalted, match="it is another one"):
        await it.until(lambda: False)
    assert it.store.rows == [1, 2, 3, 4]


async def test_what_follows_a_silence_is_checked_against_the_position_again(bench: Any, story: Story) -> None:
    """A server that came back without its newest events: the reader goes on by itself, the loop must not."""
    it, log = bench(4)
    running = asyncio.create_task(it.subject.run())
    async with asyncio.timeout(5):
        while log.silences < 3:  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0)
    log.entries[2:] = story.entries(6, first=3)
    with pytest.raises(ProjectionHalted, match="used their sequences again"):
        await running
    assert it.store.rows == [1, 2, 3, 4]


async def test_a_log_restored_and_outgrown_behind_the_readers_back_halts_before_the_next_write(
    bench: Any, story: Story
) -> None:
    """An older backup keeps `created`; what came since fills the sequences up to the position and past it."""
    it, log = bench(4)

    def restore() -> None:
        log.entries[2:] = story.entries(6, first=3)
        log.restarts += 1

    it.store.after_write = restore
    with pytest.raises(ProjectionHalted, match="used their sequences again"):
        await it.until(lambda: False)
    assert it.store.rows == [1, 2, 3, 4]


async def test_a_log_replaced_while_nothing_comes_is_noticed_without_waiting_for_an_event(bench: Any) -> None:
    it, log = bench(4)
    running = asyncio.create_task(it.subject.run())
    async with asyncio.timeout(5):
        while log.silences < 3:  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0)
    del log.entries[2:]
    log.restarts += 1
    with pytest.raises(ProjectionHalted, match="the log ends at 2"):
        await running
