"""Whatever becomes a dead letter in Kafka, Kafka and the ledger bill the same ends, each once, and `verify` agrees."""

import hashlib
import json
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import nats as nats_py
import pytest
import structlog
from aiokafka import ConsumerRecord, TopicPartition
from bridging import kill_producers, reach, running
from natsd import Natsd
from story import NOW_MS, Story

from actors.runtime.actor import Context
from bridges.kafka import topics
from bridges.kafka.actor import KafkaBridge
from bridges.kafka.readback import consumer, read_to_end, stored_ends
from bridges.kafka.records import records_of_task
from bridges.kafka.settings import KafkaSettings
from bridges.kafka.topics import ensure_topics
from bridges.kafka.verify import verify
from bridges.ledger.actor import Ledger
from bridges.ledger.settings import LedgerSettings
from bus import Bus, open_bus
from bus.memory import MemoryBus, MemoryServer
from bus.subjects import of_event
from schemas.events import LogEvent
from schemas.ids import EventId
from schemas.message import changed, encode

LEAST = 16_384
"""The smallest `record_bytes` that there is."""
CUT = 262_144
"""What a dead letter keeps."""


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> KafkaSettings:
    """Topics of this test's own, small transactions, and the least that a record may have."""
    mark = uuid.uuid4().hex[:12]
    more: dict[str, Any] = {"partitions": 2, "batch_events": 4, "linger_ms": 0, "record_bytes": LEAST}
    made = KafkaSettings(bootstrap=kafka_bootstrap, prefix=f"{mark}.", transactional_id=mark, **more)
    await ensure_topics(made)
    return made


@pytest.fixture
async def ledger(postgres_url: str) -> AsyncIterator[LedgerSettings]:
    """A database of this test's own."""
    name = f"dead_letters_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        url = f"{postgres_url.rsplit('/', 1)[0]}/{name}"
        yield LedgerSettings.model_validate({"url": url, "batch_events": 4, "linger_ms": 0})
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


def context(bus: Bus) -> Context:
    return Context(bus, "one", structlog.get_logger(), lambda: NOW_MS, random.Random(1))


def large(size_bytes: int) -> str:
    """A text that does not become small when it is compressed."""
    return random.Random(size_bytes).randbytes(size_bytes // 2).hex()


async def live(bus: Bus, task_id: str, cost: int, text: str) -> int:
    """A task from its acceptance to its end, which has `text`; the sequence of the end."""
    story = Story()
    after = await bus.log.append(story.accepted(task_id), after=0)
    after = await bus.log.append(story.routed(task_id), after=after)
    return await bus.log.append(story.ended(task_id, cost, text=text), after=after)


async def read_topic(settings: KafkaSettings, topic: str) -> list[ConsumerRecord]:
    """All records of `topic` under `read_committed`, in the order of the log."""
    count = topics.partitions_of(topic, settings)
    partitions = [TopicPartition(settings.prefix + topic, number) for number in range(count)]
    ends = await stored_ends(settings, partitions)
    async with consumer(settings, partitions) as reader:
        found = [one async for some in read_to_end(reader, partitions, settings, ends) for one in some]
    return sorted(found, key=sequence_of)


def sequence_of(record: ConsumerRecord) -> int:
    return int(dict(record.headers)["aion_seq"])


async def billed_in_kafka(settings: KafkaSettings) -> list[tuple[int, int]]:
    """Sequence and cost of each usage record, repetitions included."""
    records = await read_topic(settings, topics.USAGE)
    return [(sequence_of(record), json.loads(record.value)["cost_nanousd"]) for record in records]


async def fetch(settings: LedgerSettings, sql: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(settings.url.get_secret_value())
    try:
        return [tuple(row.values()) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


@dataclass
class Wanted:
    """What must become of a log, by sequence: the costs that are billed, the dead letters and why, the unreadable."""

    bills: dict[int, int] = field(default_factory=dict)
    dead: dict[int, str] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)

    def foreign(self, sequence: int, reason: str) -> None:
        self.dead[sequence] = reason
        self.unreadable.append(sequence)


async def what_actors_write(bus: Bus, wanted: Wanted) -> None:
    story, wide = Story(), large(20_000)
    wanted.bills[await live(bus, "small", 10, "ok")] = 10
    for name, cost, text in (("wide", 20, wide), ("huge", 30, large(600_000))):
        end = await live(bus, name, cost, text)
        wanted.bills[end], wanted.dead[end] = cost, "TooLarge"
    wanted.dead[await bus.log.append(story.accepted("wide-params", text=wide), after=0)] = "TooLarge"
    wanted.dead[await bus.log.audit(story.audit(wide))] = "TooLarge"


async def what_others_publish(nats: Natsd, wanted: Wanted) -> None:
    """Past all checks: ends that nobody can read or believe, small and large, and ends of a task that has ended."""
    story = Story()
    client = await nats_py.connect(nats.url)

    async def publish(event: LogEvent, data: bytes | None = None, subject: str | None = None) -> int:
        stored = await client.jetstream().publish(subject or of_event(event), encode(event) if data is None else data)
        return stored.seq

    try:
        for text in ("ok", large(20_000)):
            end = story.ended("other", 40, text=text)
            of_another = of_event(end).replace(".other", ".small")
            wanted.foreign(await publish(end, subject=of_another), "Unfit")
            wanted.foreign(await publish(end, encode(end)[:-1]), "schema")
            wanted.foreign(await publish(end, b"\xff" + text.encode()), "schema")
            wanted.foreign(await publish(changed(end, event_id=EventId("e" * 257))), "Unfit")
            second = await publish(story.ended("small", 50, text=text))
            wanted.bills[second] = 50
        wanted.dead[second] = "TooLarge"
        odd = story.accepted("odd")
        wanted.unreadable.append(await publish(odd, encode(odd).replace(b'"hi"', b"1e999")))  # in Kafka, by its head
    finally:
        await client.close()


async def test_every_kind_of_dead_letter_is_billed_in_kafka_as_in_the_ledger(
    nats: Natsd, kafka: KafkaSettings, ledger: LedgerSettings
) -> None:
    async with open_bus(nats.settings()) as bus:
        wanted = Wanted()
        await what_actors_write(bus, wanted)
        await what_others_publish(nats, wanted)
        wanted.bills[await live(bus, "last", 60, "ok")] = 60
        last = (await bus.log.info()).last
        for some in (last // 3, last):  # each bridge has two lives
            for bridge in (KafkaBridge(context(bus), kafka), Ledger(context(bus), ledger)):
                async with running(bridge):
                    await reach(bridge, some)
        report = await verify(bus, kafka, 1, last)
    assert report.ok, report.examples
    assert (report.records, report.dead_letters, report.usage_records) == (
        last,
        len(wanted.dead),
        len(wanted.bills),
    )
    bills = sorted(wanted.bills.items())
    assert await billed_in_kafka(kafka) == bills
    assert await fetch(ledger, "SELECT sequence, cost_nanousd FROM usage_billing ORDER BY 1") == bills
    letters = {sequence_of(letter): letter for letter in await read_topic(kafka, topics.DEAD_LETTERS)}
    reasons = {sequence: dict(letter.headers)["aion_reason"].decode() for sequence, letter in letters.items()}
    assert {sequence: reason.split(":")[0] for sequence, reason in reasons.items()} == wanted.dead
    kept = await fetch(ledger, "SELECT sequence FROM unreadable ORDER BY 1")
    assert kept == [(sequence,) for sequence in wanted.unreadable]


async def test_an_end_too_large_is_billed_beside_the_beginning_of_its_bytes(kafka: KafkaSettings) -> None:
    bus = MemoryBus(MemoryServer())
    last = await live(bus, "t1", 700, large(600_000))
    subject = KafkaBridge(context(bus), kafka)
    async with running(subject):
        await reach(subject, last)
    (letter,) = await read_topic(kafka, topics.DEAD_LETTERS)
    async with bus.log.read(last - 1) as reader:
        (entry,) = await reader.next(1.0)
    headers = dict(letter.headers)
    assert letter.value == entry.data[:CUT]
    assert int(headers["aion_size_bytes"]) == len(entry.data) > CUT
    assert headers["aion_sha256"] == hashlib.sha256(entry.data).hexdigest().encode()
    *_, bill = records = await records_of_task(kafka, "t1", timeout_s=10)
    assert [record["headers"]["ce_type"].split(".")[-2] for record in records] == ["accepted", "routed", "recorded"]
    assert (bill["value"]["cost_nanousd"], bill["headers"]["aion_seq"]) == (700, str(last))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["send_batch", "commit_transaction"])
async def test_a_bridge_that_is_killed_among_dead_letters_bills_each_end_once(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    kill_producers(monkeypatch, step, moment)
    bus = MemoryBus(MemoryServer(max_bytes=1 << 26))
    bills = [(await live(bus, f"t{n}", n, large(20_000) if n % 2 else "ok"), n) for n in range(20)]
    subject = KafkaBridge(context(bus), kafka)
    async with running(subject):
        await reach(subject, 60)
        assert subject.status()["failures"] == 3
    report = await verify(bus, kafka, 1, 60)
    assert report.ok, report.examples
    assert (report.records, report.dead_letters) == (60, 10)
    assert await billed_in_kafka(kafka) == bills


async def test_an_end_stays_billed_once_when_record_bytes_changes_between_two_lives(kafka: KafkaSettings) -> None:
    bus, bills = MemoryBus(MemoryServer()), []
    for life, record_bytes in enumerate((LEAST, 100_000, LEAST)):
        bills += [(await live(bus, f"t{life}-{n}", n, large(20_000)), n) for n in range(3)]
        subject = KafkaBridge(context(bus), kafka.model_copy(update={"record_bytes": record_bytes}))
        async with running(subject):
            await reach(subject, bills[-1][0])
    report = await verify(bus, kafka, 1, bills[-1][0])
    assert report.ok, report.examples
    assert (report.records, report.dead_letters) == (27, 6)
    assert await billed_in_kafka(kafka) == bills
