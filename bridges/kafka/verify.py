"""Proof for a window: both logs read again, and compared event by event.

The checker knows nothing of the bridge but which ends are billed (`bridges.judging`): it takes the log from the bus
and the records as a `read_committed` consumer gets them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from bridges.judging import is_billed
from bridges.kafka import topics
from bridges.kafka.readback import consumer, read_to_end, stored_ends
from bridges.kafka.settings import KafkaSettings
from bus.port import Bus, Entry
from bus.subjects import LOG_STREAM
from schemas.errors import NotFound, Unavailable

EXAMPLES: Final = 10
PRIMARY: Final = (topics.EVENTS, topics.AUDIT, topics.DEAD_LETTERS)
_READ_S: Final = 5.0

Expected = dict[int, tuple[bytes, bool]]
"""Of each sequence the digest of its bytes, and whether it is billed."""


@dataclass(slots=True)
class VerifyReport:
    """What was compared, and what is wrong: each fault counted, the first ten told.

    `records` hold an event each, the `dead_letters` among them: an event that is one is in its place.
    """

    first: int
    last: int
    events: int = 0
    records: int = 0
    usage_records: int = 0
    dead_letters: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every event exactly once, with its bytes or as a dead letter, in order per key; every bill exactly once."""
        return not self.faults

    def fault(self, kind: str, example: str) -> None:
        """Count one, and tell it when it is among the first."""
        self.faults[kind] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{kind}: {example}")


@dataclass(frozen=True, slots=True)
class Seen:
    """A record of the window, as a consumer saw it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    sequence: int
    digest: bytes

    @property
    def place(self) -> str:
        """Where it is, for a report."""
        return f"{self.topic}[{self.partition}]@{self.offset} (event {self.sequence})"


async def verify(bus: Bus, settings: KafkaSettings, first: int, last: int) -> VerifyReport:
    """Compare events `first` to `last`, both included, which must still be in the log.

    Raises `NotFound` when the log does not hold the window, `Unavailable` when it stops answering.
    """
    report = VerifyReport(first, last)
    expected = await _expected(bus, first, last)
    compare(report, expected, await _seen(settings, first, last))
    return report


def compare(report: VerifyReport, expected: Expected, seen: Iterable[Seen]) -> None:
    """Judge `seen`, each partition in order of its offsets, against what is expected."""
    primary: Counter[int] = Counter()
    usage: Counter[int] = Counter()
    homes: dict[tuple[str, bytes], int] = {}
    newest: dict[tuple[str, bytes], int] = {}
    for record in seen:
        counts = usage if record.topic == topics.USAGE else primary
        counts[record.sequence] += 1
        if counts[record.sequence] > 1:
            report.fault("duplicate", record.place)
        elif record.sequence <= newest.get((record.topic, record.key), 0):
            report.fault("out_of_order", record.place)
        if homes.setdefault((record.topic, record.key), record.partition) != record.partition:
            report.fault("key_in_two_partitions", record.place)
        newest[record.topic, record.key] = max(record.sequence, newest.get((record.topic, record.key), 0))
        report.dead_letters += record.topic == topics.DEAD_LETTERS
        _check_content(report, record, expected)
    _check_counts(report, expected, primary, usage)
    report.events, report.records, report.usage_records = len(expected), primary.total(), usage.total()


def _check_content(report: VerifyReport, record: Seen, expected: Expected) -> None:
    wanted = expected.get(record.sequence)
    if wanted is None:
        report.fault("unknown", record.place)
    elif record.topic != topics.USAGE and record.digest != wanted[0]:
        report.fault("altered", record.place)


def _check_counts(report: VerifyReport, expected: Expected, primary: Counter[int], usage: Counter[int]) -> None:
    for sequence, (_, billed) in expected.items():
        if not primary[sequence]:
            report.fault("missing", f"event {sequence}")
        if billed and not usage[sequence]:
            report.fault("usage_missing", f"event {sequence}")
        if usage[sequence] and not billed:
            report.fault("usage_unasked", f"event {sequence}")


async def _expected(bus: Bus, first: int, last: int) -> Expected:
    info = await bus.log.info()
    if not info.last:
        raise NotFound("the log holds no event yet: hand in a task first")
    if not info.first <= first <= last <= info.last:
        raise NotFound(f"the log holds {info.first} to {info.last}, not all of {first} to {last}: take a window inside")
    expected: Expected = {}
    async with bus.log.read(first - 1) as reader:
        while len(expected) <= last - first:
            entries = await reader.next(_READ_S)
            if not entries:
                raise Unavailable(f"the log sent nothing for {_READ_S} s after {len(expected)} events")
            expected.update((entry.sequence, _fact(entry)) for entry in entries if first <= entry.sequence <= last)
            if entries[-1].sequence >= last:
                break
    return expected


def _fact(entry: Entry) -> tuple[bytes, bool]:
    return _digest(entry.data), is_billed(entry)


async def _seen(settings: KafkaSettings, first: int, last: int) -> list[Seen]:
    prefix = settings.prefix
    partitions = [
        TopicPartition(prefix + topic, number)
        for topic in (*PRIMARY, topics.USAGE)
        for number in range(topics.partitions_of(topic, settings))
    ]
    ends = await stored_ends(settings, partitions)
    seen: list[Seen] = []
    async with consumer(settings, partitions) as reader:
        async for records in read_to_end(reader, partitions, settings, ends):
            seen += [one for record in records if (one := _of_window(record, prefix, first, last)) is not None]
    return sorted(seen, key=lambda record: (record.topic, record.partition, record.offset))


def _of_window(record: ConsumerRecord, prefix: str, first: int, last: int) -> Seen | None:
    headers = dict(record.headers)
    if headers.get("aion_stream") != LOG_STREAM.encode():
        return None
    sequence = int(headers.get("aion_seq", b"0"))
    if not first <= sequence <= last:
        return None
    topic, value = record.topic.removeprefix(prefix), record.value or b""
    is_cut = topic == topics.DEAD_LETTERS and headers.get("aion_size_bytes") != b"%d" % len(value)
    digest = headers.get("aion_sha256", b"") if is_cut else _digest(value)
    return Seen(topic, record.partition, record.offset, record.key or b"", sequence, digest)


def _digest(data: bytes) -> bytes:
    """As a dead letter tells it of its whole event, which may be more than it holds."""
    return hashlib.sha256(data).hexdigest().encode()
