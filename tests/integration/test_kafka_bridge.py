"""The bridge over a real Kafka: killed at every step of a transaction, it loses nothing and repeats nothing."""

import asyncio
import gc
import os
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from bridging import kill_producers, reach, running, until
from story import NOW_MS, Story, entries_of

from actors.runtime.actor import Context
from bridges.kafka import readback, topics
from bridges.kafka.actor import KafkaBridge
from bridges.kafka.encode import Encoder
from bridges.kafka.producer import transactional_producer
from bridges.kafka.records import records_of_task
from bridges.kafka.settings import KafkaSettings
from bridges.kafka.sink import KafkaSink, open_kafka_sink
from bridges.kafka.topics import ensure_topics, survey
from bridges.kafka.verify import verify
from bridges.position import Batch, Position, check_batch
from bus.memory import MemoryBus, MemoryServer
from bus.port import Entry
from schemas.errors import Misconfigured, NotFound, TakenOver, Unavailable
from schemas.events import TaskEvent


@pytest.fixture
async def settings(kafka_bootstrap: str) -> KafkaSettings:
    """Topics of this test's own, small transactions."""
    mark = uuid.uuid4().hex[:12]
    made = KafkaSettings(
        bootstrap=kafka_bootstrap,
        prefix=f"{mark}.",
        transactional_id=mark,
        partitions=2,
        batch_events=40,
        linger_ms=0,
    )
    await ensure_topics(made)
    return made


def life(task_id: str, text: str) -> tuple[TaskEvent, ...]:
    story = Story()
    return story.accepted(task_id, text=text), story.routed(task_id), story.ended(task_id, 700)


async def live_some(bus: MemoryBus, count: int, *, first: int = 0, text: str = "hi") -> int:
    """Tasks from acceptance to end, ten at a time interleaved; the log's head."""
    for start in range(first, first + count, 10):
        lives = [life(f"t{number}", text) for number in range(start, min(start + 10, first + count))]
        after = [0] * len(lives)
        for step in range(3):
            for number, events in enumerate(lives):
                after[number] = await bus.log.append(events[step], after=after[number])
    return (await bus.log.info()).last


async def whole_batch(bus: MemoryBus) -> Batch:
    made = check_batch("kafka", None, await entries_of(bus), created=(await bus.log.info()).created)
    assert made is not None
    return made


def bridge(server: MemoryServer, settings: KafkaSettings) -> KafkaBridge:
    context = Context(MemoryBus(server), "one", structlog.get_logger(), lambda: NOW_MS, random.Random(1))
    return KafkaBridge(context, settings)


async def positioned(subject: KafkaBridge) -> None:
    await until(lambda: subject.ready() is None)


async def test_every_event_reaches_kafka_once_in_order(settings: KafkaSettings) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    last = await live_some(bus, 100)
    subject = bridge(server, settings)
    async with running(subject):
        await reach(subject, last)
    report = await verify(bus, settings, 1, last)
    assert report.ok, report.examples
    assert (report.events, report.records, report.usage_records) == (300, 300, 100)


STEPS = ("begin_transaction", "send_batch", "commit_transaction")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_of_a_transaction(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    """`after` a step is the unknown outcome: the broker did it, and nobody heard."""
    kill_producers(monkeypatch, step, moment)
    server = MemoryServer()
    bus = MemoryBus(server)
    last = await live_some(bus, 100)
    subject = bridge(server, settings)
    async with running(subject):
        await reach(subject, last)
        assert subject.status()["failures"] == 3
    report = await verify(bus, settings, 1, last)
    assert report.ok, report.examples


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_while_the_next_batch_is_prepared_and_another_is_being_written(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    left, calls = 3, 0
    real = KafkaSink.prepare

    async def deadly(self: KafkaSink, batch: Batch) -> None:
        nonlocal left, calls
        calls += 1
        dies = left > 0 and calls % 3 == 2
        left -= dies
        if dies and moment == "before":
            raise ConnectionError("killed before")
        await real(self, batch)
        if dies:
            raise ConnectionError("killed after")

    monkeypatch.setattr(KafkaSink, "prepare", deadly)
    server = MemoryServer()
    bus = MemoryBus(server)
    last = await live_some(bus, 100)
    subject = bridge(server, settings)
    async with running(subject):
        await reach(subject, last)
        assert subject.status()["failures"] == 3
    report = await verify(bus, settings, 1, last)
    assert report.ok, report.examples


async def test_bridges_killed_at_random_moments(settings: KafkaSettings) -> None:
    server, rng = MemoryServer(), random.Random(23)
    bus = MemoryBus(server)
    last, cut_short = 0, 0
    for life in range(12):
        last = await live_some(bus, 40, first=life * 40)
        subject = bridge(server, settings)
        task = asyncio.create_task(subject.run())
        await positioned(subject)
        await asyncio.sleep(rng.uniform(0, 0.15))
        cut_short += int(str(subject.status()["sequence"])) < last
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    subject = bridge(server, settings)
    async with running(subject):
        await reach(subject, last)
    assert cut_short > 0, "no life was cut short: the test showed nothing"
    report = await verify(bus, settings, 1, last)
    assert report.ok, report.examples


async def test_a_zombie_is_fenced_and_its_transaction_is_not_seen(settings: KafkaSettings) -> None:
    bus = MemoryBus(MemoryServer())
    last = await live_some(bus, 10)
    batch = await whole_batch(bus)

    async def be_replaced_and_write() -> None:
        async with open_kafka_sink(settings) as zombie:
            assert await zombie.position() is None
            async with open_kafka_sink(settings) as successor:
                assert await successor.position() is None
                await successor.write(batch)
            await zombie.write(batch)

    with pytest.raises(TakenOver):
        await be_replaced_and_write()
    report = await verify(bus, settings, 1, last)
    assert report.ok, report.examples


class Unheard:
    """What asyncio complains of: exceptions that nobody retrieved, tasks that nobody ended."""

    def __init__(self) -> None:
        self._complaints: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _loop, context: self._complaints.append(str(context)))

    async def complaints(self) -> list[str]:
        for _ in range(3):
            await asyncio.sleep(0.2)
            gc.collect()
        return self._complaints


async def test_a_fenced_producer_leaves_nothing_unheard(settings: KafkaSettings) -> None:
    """Several batches a partition: some are sent, some wait, some were never handed in when the sender ends."""
    unheard = Unheard()
    small = settings.model_copy(update={"batch_bytes": 16_384})
    bus = MemoryBus(MemoryServer(max_bytes=1 << 26))
    await live_some(bus, 40, text=os.urandom(1000).hex())
    batch = await whole_batch(bus)

    async def be_replaced_and_write() -> None:
        async with open_kafka_sink(small) as zombie:
            assert await zombie.position() is None
            async with open_kafka_sink(small) as successor:
                assert await successor.position() is None
            await zombie.write(batch)

    with pytest.raises(TakenOver):
        await be_replaced_and_write()
    assert await unheard.complaints() == []


async def test_a_producer_whose_broker_fell_silent_leaves_nothing_unheard(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is thrown away while one batch of each partition waits for its answer and others to be sent."""
    unheard = Unheard()
    real = AIOKafkaClient.send

    async def silent(self: AIOKafkaClient, node_id: int, request: Any, **kwargs: Any) -> Any:
        if isinstance(request, ProduceRequest):
            await asyncio.Event().wait()
        return await real(self, node_id, request, **kwargs)

    hasty = settings.model_copy(update={"batch_bytes": 16_384, "step_timeout_s": 1.0})
    bus = MemoryBus(MemoryServer(max_bytes=1 << 26))
    await live_some(bus, 40, text=os.urandom(1000).hex())
    batch = await whole_batch(bus)

    async def write_in_vain() -> None:
        async with open_kafka_sink(hasty) as sink:
            assert await sink.position() is None
            monkeypatch.setattr(AIOKafkaClient, "send", silent)
            await sink.write(batch)

    with pytest.raises(Unavailable):
        await write_in_vain()
    assert await unheard.complaints() == []


async def test_a_bridge_that_was_replaced_ends_instead_of_fighting(settings: KafkaSettings) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    last = await live_some(bus, 10)
    old, new = bridge(server, settings), bridge(server, settings)
    old_run = asyncio.create_task(old.run())
    await reach(old, last)
    async with running(new):
        await reach(new, last)
        last = await live_some(bus, 10, first=10)
        with pytest.raises(TakenOver):
            await old_run
        await reach(new, last)
    report = await verify(bus, settings, 1, last)
    assert report.ok, report.examples


async def test_a_batch_the_broker_refuses_aborts_the_whole_transaction(settings: KafkaSettings) -> None:
    """aiokafka would commit the rest: see `bridges.kafka.producer.commit`."""
    greedy = settings.model_copy(update={"batch_bytes": 8_000_000, "compression": "none"})
    bus = MemoryBus(MemoryServer(max_bytes=1 << 26))
    last = await live_some(bus, 10, text=os.urandom(200_000).hex())
    batch = await whole_batch(bus)
    with pytest.raises(Exception, match="MessageSizeTooLarge"):
        async with open_kafka_sink(greedy) as sink:
            await sink.write(batch)
    async with open_kafka_sink(settings) as sink:
        assert await sink.position() is None
    report = await verify(bus, settings, 1, last)
    assert report.faults == {"missing": last, "usage_missing": 10}


async def test_what_cannot_be_encoded_is_a_dead_letter_of_the_same_transaction(settings: KafkaSettings) -> None:
    bus = MemoryBus(MemoryServer())
    last = await live_some(bus, 1)
    poison = Entry(last + 1, NOW_MS * 1_000_000, "aion.task.accepted.normal.acme.t9", b"\x00 not json")
    made = check_batch("kafka", None, [*await entries_of(bus), poison], created="c")
    assert made is not None
    async with open_kafka_sink(settings) as sink:
        await sink.write(made)
    async with open_kafka_sink(settings) as sink:
        at = await sink.position()
    assert at is not None
    assert at.sequence == last + 1
    assert at.event_id.startswith("sha256:")
    assert (await verify(bus, settings, 1, last)).ok


async def test_the_position_goes_on_counting_over_lives(settings: KafkaSettings) -> None:
    bus = MemoryBus(MemoryServer())
    await live_some(bus, 20)
    entries = await entries_of(bus)
    at: Position | None = None
    for start in range(0, 60, 15):
        async with open_kafka_sink(settings) as sink:
            assert await sink.position() == at
            made = check_batch("kafka", at, entries[start : start + 15], created="c")
            assert made is not None
            await sink.write(made)
            at = made.up_to
    assert (await verify(bus, settings, 1, 60)).ok


@asynccontextmanager
async def open_transaction(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """Another bridge over the same topics, in the middle of a transaction."""
    other = settings.model_copy(update={"transactional_id": f"{settings.transactional_id}-other"})
    async with transactional_producer(other) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(settings.prefix + topics.OFFSETS, b"{}", b"other")
        yield producer


async def test_a_position_behind_the_open_transaction_of_another_bridge_is_waited_for(settings: KafkaSettings) -> None:
    bus = MemoryBus(MemoryServer())
    await live_some(bus, 10)
    batch = await whole_batch(bus)
    async with open_transaction(settings) as other:
        async with open_kafka_sink(settings) as sink:
            await sink.write(batch)
        async with open_kafka_sink(settings) as sink:
            asked = asyncio.create_task(sink.position())
            await asyncio.sleep(1.0)
            assert not asked.done()
            await other.abort_transaction()
            assert await asked == batch.up_to


async def test_no_position_is_told_while_another_bridge_keeps_its_transaction_open(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "SWEEP_S", 0.0)
    brief = settings.model_copy(update={"transaction_timeout_ms": 1000})
    async with open_transaction(settings), open_kafka_sink(brief) as sink:
        with pytest.raises(Unavailable, match="a transaction stays open"):
            await sink.position()


async def test_topics_that_too_few_replicas_must_hold_are_told(settings: KafkaSettings) -> None:
    found = await survey(settings.model_copy(update={"replication": 3}), 10)
    told = [difference for difference in found.differences if "min.insync.replicas=1, less than 2" in difference]
    assert len(told) == len(topics.mandatory(settings))


async def test_verify_finds_a_planted_duplicate(settings: KafkaSettings) -> None:
    bus = MemoryBus(MemoryServer())
    last = await live_some(bus, 5)
    async with open_kafka_sink(settings) as sink:
        await sink.write(await whole_batch(bus))
    (planted,) = Encoder("LOG", record_bytes=100_000).encode((await entries_of(bus))[3:4])
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
    async with producer:
        await producer.send_and_wait(
            settings.prefix + planted.topic, planted.value, planted.key, headers=planted.headers
        )
    report = await verify(bus, settings, 1, last)
    assert report.faults == {"duplicate": 1}
    assert "event 4" in report.examples[0]


async def test_verify_finds_a_gap(settings: KafkaSettings) -> None:
    bus = MemoryBus(MemoryServer())
    last = await live_some(bus, 5)
    whole = await whole_batch(bus)
    holed = Batch([entry for entry in whole.entries if entry.sequence != 7], None, whole.up_to)
    async with open_kafka_sink(settings) as sink:
        await sink.write(holed)
    report = await verify(bus, settings, 1, last)
    assert report.faults == {"missing": 1}
    assert report.examples == ["missing: event 7"]
    with pytest.raises(NotFound, match="take a window inside"):
        await verify(bus, settings, 1, last + 1)


async def test_the_records_of_one_task_read_back_as_cloudevents(settings: KafkaSettings) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    last = await live_some(bus, 20)
    subject = bridge(server, settings)
    async with running(subject):
        await reach(subject, last)
    records = await records_of_task(settings, "t7", timeout_s=10)
    kinds = [record["headers"]["ce_type"] for record in records]
    assert kinds == [
        "io.aion.task.accepted.v1",
        "io.aion.task.routed.v1",
        "io.aion.task.ended.v1",
        "io.aion.usage.recorded.v1",
    ]
    assert {record["key"] for record in records} == {"t7"}
    assert records[-1]["value"]["cost_nanousd"] == 700
    assert await records_of_task(settings, "nobody", timeout_s=0) == []


async def test_audit_events_have_their_own_topic(settings: KafkaSettings) -> None:
    bus = MemoryBus(MemoryServer())
    for _ in range(3):
        await bus.log.audit(Story().audit())
    async with open_kafka_sink(settings) as sink:
        await sink.write(await whole_batch(bus))
    report = await verify(bus, settings, 1, 3)
    assert report.ok, report.examples
    assert report.records == 3


@pytest.mark.parametrize(
    ("name", "partitions", "configs", "told"),
    [
        (topics.EVENTS, 3, {"max.message.bytes": "2097152"}, "has 3 partitions, not 2"),
        (topics.OFFSETS, 1, {"cleanup.policy": "delete"}, "cleanup.policy=delete, not compact"),
    ],
)
async def test_a_topic_that_is_not_what_it_must_be_is_refused(
    kafka_bootstrap: str, name: str, partitions: int, configs: dict[str, str], told: str
) -> None:
    settings = KafkaSettings(bootstrap=kafka_bootstrap, prefix=f"{uuid.uuid4().hex[:12]}.", partitions=2)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(settings.prefix + name, partitions, 1, topic_configs=configs)])
    finally:
        await admin.close()
    with pytest.raises(Misconfigured, match=told):
        await bridge(MemoryServer(), settings).run()


async def test_without_kafka_the_bridge_waits_and_says_so(unused_port: int) -> None:
    settings = KafkaSettings(bootstrap=f"127.0.0.1:{unused_port}", transactional_id="nobody")
    subject = bridge(MemoryServer(), settings)
    async with running(subject):
        await until(lambda: int(str(subject.status()["failures"])) >= 2)
        waiting = subject.ready()
    assert waiting is not None
    assert settings.bootstrap in waiting


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
