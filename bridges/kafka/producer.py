"""A transactional producer that is thrown away at the first doubt."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, ProducerClosed, ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator

from bridges.kafka import topics
from bridges.kafka.connect import client_options, let_in
from bridges.kafka.encode import Record
from bridges.kafka.partition import partitions_of
from bridges.kafka.settings import KafkaSettings
from bus.waiting import timeout
from schemas.errors import TakenOver, Unavailable

CLOSE_S: Final = 2.0
SINGLE: Final = frozenset({topics.DEAD_LETTERS, topics.OFFSETS})

Batches = dict[tuple[str, int], list[BatchBuilder]]


@asynccontextmanager
async def transactional_producer(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that has fenced every earlier one of its transactional id, and ended their open transaction."""
    producer = AIOKafkaProducer(
        **client_options(settings),
        transactional_id=settings.transactional_id,
        transaction_timeout_ms=settings.transaction_timeout_ms,
        max_batch_size=settings.batch_bytes,
        compression_type=settings.codec,
    )
    try:
        async with let_in(settings), timeout(2 * settings.step_timeout_s):
            await producer.start()
        yield producer
    except TimeoutError as error:
        raise Unavailable(f"Kafka at {settings.bootstrap} did not answer in time; the outcome is unknown") from error
    except Exception as error:
        if not _fenced(producer, error):
            raise
        raise TakenOver(
            f"another producer took over transactional id {settings.transactional_id}, or this one was paused for more "
            f"than transaction_timeout_ms {settings.transaction_timeout_ms}"
        ) from error
    finally:
        await _discard(producer)


def _fenced(producer: AIOKafkaProducer, error: Exception) -> bool:
    """Whether that is the cause: whichever call came next after the sender heard of it fails with another error."""
    sender = producer._sender.sender_task
    heard = sender.exception() if sender is not None and sender.done() and not sender.cancelled() else None
    return any(isinstance(one, (ProducerFenced, InvalidProducerEpoch)) for one in (error, heard))


async def _discard(producer: AIOKafkaProducer) -> None:
    """Close without waiting for an answer that may never come: the sender retries for ever when Kafka is away."""
    _hear_all(producer)
    try:
        with contextlib.suppress(Exception):
            async with timeout(CLOSE_S):
                await producer.stop()
                return
        sender = producer._sender.sender_task
        while sender is not None and not sender.done():  # each cancel ends one of the requests it waits for
            sender.cancel()
            await asyncio.wait([sender], timeout=CLOSE_S)
        _give_up(producer._message_accumulator)
        with contextlib.suppress(Exception):
            async with timeout(CLOSE_S):
                await producer.client.close()
    finally:
        _hear_all(producer)


def _give_up(accumulator: MessageAccumulator) -> None:
    """End every batch: what `stop` left behind is a task that waits for all of them."""
    accumulator._pending_batches.update(*accumulator._batches.values())  # where a batch that ends must be found
    accumulator.fail_all(ProducerClosed())


def _hear_all(producer: AIOKafkaProducer) -> None:
    """Take note of what futures are told that nobody awaits any more, else asyncio complains of each.

    A sender that fails tells it to the transaction, and to every batch it has not sent twice; a shield that was
    cancelled does not listen to its batch any more (aiokafka 0.14).
    """
    accumulator, transaction = producer._message_accumulator, producer._txn_manager._transaction_waiter
    if transaction is not None:
        transaction.add_done_callback(_hear)
    for batch in (*chain.from_iterable(accumulator._batches.values()), *accumulator._pending_batches):
        batch.future.add_done_callback(_hear)
        batch._drain_waiter.add_done_callback(_hear)


def _hear(future: "asyncio.Future[object]") -> None:
    if not future.cancelled():
        future.exception()


class Transaction:
    """Records as batches per (topic, partition), in order; every topic but the single ones has `partitions`."""

    def __init__(self, producer: AIOKafkaProducer, partitions: int) -> None:
        self._producer = producer
        self._partitions = partitions
        self._known: dict[bytes, int] = {}
        self.batches: Batches = {}
        self.records = 0

    def add(self, records: Sequence[Record]) -> None:
        """Take `records`, after those that were added before."""
        known, batches = self._known, self.batches
        known.update(partitions_of({record[1] for record in records} - known.keys(), self._partitions))
        self.records += len(records)
        for topic, key, value, at_ms, headers in records:
            partition = 0 if topic in SINGLE else known[key]
            queue = batches.get((topic, partition))
            if queue is None:
                queue = batches[topic, partition] = [self._producer.create_batch()]
            if queue[-1].append(timestamp=at_ms, key=key, value=value, headers=headers) is None:
                queue.append(self._producer.create_batch())
                queue[-1].append(timestamp=at_ms, key=key, value=value, headers=headers)  # the first always fits


async def commit(producer: AIOKafkaProducer, batches: Batches, settings: KafkaSettings) -> None:
    """All of `batches` in one transaction. After any exception the producer must be discarded.

    Every delivery is awaited before the commit: aiokafka 0.14 commits a transaction although the broker
    refused one of its batches.
    """
    async with timeout(settings.step_timeout_s):
        await producer.begin_transaction()
    await _deliver(producer, batches, settings)
    async with timeout(settings.step_timeout_s):
        await producer.commit_transaction()


async def _deliver(producer: AIOKafkaProducer, batches: Batches, settings: KafkaSettings) -> None:
    futures: list[asyncio.Future[object]] = []
    try:
        async with timeout(settings.step_timeout_s):
            for (topic, partition), batch in _in_waves(batches):
                futures.append(await producer.send_batch(batch, settings.prefix + topic, partition=partition))
            await asyncio.gather(*futures)
    finally:
        for future in futures:  # shields: after a failure their exceptions were raised by the gather or are moot
            if not future.cancel():
                _hear(future)


def _in_waves(batches: Batches) -> Iterator[tuple[tuple[str, int], BatchBuilder]]:
    """The first batch of each partition, then the second: the client waits until one is under way for the next."""
    for depth in range(max(map(len, batches.values()), default=0)):
        for at, queue in batches.items():
            if depth < len(queue):
                yield at, queue[depth]
