"""What the doctor finds on real servers, well and unwell; looking changes nothing."""

import time
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from actors.runtime.settings import RedisSettings
from bridges.kafka.examine import examine as examine_kafka
from bridges.kafka.settings import KafkaSettings
from bridges.kafka.topics import EVENTS, ensure_topics, survey
from bridges.ledger.connect import writing_connection
from bridges.ledger.examine import examine as examine_ledger
from bridges.ledger.migrate import migrate, migrations
from bridges.ledger.settings import LedgerSettings
from bus import BusSettings, open_bus
from bus.clock import ServerClock
from bus.examine import examine as examine_bus
from bus.port import Service
from deploy.local import nats_sync
from edge.examine import examine as examine_redis
from schemas.finding import Finding


def verdicts(findings: Sequence[Finding]) -> dict[str, bool]:
    return {finding.name: finding.ok for finding in findings}


async def test_the_bus_is_well_when_its_streams_are_as_configured_and_somebody_answers(nats_url: str) -> None:
    settings = BusSettings(url=nats_url)
    async with open_bus(settings) as bus:
        assert verdicts(await examine_bus(settings)) == {"nats": True, "streams": True, "clock": True, "actors": False}
        async with bus.rpc.serve(Service("edge", "1", "one")):
            *_, actors = await examine_bus(settings)
        assert actors.found == "edge"


async def test_a_machine_whose_clock_differs_is_told_by_how_much(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = BusSettings(url=nats_url)
    ahead = partial(ServerClock, lambda: time.time_ns() + 90 * 10**9)
    async with open_bus(settings):
        monkeypatch.setattr("bus.nats.connection.ServerClock", ahead)
        _, _, clock, _ = await examine_bus(settings)
    assert not clock.ok
    assert clock.found.startswith(("90.", "89.9"))
    assert "ahead of the server's" in clock.found


def test_the_development_nats_syncs_what_it_acknowledges(nats_url: str, server_folder: Path) -> None:
    assert nats_sync(nats_url, server_folder / "session") == "always"
    assert nats_sync("nats://elsewhere:4222", server_folder / "session") is None


async def test_a_stream_that_differs_is_named_and_stays_as_it_is(nats_url: str) -> None:
    async with open_bus(BusSettings(url=nats_url)):
        other = BusSettings(url=nats_url, max_bytes=5 << 20)
        for _ in range(2):
            _, streams, *_ = await examine_bus(other)
            assert f"not {5 << 20}" in streams.found
            assert not streams.ok


async def test_kafka_is_well_once_its_topics_are_there(kafka_bootstrap: str) -> None:
    settings = KafkaSettings(bootstrap=kafka_bootstrap, prefix=f"{uuid.uuid4().hex[:12]}.", partitions=2)
    reached, topics = await examine_kafka(settings)
    assert (reached.ok, topics.ok) == (True, False)
    assert settings.prefix + EVENTS in topics.found
    assert settings.prefix + EVENTS in (await survey(settings, 10)).absent
    await ensure_topics(settings)
    assert verdicts(await examine_kafka(settings)) == {"kafka": True, "topics": True}
    _, topics = await examine_kafka(settings.model_copy(update={"partitions": 3}))
    assert "has 2 partitions, not 3" in topics.found


async def test_postgresql_is_well_once_it_was_migrated(postgres_url: str) -> None:
    name = f"examine_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        settings = LedgerSettings(url=SecretStr(f"{postgres_url.rsplit('/', 1)[0]}/{name}"))
        _, tables = await examine_ledger(settings)
        assert (tables.ok, migrations()[0].name in tables.found) == (False, True)
        async with writing_connection(settings) as connection:
            await migrate(connection, migrations(), timeout_s=10)
        assert verdicts(await examine_ledger(settings)) == {"postgres": True, "migrations": True}
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def test_a_database_that_is_not_there_is_said(postgres_url: str) -> None:
    settings = LedgerSettings(url=SecretStr(f"{postgres_url.rsplit('/', 1)[0]}/nowhere"))
    (finding,) = await examine_ledger(settings)
    assert (finding.ok, "nowhere" in finding.found) == (False, True)


async def test_valkey_answers(redis_url: str) -> None:
    assert verdicts(await examine_redis(RedisSettings(url=SecretStr(redis_url)))) == {"redis": True}


async def test_nobody_at_the_address_is_said_by_each() -> None:
    port = 1  # tcpmux: nobody listens there any more
    bus = await examine_bus(BusSettings(url=f"nats://127.0.0.1:{port}"))
    kafka = await examine_kafka(KafkaSettings(bootstrap=f"127.0.0.1:{port}"))
    ledger = await examine_ledger(LedgerSettings(url=SecretStr(f"postgresql://aion@127.0.0.1:{port}/aion")))
    redis = await examine_redis(RedisSettings(url=SecretStr(f"redis://127.0.0.1:{port}")))
    assert [[finding.ok for finding in findings] for findings in (bus, kafka, ledger, redis)] == [[False]] * 4
    assert all(finding.fix for findings in (bus, kafka, ledger, redis) for finding in findings)
