"""The mandatory topics: created where absent, and refused where they are not what they must be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from bridges.kafka.connect import client_options, let_in
from bridges.kafka.settings import MESSAGE_BYTES, KafkaSettings
from bus.waiting import timeout
from schemas.errors import Misconfigured, Unavailable

EVENTS: Final = "aion.task.events.v1"
USAGE: Final = "aion.usage.v1"
AUDIT: Final = "aion.audit.v1"
MODULES: Final = "aion.modules.v1"
POLICY: Final = "aion.policy.v1"
DEAD_LETTERS: Final = "aion.dlq.v1"
COMMANDS: Final = "aion.commands.v1"
OFFSETS: Final = "__aion.bridge.offsets"

_EXACT: Final = ("cleanup.policy", "max.message.bytes")
_IN_SYNC: Final = "min.insync.replicas"
_TOPIC_EXISTS: Final = 36
_UNKNOWN_TOPIC: Final = 3


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it must be."""

    name: str
    partitions: int
    configs: dict[str, str] = field(default_factory=dict)


def mandatory(settings: KafkaSettings) -> tuple[Topic, ...]:
    """All of them. Event topics are deleted by age, the positions are compacted.

    What was acknowledged survives the loss of a broker: all replicas but one hold it, where there are several.
    """
    in_sync = {_IN_SYNC: str(max(1, settings.replication - 1))}
    kept = in_sync | {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.retention_ms),
        "max.message.bytes": str(MESSAGE_BYTES),
    }
    keyed = (EVENTS, USAGE, AUDIT, MODULES, POLICY, COMMANDS)
    offsets = in_sync | {"cleanup.policy": "compact", "segment.ms": "600000", "segment.bytes": "16777216"}
    return (
        *(Topic(settings.prefix + name, settings.partitions, kept) for name in keyed),
        Topic(settings.prefix + DEAD_LETTERS, 1, kept),
        Topic(settings.prefix + OFFSETS, 1, offsets),
    )


def partitions_of(topic: str, settings: KafkaSettings) -> int:
    """How many partitions one of the topics above has."""
    return 1 if topic in (DEAD_LETTERS, OFFSETS) else settings.partitions


async def ensure_topics(settings: KafkaSettings) -> None:
    """Create what is absent, check what is there.

    Raises `Misconfigured` naming every difference and what to do, `Unavailable` when Kafka does not answer.
    """
    wanted = mandatory(settings)
    async with _administering(settings, 3 * settings.step_timeout_s) as admin:
        await _create(admin, wanted, settings)
        differences = await _differences(admin, wanted, settings)
    if differences:
        raise Misconfigured(
            "Kafka topics are not what they must be: " + "; ".join(differences) + ". Change the settings, or move to "
            "new topics with another prefix: partition counts never change in place."
        )


@dataclass(frozen=True, slots=True)
class Survey:
    """What a cluster has of what AION needs; `differences` speaks of the topics that are there."""

    brokers: int
    absent: tuple[str, ...]
    differences: tuple[str, ...]


async def survey(settings: KafkaSettings, timeout_s: float) -> Survey:
    """Look without creating or changing anything. Raises `Unavailable` when Kafka does not answer in time."""
    async with _administering(settings, timeout_s) as admin:
        brokers = (await admin.describe_cluster())["brokers"]
        wanted = mandatory(settings)
        absent = await _absent(admin, wanted)
        there = tuple(topic for topic in wanted if topic.name not in absent)
        differences = await _differences(admin, there, settings) if there else []
    return Survey(len(brokers), tuple(sorted(absent)), tuple(differences))


@asynccontextmanager
async def _administering(settings: KafkaSettings, timeout_s: float) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        async with let_in(settings), timeout(timeout_s):
            await admin.start()
            yield admin
    except TimeoutError as error:
        raise Unavailable(f"Kafka at {settings.bootstrap} did not answer about its topics") from error
    finally:
        await admin.close()


async def _absent(admin: AIOKafkaAdminClient, wanted: tuple[Topic, ...]) -> set[str]:
    found = await admin.describe_topics([topic.name for topic in wanted])
    return {topic["topic"] for topic in found if topic["error_code"] == _UNKNOWN_TOPIC}


async def _create(admin: AIOKafkaAdminClient, wanted: tuple[Topic, ...], settings: KafkaSettings) -> None:
    absent = await _absent(admin, wanted)
    new = [
        NewTopic(topic.name, topic.partitions, settings.replication, topic_configs=topic.configs)
        for topic in wanted
        if topic.name in absent
    ]
    if not new:
        return
    answer = await admin.create_topics(new, timeout_ms=int(settings.step_timeout_s * 1000))
    for name, code, message in answer.topic_errors:
        if code not in (0, _TOPIC_EXISTS):
            raise Misconfigured(f"Kafka refused to create topic {name}: error {code} {message or ''}")
    await _until_seen(admin, [topic.name for topic in new])


async def _until_seen(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    """A topic is created before every broker knows it; the caller's deadline bounds the wait."""
    while any(topic["error_code"] for topic in await admin.describe_topics(names)):  # noqa: ASYNC110 - a broker's state
        await asyncio.sleep(0.05)


async def _differences(admin: AIOKafkaAdminClient, wanted: tuple[Topic, ...], settings: KafkaSettings) -> list[str]:
    shapes = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics([t.name for t in wanted])}
    configs = await _configs(admin, wanted)
    differences: list[str] = []
    for topic in wanted:
        partitions = shapes[topic.name]
        if len(partitions) != topic.partitions:
            differences.append(f"{topic.name} has {len(partitions)} partitions, not {topic.partitions}")
        elif any(len(partition["replicas"]) < settings.replication for partition in partitions):
            differences.append(f"{topic.name} has fewer than {settings.replication} replicas")
        for key in _EXACT:
            found = configs[topic.name].get(key)
            if key in topic.configs and found != topic.configs[key]:
                differences.append(f"{topic.name} has {key}={found}, not {topic.configs[key]}")
        in_sync = configs[topic.name].get(_IN_SYNC)
        if int(in_sync or 1) < int(topic.configs[_IN_SYNC]):
            least = topic.configs[_IN_SYNC]
            differences.append(f"{topic.name} has {_IN_SYNC}={in_sync}, less than {least}: kafka-configs can raise it")
    return differences


async def _configs(admin: AIOKafkaAdminClient, wanted: tuple[Topic, ...]) -> dict[str, dict[str, Any]]:
    keys = dict.fromkeys((*_EXACT, _IN_SYNC), "")
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic.name, keys) for topic in wanted]
    answers = await admin.describe_configs(asked)
    found = [resource for answer in answers for resource in answer.resources]
    return {resource[3]: {entry[0]: entry[1] for entry in resource[4]} for resource in found}
