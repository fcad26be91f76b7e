"""A backlog drained: `python -m benchmarks.backlog [--events 500000] [--projection kafka] [--verify] [--json]`.

The log is filled before the projection starts. The floor is measured in the same run: aiokafka alone, the same events
as values in transactions as large and with the same compression, nothing read from NATS and no position kept.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks import report
from benchmarks.floor.wire import Wire, connect
from benchmarks.processes import Children, cpu_us, run_to_end
from benchmarks.servers import servers
from benchmarks.system.lag import last_sequence, reached
from benchmarks.system.start import environment, free_port, pids_of
from benchmarks.workload import accepted_bytes, ended_bytes, routed_bytes
from bridges.kafka.settings import KafkaSettings
from deploy.local import env

DRAIN_S = 300.0
IN_FLIGHT = 2000
FLOOR_TOPIC = "floor"
FLOOR_PARTITIONS = 4
FLOOR_TRANSACTION = 5000
FLOOR_EVENTS = 200_000
BATCH_BYTES = 1_900_000


@dataclass(frozen=True, slots=True)
class Drained:
    """One backlog. CPU is microseconds an event, children included."""

    events: int
    seconds: float
    events_per_s: float
    floor_events_per_s: float | None
    cpu_us_per_event: dict[str, float]
    verified: bool | None


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backlog", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000, help="events in the log before it starts (500000)")
    parser.add_argument("--projection", choices=("kafka", "ledger"), default="kafka")
    parser.add_argument("--verify", action="store_true", help="read the log and Kafka again and compare")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    return parser.parse_args(arguments)


def history(count: int, *, first: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Subjects and events of as many tasks as make `count` events, three each, without the `first` ones."""
    steps = (
        (b"aion.task.accepted.normal.bench.", accepted_bytes()),
        (b"aion.task.routed.wasm-normal.bench.", routed_bytes()),
        (b"aion.task.ended.completed.bench.", ended_bytes()),
    )
    known = b"00000000-0000-7000-8000-000000000000"
    for number in range(first, count):
        subject, event = steps[number % 3]
        task = b"00000000-0000-7000-8000-%012x" % (number // 3)
        own = b"00000000-0000-7000-9000-%012x" % number
        yield subject + task, event.replace(known, own, 1).replace(known, task)


async def fill(wire: Wire, count: int, *, first: int = 0) -> None:
    """Append the history but its `first` events, so many at once that the server is never idle."""
    free = asyncio.Semaphore(IN_FLIGHT)
    refused: list[bytes] = []

    def stored(_headers: bytes, answer: bytes) -> None:
        free.release()
        if b'"error"' in answer:
            refused.append(answer)

    for subject, event in history(count, first=first):
        await free.acquire()
        wire.request(subject, event, stored)
    for _ in range(IN_FLIGHT):
        await free.acquire()
    if refused or await last_sequence(wire) != count:
        raise RuntimeError(f"the log was not filled: {refused[:1]}")


async def bare_producer(bootstrap: str, count: int) -> float:
    """Events a second of aiokafka alone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(FLOOR_TOPIC, FLOOR_PARTITIONS, 1)])
    await admin.close()
    values = [event for _, event in history(FLOOR_TRANSACTION)]
    headers = [(f"ce_header_{number}", b"x" * 24) for number in range(9)]
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id="floor",
        max_batch_size=BATCH_BYTES,
        compression_type=KafkaSettings().codec,
    )
    await producer.start()
    try:
        began = perf_counter()
        for _ in range(count // FLOOR_TRANSACTION):
            async with producer.transaction():
                await asyncio.gather(*[await sending for sending in _sent(producer, values, headers)])
        return count / (perf_counter() - began)
    finally:
        await producer.stop()


def _sent(producer: AIOKafkaProducer, values: Sequence[bytes], headers: list[tuple[str, bytes]]) -> Iterator[Any]:
    for partition in range(FLOOR_PARTITIONS):
        batch = producer.create_batch()
        for value in values[partition::FLOOR_PARTITIONS]:
            if batch.append(timestamp=None, key=value[:36], value=value, headers=headers) is None:
                yield producer.send_batch(batch, FLOOR_TOPIC, partition=partition)
                batch = producer.create_batch()
                batch.append(timestamp=None, key=value[:36], value=value, headers=headers)
        yield producer.send_batch(batch, FLOOR_TOPIC, partition=partition)


async def drain(wire: Wire, projection: str, target: int) -> tuple[int, float]:
    """Events and seconds from the projection's first commit to its last."""
    async with asyncio.timeout(DRAIN_S):
        first = await reached(wire, projection, 1)
        began = perf_counter()
        await reached(wire, projection, target)
    return target - first, perf_counter() - began


async def measure(folder: Path, options: argparse.Namespace) -> Drained:
    """Fresh servers, a full log, one projection."""
    async with servers(folder, "page-cache") as infos:
        variables = environment(env(infos.values()), free_port(), "page-cache")
        wire = await connect(infos["nats"].url)
        await run_to_end((sys.executable, "-m", "actors", "key", "ls"), variables)  # the first visit makes the log
        await fill(wire, options.events)
        kafka = options.projection == "kafka"
        floor = await bare_producer(variables["AION_KAFKA__BOOTSTRAP"], FLOOR_EVENTS) if kafka else None
        with Children(folder / "logs", variables) as children:
            children.start(options.projection, (sys.executable, "-m", "actors", "run", options.projection))
            pids = pids_of(infos) | children.pids
            before = cpu_us(pids)
            events, seconds = await drain(wire, options.projection, options.events)
            used = {name: round((us - before[name]) / options.events, 2) for name, us in cpu_us(pids).items()}
            children.check()
            verified = await _verify(variables) if options.verify and kafka else None
        wire.close()
    return Drained(events, seconds, events / seconds, floor, used, verified)


async def _verify(variables: dict[str, str]) -> bool:
    command = (sys.executable, "-m", "actors", "bridge", "verify", "--json")
    answer = json.loads(await run_to_end(command, variables, DRAIN_S))
    return bool(answer["ok"])


def text(found: Drained, projection: str) -> str:
    """For a person."""
    rate = f"{found.events_per_s:,.0f} events/s"
    lines = [f"{projection} drained {found.events:,} events in {found.seconds:.1f} s: {rate}"]
    if found.floor_events_per_s:
        share = found.events_per_s / found.floor_events_per_s
        lines.append(f"floor, aiokafka alone: {found.floor_events_per_s:,.0f} events/s; ratio {share:.2f}")
    lines += [f"  CPU an event, {name}: {us:g} us" for name, us in found.cpu_us_per_event.items()]
    if found.verified is not None:
        lines.append("every event is in Kafka exactly once" if found.verified else "LOG AND KAFKA DIFFER")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 when the log and Kafka differ."""
    options = parse(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="aion-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measure(Path(folder) / "backlog", options))
    print(json.dumps({**report.machine(), **asdict(found)}) if options.json else text(found, options.projection))
    return 1 if found.verified is False else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
