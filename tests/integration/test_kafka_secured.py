"""The bridge and a real Kafka that asks who it is: let in by password or certificate, and told plainly when not."""

import asyncio
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import structlog
from secured_kafka import PASSWORD, USER, SecuredKafka, secured_kafka
from story import NOW_MS, Story

from actors.runtime.actor import Context
from bridges.kafka.actor import KafkaBridge
from bridges.kafka.settings import KafkaSettings
from bridges.kafka.topics import ensure_topics
from bridges.kafka.verify import verify
from bus.memory import MemoryBus, MemoryServer
from schemas.errors import Unavailable

Choose: TypeAlias = Callable[[SecuredKafka], KafkaSettings]
CACHE = Path(__file__).parents[2] / "var" / "cache"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("secured-kafka"), CACHE) as doors:
        yield doors


def made(bootstrap: str, **settings: Any) -> KafkaSettings:
    mark = uuid.uuid4().hex[:12]
    own = {"prefix": f"{mark}.", "transactional_id": mark, "partitions": 2, "linger_ms": 0}
    return KafkaSettings.model_validate({"bootstrap": bootstrap, **own, **settings})


def by_password(kafka: SecuredKafka, **settings: Any) -> KafkaSettings:
    return made(kafka.passwords, **{"tls_ca": kafka.ca, "user": USER, "password": PASSWORD, **settings})


def by_certificate(kafka: SecuredKafka, **settings: Any) -> KafkaSettings:
    return made(kafka.certificates, **{"tls_ca": kafka.ca, "tls_cert": kafka.cert, "tls_key": kafka.key, **settings})


WAYS_IN: dict[str, Choose] = {
    "scram-sha-512": lambda kafka: by_password(kafka),
    "scram-sha-256": lambda kafka: by_password(kafka, mechanism="scram-sha-256"),
    "plain over TLS": lambda kafka: by_password(kafka, mechanism="plain"),
    "certificate": lambda kafka: by_certificate(kafka),
}


@pytest.mark.parametrize("way", WAYS_IN)
async def test_every_event_goes_in_exactly_once(kafka: SecuredKafka, way: str) -> None:
    settings = WAYS_IN[way](kafka)
    server = MemoryServer()
    bus, story, last = MemoryBus(server), Story(), 0
    for number in range(5):
        after = 0
        for event in (
            story.accepted(f"t{number}", text="hi"),
            story.routed(f"t{number}"),
            story.ended(f"t{number}", 700),
        ):
            last = after = await bus.log.append(event, after=after)
    context = Context(MemoryBus(server), "one", structlog.get_logger(), lambda: NOW_MS, random.Random(1))
    subject = KafkaBridge(context, settings)
    running = asyncio.create_task(subject.run())
    try:
        async with asyncio.timeout(40):
            while int(str(subject.status()["sequence"])) < last:  # noqa: ASYNC110 - a broker's progress
                await asyncio.sleep(0.01)
    finally:
        context.draining.set()
        await running
    report = await verify(bus, settings, 1, last)
    assert report.ok, report.examples
    assert (report.records, report.usage_records) == (15, 5)


REFUSED: dict[str, tuple[Choose, str]] = {
    "wrong password": (lambda kafka: by_password(kafka, password="wrong"), "AION_KAFKA__USER"),
    "unknown user": (lambda kafka: by_password(kafka, user="nobody"), "refuses user nobody by scram-sha-512"),
    "a broker of another authority": (lambda kafka: by_password(kafka, tls_ca=kafka.other_ca), "AION_KAFKA__TLS_CA"),
    "no certificate": (lambda kafka: by_certificate(kafka, tls_cert=None, tls_key=None), "TLS_CERT"),
    "no TLS where it is spoken": (lambda kafka: made(kafka.passwords, user=USER, password=PASSWORD), "AION_KAFKA__TLS"),
    "no password where one is asked": (lambda kafka: made(kafka.passwords, tls_ca=kafka.ca), "AION_KAFKA__USER"),
    "nobody there": (lambda _: made("127.0.0.1:9"), "Connect call failed"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_who_is_not_let_in_is_told_why(kafka: SecuredKafka, case: str) -> None:
    choose, said = REFUSED[case]
    settings = choose(kafka)
    with pytest.raises(Unavailable) as raised:
        async with asyncio.timeout(30):
            await ensure_topics(settings)
    message = raised.value.message
    assert settings.bootstrap in message
    assert said in message
    assert PASSWORD not in message


async def test_discovery_says_what_a_bridge_waits_for(kafka: SecuredKafka) -> None:
    settings = by_password(kafka, user="nobody")
    context = Context(MemoryBus(MemoryServer()), "one", structlog.get_logger(), lambda: NOW_MS, random.Random(1))
    subject = KafkaBridge(context, settings)
    running = asyncio.create_task(subject.run())
    try:
        async with asyncio.timeout(30):
            while "nobody" not in str(subject.status()["waiting"]):  # noqa: ASYNC110 - a broker's refusal
                await asyncio.sleep(0.01)
    finally:
        context.draining.set()
        await running
