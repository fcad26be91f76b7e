"""Reading Kafka as its consumers do: `read_committed`, from the beginning to the last stable offset."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from bridges.kafka.settings import KafkaSettings

POLL_MS: Final = 250


@asynccontextmanager
async def consumer(settings: KafkaSettings, partitions: Sequence[TopicPartition]) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, at the beginning of `partitions`."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,
        request_timeout_ms=settings.request_timeout_ms,
        max_partition_fetch_bytes=4_194_304,
    )
    try:
        async with asyncio.timeout(settings.step_timeout_s):
            await reader.start()
            reader.assign(partitions)
            await reader.seek_to_beginning(*partitions)
        yield reader
    finally:
        async with asyncio.timeout(settings.step_timeout_s):
            await reader.stop()


async def read_to_end(
    reader: AIOKafkaConsumer, partitions: Sequence[TopicPartition], *, step_timeout_s: float
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """Batches from where `reader` is to the last stable offsets of now; each step within `step_timeout_s`."""
    async with asyncio.timeout(step_timeout_s):
        ends: dict[TopicPartition, int] = await reader.end_offsets(partitions)
        left = {tp for tp in partitions if await reader.position(tp) < ends[tp]}
    while left:
        async with asyncio.timeout(step_timeout_s):
            batches = await reader.getmany(*left, timeout_ms=POLL_MS)
            left = {tp for tp in left if await reader.position(tp) < ends[tp]}
        for tp, records in batches.items():
            yield [record for record in records if record.offset < ends[tp]]
