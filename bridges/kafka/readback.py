"""Reading Kafka as its consumers do: `read_committed`, from the beginning to the last stable offset."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from bridges.kafka.connect import client_options, let_in
from bridges.kafka.settings import KafkaSettings
from bus.waiting import timeout
from schemas.errors import Unavailable

POLL_MS: Final = 250
SWEEP_S: Final = 15.0
"""The broker looks for transactions that are over their time every 10 s."""


@asynccontextmanager
async def consumer(
    settings: KafkaSettings, partitions: Sequence[TopicPartition], *, isolation: str = "read_committed"
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, at the beginning of `partitions`."""
    reader = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level=isolation,
        enable_auto_commit=False,
        max_partition_fetch_bytes=4_194_304,
    )
    try:
        async with let_in(settings), timeout(settings.step_timeout_s):
            await reader.start()
            reader.assign(partitions)
            await reader.seek_to_beginning(*partitions)
        yield reader
    finally:
        async with timeout(settings.step_timeout_s):
            await reader.stop()


async def stored_ends(settings: KafkaSettings, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Where each partition ends, transactions that are not yet decided included."""
    async with (
        consumer(settings, partitions, isolation="read_uncommitted") as reader,
        timeout(settings.step_timeout_s),
    ):
        ends: dict[TopicPartition, int] = await reader.end_offsets(partitions)
    return ends


async def read_to_end(
    reader: AIOKafkaConsumer,
    partitions: Sequence[TopicPartition],
    settings: KafkaSettings,
    ends: dict[TopicPartition, int] | None = None,
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """Batches from where `reader` is to `ends`, by default the last stable offsets of now.

    A commit is answered before its markers reach every partition, so who must see what was just committed
    passes `stored_ends`. Raises `Unavailable` when nothing moves for longer than a transaction can be open.
    """
    if ends is None:
        async with timeout(settings.step_timeout_s):
            ends = await reader.end_offsets(partitions)
    patience_s = settings.transaction_timeout_ms / 1000 + SWEEP_S
    moved_at = time.monotonic()
    at = await _positions(reader, partitions, settings)
    while left := [tp for tp in partitions if at[tp] < ends[tp]]:
        async with timeout(settings.step_timeout_s):
            batches = await reader.getmany(*left, timeout_ms=POLL_MS)
        before, at = at, await _positions(reader, partitions, settings)
        if at != before:
            moved_at = time.monotonic()
        elif time.monotonic() - moved_at > patience_s:
            raise Unavailable(f"{left[0].topic} stands at {at[left[0]]} of {ends[left[0]]}: a transaction stays open")
        for tp, records in batches.items():
            yield [record for record in records if record.offset < ends[tp]]


async def _positions(
    reader: AIOKafkaConsumer, partitions: Sequence[TopicPartition], settings: KafkaSettings
) -> dict[TopicPartition, int]:
    async with timeout(settings.step_timeout_s):
        return {tp: await reader.position(tp) for tp in partitions}
