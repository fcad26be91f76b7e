"""Reading what is left, with the servers' own clients and none of AION's readers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import nats
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from checker.history import AUDIT, DEAD_LETTERS, EVENTS, USAGE, KafkaRecord, LogEntry, TaskRow, UsageRow
from nats.js.errors import NotFoundError

OFFSETS = "__aion.bridge.offsets"
STEP_S = 10.0
TOGETHER = 128


async def log_end(nats_url: str) -> int:
    """The newest sequence of the log."""
    async with _nats(nats_url) as client:
        info = await client.jetstream(timeout=STEP_S).stream_info("LOG")
    return int(info.state.last_seq)


async def read_log(nats_url: str, begin: int, end: int) -> list[LogEntry]:
    """Each message of `begin + 1 .. end` asked for by its sequence; one that is not there is not in the list."""
    found: list[LogEntry] = []
    async with _nats(nats_url) as client:
        stream = client.jetstream(timeout=STEP_S)

        async def one(sequence: int) -> LogEntry | None:
            try:
                raw = await stream.get_msg("LOG", sequence, direct=True)
            except NotFoundError:
                return None
            assert raw.seq == sequence, raw
            assert raw.subject is not None, raw
            assert raw.time is not None, raw
            return LogEntry(sequence, raw.subject, int(raw.time.timestamp() * 1000), json.loads(raw.data or b""))

        for first in range(begin + 1, end + 1, TOGETHER):
            some = await asyncio.gather(*map(one, range(first, min(first + TOGETHER, end + 1))))
            found += [entry for entry in some if entry is not None]
    return found


class Kafka:
    """Kafka as its consumers see it: `read_committed`, up to the last stable offset."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        self._consumer = consumer
        self._admin = admin

    async def ends(self, *topics: str) -> dict[TopicPartition, int]:
        """The last stable offset of every partition of `topics`; a topic that is not there has none."""
        async with asyncio.timeout(STEP_S):
            found = await self._admin.describe_topics(list(topics))
            parts = [TopicPartition(t["topic"], p["partition"]) for t in found for p in t["partitions"]]
            ends: dict[TopicPartition, int] = await self._consumer.end_offsets(parts) if parts else {}
        return ends

    async def read(self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> list[Any]:
        """Every record from `begins` (else the first) to `ends`."""
        consumer, found = self._consumer, []
        left = {part for part, end in ends.items() if begins.get(part, 0) < end}
        consumer.assign(list(left))
        async with asyncio.timeout(STEP_S):
            for part in left:
                consumer.seek(part, begins.get(part, 0))
            while left:
                batches = await consumer.getmany(*left, timeout_ms=100)
                found += [r for part, records in batches.items() for r in records if r.offset < ends[part]]
                left = {part for part in left if await consumer.position(part) < ends[part]}
        return found

    async def position(self) -> int:
        """The log sequence in the bridge's newest committed position."""
        records = await self.read({}, await self.ends(OFFSETS))
        return max((int(json.loads(record.value)["seq"]) for record in records), default=0)

    async def events(self, begins: Mapping[TopicPartition, int]) -> list[KafkaRecord]:
        """All records of the topics that carry events, with headers as text."""
        records = await self.read(begins, await self.ends(EVENTS, USAGE, AUDIT, DEAD_LETTERS))
        return [_record(record) for record in records]


@asynccontextmanager
async def kafka(bootstrap: str) -> AsyncIterator[Kafka]:
    """A consumer that belongs to no group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        async with asyncio.timeout(STEP_S):
            await consumer.start()
            await admin.start()
        yield Kafka(consumer, admin)
    finally:
        async with asyncio.timeout(STEP_S):
            await consumer.stop()
            await admin.close()


async def ledger_position(url: str) -> int:
    """The log sequence that the ledger says it holds; 0 before its tables exist."""
    connection = await asyncpg.connect(url, timeout=STEP_S)
    try:
        query = "SELECT sequence FROM projection_position WHERE projection = 'ledger'"
        return int(await connection.fetchval(query, timeout=STEP_S) or 0)
    except asyncpg.UndefinedTableError:
        return 0
    finally:
        await connection.close(timeout=STEP_S)


async def read_ledger(url: str, begin: int) -> tuple[Sequence[TaskRow], Sequence[UsageRow]]:
    """The rows of tasks that were first seen after `begin`, and the bills written after it."""
    tasks = "SELECT tenant_id, task_id, state, outcome, cost_nanousd, attempts FROM tasks WHERE first_sequence > $1"
    usage = (
        "SELECT tenant_id, task_id, cost_nanousd, tokens, latency_ms, outcome FROM usage_billing WHERE sequence > $1"
    )
    connection = await asyncpg.connect(url, timeout=STEP_S)
    try:
        rows = await connection.fetch(tasks, begin, timeout=STEP_S)
        bills = await connection.fetch(usage, begin, timeout=STEP_S)
    finally:
        await connection.close(timeout=STEP_S)
    return [TaskRow(*row) for row in rows], [UsageRow(*row) for row in bills]


def _record(record: Any) -> KafkaRecord:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    try:
        body = json.loads(record.value)
    except ValueError:
        body = {"unreadable": repr(record.value[:80])}
    topic = re.sub(r"^.*?(?=aion\.)", "", record.topic)
    return KafkaRecord(topic, record.partition, record.offset, record.key.decode(), headers, body)


@asynccontextmanager
async def _nats(url: str) -> AsyncIterator[Any]:
    client = await nats.connect(url, connect_timeout=2, max_reconnect_attempts=3, allow_reconnect=True)
    try:
        yield client
    finally:
        await client.close()
