"""Where projections write: Kafka and the ledger in memory, each a transaction at a time, with steps to die between."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import ClassVar

from checker.history import KafkaRecord, TaskRow, UsageRow
from simulation.server import Figures

from bridges.bridge import Bridge
from bridges.kafka.encode import Encoder, Record
from bridges.kafka.partition import partition_of
from bridges.ledger.fold import Folded, fold
from bridges.position import Batch, Position
from bridges.projection import ProjectionSettings, Sink
from schemas.errors import Conflict, TakenOver

PARTITIONS = 4


class Steps:
    """The road of a transaction: it takes time, and what walks it may break down at any stone.

    `trouble` is the chance of that per step, set by the nemesis.
    """

    def __init__(self, rng: Random, figures: Figures) -> None:
        self._rng = rng
        self._figures = figures
        self.trouble = 0.0

    async def step(self, name: str) -> None:
        """Raises `ConnectionError` when it breaks down here."""
        await asyncio.sleep(self._rng.random() ** 4 * 0.02)
        if self.trouble and self._rng.random() < self.trouble:
            self._figures.count(f"sink crash at {name}")
            raise ConnectionError(f"the sink broke at {name}")


class KafkaStore:
    """Committed records and position. Opening it fences every earlier writer, as `init_transactions` does."""

    def __init__(self, steps: Steps, figures: Figures) -> None:
        self._steps = steps
        self._figures = figures
        self._encoder = Encoder("LOG", record_bytes=1 << 20)
        self._offsets: dict[tuple[str, int], int] = {}
        self.epoch = 0
        self.position: Position | None = None
        self.records: list[KafkaRecord] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Sink]:
        """A sink that writes until another is opened."""
        await self._steps.step("open")
        self.epoch += 1
        yield KafkaSink(self, self.epoch)

    async def write(self, batch: Batch, epoch: int) -> None:
        """All of the batch, or nothing."""
        staged = self._encoder.encode(batch.entries)
        await self._steps.step("begin")
        await self._steps.step("commit")
        if epoch != self.epoch:
            self._figures.count("fenced writer")
            raise TakenOver("another producer has this transactional id")
        self.commit(staged, batch.up_to)
        await self._steps.step("committed")

    def commit(self, staged: list[Record], position: Position) -> None:
        """Make them visible together."""
        self.records += map(self._record, staged)
        self.position = position

    def _record(self, record: Record) -> KafkaRecord:
        partition = partition_of(record.key, PARTITIONS)
        offset = self._offsets.get((record.topic, partition), 0)
        self._offsets[record.topic, partition] = offset + 1
        headers = {name: value.decode() for name, value in record.headers}
        return KafkaRecord(record.topic, partition, offset, record.key.decode(), headers, json.loads(record.value))


class KafkaSink:
    """One writer's life."""

    def __init__(self, store: KafkaStore, epoch: int) -> None:
        self._store = store
        self._epoch = epoch

    async def claim(self) -> bool:
        """See `Sink.claim`."""
        return True

    async def position(self) -> Position | None:
        """See `Sink.position`."""
        await self._store._steps.step("position")
        return self._store.position

    async def prepare(self, batch: Batch) -> None:
        """See `Sink.prepare`."""
        await self._store._steps.step("prepare")

    async def write(self, batch: Batch) -> None:
        """See `Sink.write`."""
        await self._store.write(batch, self._epoch)


class LedgerStore:
    """Rows as the ledger's SQL would leave them; the position moves by compare-and-set, so any number may write."""

    def __init__(self, steps: Steps, figures: Figures) -> None:
        self._steps = steps
        self._figures = figures
        self._last: dict[tuple[str, str], int] = {}
        self.position: Position | None = None
        self.tasks: dict[tuple[str, str], TaskRow] = {}
        self.usage: list[UsageRow] = []
        self._billed: set[int] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Sink]:
        """A sink over a connection of its own."""
        await self._steps.step("open")
        yield LedgerSink(self)

    async def write(self, batch: Batch) -> None:
        """All of the batch, or nothing."""
        folded = fold(batch.entries)
        await self._steps.step("begin")
        await self._steps.step("commit")
        if self.position != batch.after:
            self._figures.count("ledger conflict")
            raise Conflict("another ledger wrote first")
        self.commit(folded, batch.up_to)
        await self._steps.step("committed")

    def commit(self, folded: Folded, position: Position) -> None:
        """The upserts of `bridges/ledger/statements.py`, and the position."""
        for key, row in folded.tasks.items():
            if row.first_sequence <= self._last.get(key, 0):
                continue
            known = self.tasks.get(key) if row.accepted_sequence is None else None
            outcome = row.outcome or (known.outcome if known else None)
            cost = row.cost_nanousd + (known.cost_nanousd if known else 0)
            attempts = row.attempts + (known.attempts if known else 0)
            self.tasks[key] = TaskRow(*key, row.state, outcome, cost, attempts)
            self._last[key] = row.last_sequence
        for bill in folded.usage:
            if bill.sequence not in self._billed:
                counted = bill.cost_nanousd, bill.tokens, bill.latency_ms
                self.usage.append(UsageRow(bill.tenant_id, bill.task_id, *counted, bill.outcome))
                self._billed.add(bill.sequence)
        self.position = position


class LedgerSink:
    """One connection's life."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store

    async def claim(self) -> bool:
        """Always, unlike PostgreSQL's lock: what is promised must hold without it."""
        return True

    async def position(self) -> Position | None:
        """See `Sink.position`."""
        await self._store._steps.step("position")
        return self._store.position

    async def prepare(self, batch: Batch) -> None:
        """See `Sink.prepare`."""
        await self._store._steps.step("prepare")

    async def write(self, batch: Batch) -> None:
        """See `Sink.write`."""
        await self._store.write(batch)


def bridge_into(called: str, store: KafkaStore | LedgerStore) -> type[Bridge]:
    """A bridge as the real ones are, over a store in memory."""

    class SimulatedBridge(Bridge):
        name: ClassVar[str] = called
        settings_type = ProjectionSettings

        def open_sink(self) -> AbstractAsyncContextManager[Sink]:
            return store.open()

    return SimulatedBridge
