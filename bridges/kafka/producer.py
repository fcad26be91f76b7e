"""A transactional producer that is thrown away at the first doubt."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder

from bridges.kafka import topics
from bridges.kafka.connect import client_options
from bridges.kafka.encode import Record
from bridges.kafka.partition import partition_of
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
        async with timeout(2 * settings.step_timeout_s):
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
    with contextlib.suppress(Exception):
        async with timeout(CLOSE_S):
            await producer.stop()
            return
    sender = producer._sender.sender_task
    while sender is not None and not sender.done():  # each cancel ends one of the requests it waits for
        sender.cancel()
        await asyncio.wait([sender], timeout=CLOSE_S)
    with contextlib.suppress(Exception):
        async with timeout(CLOSE_S):
            await producer.client.close()


def fill(producer: AIOKafkaProducer, records: Iterable[Record], partitions: int) -> Batches:
    """Records as batches per (topic, partition), in order; every topic but the single ones has `partitions`."""
    batches: Batches = {}
    known: dict[bytes, int] = {}
    for topic, key, value, at_ms, headers in records:
        partition = 0 if topic in SINGLE else known.get(key)
        if partition is None:
            partition = known[key] = partition_of(key, partitions)
        queue = batches.setdefault((topic, partition), [])
        if queue and queue[-1].append(timestamp=at_ms, key=key, value=value, headers=headers) is not None:
            continue
        batch = producer.create_batch()
        batch.append(timestamp=at_ms, key=key, value=value, headers=headers)  # the first always fits
        queue.append(batch)
    return batches


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
            for (topic, partition), queue in batches.items():
                for batch in queue:
                    futures.append(await producer.send_batch(batch, settings.prefix + topic, partition=partition))
            await asyncio.gather(*futures)
    finally:
        for future in futures:
            future.cancel()  # of the shield, after a failure: its exception was raised by the gather or is moot
