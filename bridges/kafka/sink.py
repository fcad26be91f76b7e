"""Kafka as a sink: the records and the position in one transaction."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition

from bridges.kafka import topics
from bridges.kafka.encode import Encoder, Record
from bridges.kafka.producer import Transaction, commit, transactional_producer
from bridges.kafka.readback import consumer, read_to_end, stored_ends
from bridges.kafka.settings import KafkaSettings
from bridges.position import Batch, Position
from bus.subjects import LOG_STREAM
from schemas.errors import Misconfigured

HANDFUL: Final = 256
"""Events that are encoded before others get their turn: a few milliseconds."""


class KafkaSink:
    """One producer's life: from its fencing of all earlier ones to its first doubt."""

    def __init__(self, producer: AIOKafkaProducer, settings: KafkaSettings) -> None:
        self._producer = producer
        self._settings = settings
        self._encoder = Encoder(LOG_STREAM, record_bytes=settings.record_bytes)
        self._count = 0
        self._prepared: tuple[Batch, Transaction] | None = None

    async def claim(self) -> bool:
        """Always: who opens last has fenced the others."""
        return True

    async def position(self) -> Position | None:
        """The last committed position record of this transactional id, read after the fencing.

        It may stand behind a transaction that another bridge has open, whose end is waited for. Raises `Unavailable`
        when that stays open.
        """
        found: Position | None = None
        partition = TopicPartition(self._settings.prefix + topics.OFFSETS, 0)
        ends = await stored_ends(self._settings, [partition])
        async with consumer(self._settings, [partition]) as reader:
            async for records in read_to_end(reader, [partition], self._settings, ends):
                for record in records:
                    if record.key == position_key(self._settings):
                        found, self._count = decode_position(record.value)
        return found

    async def prepare(self, batch: Batch) -> None:
        """Encode the batch, a handful of events at a time."""
        self._prepared = batch, await self._encoded(batch)

    async def write(self, batch: Batch) -> None:
        """Records, dead letters and the position, all or nothing."""
        transaction = await self._transaction_of(batch)
        count = self._count + transaction.records
        at_ms = batch.entries[-1].at_ns // 1_000_000
        transaction.add([Record(topics.OFFSETS, position_key(self._settings), _encode(batch.up_to, count), at_ms, [])])
        await commit(self._producer, transaction.batches, self._settings)
        self._count = count

    async def _transaction_of(self, batch: Batch) -> Transaction:
        prepared, self._prepared = self._prepared, None
        return prepared[1] if prepared is not None and prepared[0] is batch else await self._encoded(batch)

    async def _encoded(self, batch: Batch) -> Transaction:
        transaction = Transaction(self._producer, self._settings.partitions)
        for start in range(0, len(batch.entries), HANDFUL):
            transaction.add(self._encoder.encode(batch.entries[start : start + HANDFUL]))
            await asyncio.sleep(0)
        return transaction


def position_key(settings: KafkaSettings) -> bytes:
    """Where the compacted topic keeps this bridge's position."""
    return f"{settings.transactional_id}/{LOG_STREAM}".encode()


def _encode(position: Position, count: int) -> bytes:
    value = {
        "stream": LOG_STREAM,
        "created": position.created,
        "seq": position.sequence,
        "event_id": position.event_id,
        "count": count,
    }
    return json.dumps(value, separators=(",", ":")).encode()


def decode_position(value: bytes) -> tuple[Position, int]:
    """A position record, and how many records the bridge had written with it."""
    try:
        body = json.loads(value)
        return Position(int(body["seq"]), str(body["created"]), str(body["event_id"])), int(body["count"])
    except (ValueError, KeyError, TypeError) as error:
        raise Misconfigured(f"the position record {value[:200]!r} is not one of ours: check the prefix") from error


@asynccontextmanager
async def open_kafka_sink(settings: KafkaSettings) -> AsyncIterator[KafkaSink]:
    """A sink over a fresh producer; the topics were ensured before."""
    async with transactional_producer(settings) as producer:
        yield KafkaSink(producer, settings)
