"""What a consumer of ours finds in Kafka about one task."""

import asyncio
import json
import time
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from bridges.kafka import topics
from bridges.kafka.partition import partition_of
from bridges.kafka.readback import consumer, read_to_end
from bridges.kafka.settings import KafkaSettings


async def records_of_task(settings: KafkaSettings, task_id: str, timeout_s: float) -> list[dict[str, Any]]:
    """The task's records under `read_committed`, its events in order and then its usage.

    Waits until its usage record is there, at most `timeout_s`, then gives what there is: an event that is a dead
    letter is not. Each has topic, partition, offset, key, timestamp_ms, headers and value (decoded JSON).
    """
    key = task_id.encode()
    partitions = [
        TopicPartition(settings.prefix + topic, partition_of(key, topics.partitions_of(topic, settings)))
        for topic in (topics.EVENTS, topics.USAGE)
    ]
    deadline = time.monotonic() + timeout_s
    found: list[ConsumerRecord] = []
    async with consumer(settings, partitions) as reader:
        while True:
            async for records in read_to_end(reader, partitions, settings):
                found += [record for record in records if record.key == key]
            billed = any(record.topic == settings.prefix + topics.USAGE for record in found)
            left_s = deadline - time.monotonic()
            if billed or left_s <= 0:
                break
            await asyncio.sleep(min(0.1, left_s))
    found.sort(key=lambda record: (record.topic != settings.prefix + topics.EVENTS, record.offset))
    return [_plain(record) for record in found]


def _plain(record: ConsumerRecord) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key.decode(),
        "timestamp_ms": record.timestamp,
        "headers": {name: value.decode() for name, value in record.headers},
        "value": json.loads(record.value),
    }
