"""The development servers, each spoken to with the client that the actors use."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from signal import SIGKILL

import asyncpg
import nats
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from deploy.local import ServerInfo, down, env, remove, status, up
from deploy.local.process import birth
from schemas.errors import LocalServerError

CACHE = Path(__file__).parents[2] / "var" / "cache"
OTHERS = {
    "AION_KAFKA__BOOTSTRAP": "kafka.example:9092",
    "AION_POSTGRES__URL": "postgresql://db.example/aion",
    "AION_REDIS__URL": "redis://cache.example:6379/0",
}


async def test_nats_stores_a_message_in_jetstream(nats_url: str) -> None:
    connection = await nats.connect(nats_url)
    jetstream = connection.jetstream()
    await jetstream.add_stream(name="SMOKE", subjects=["smoke.>"])
    ack = await jetstream.publish("smoke.one", b"x")
    await jetstream.delete_stream("SMOKE")
    await connection.close()
    assert ack.seq == 1
    assert connection.max_payload == 1024 * 1024


async def test_kafka_commits_a_transaction(kafka_bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("smoke", num_partitions=1, replication_factor=1)])
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id="smoke")
    await producer.start()
    async with producer.transaction():
        stored = await producer.send_and_wait("smoke", b"x")
    await producer.stop()
    topics = await admin.list_topics()
    await admin.close()
    assert stored.offset == 0
    assert "smoke" in topics


async def test_postgres_serves_the_database_aion_to_a_role_without_superuser(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    row = await connection.fetchrow(
        "select current_database() as db, rolsuper, rolcreatedb from pg_roles where rolname = current_user"
    )
    await connection.close()
    assert row is not None
    assert tuple(row) == ("aion", False, True)


async def test_valkey_answers_a_script(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        assert await client.eval("return redis.call('INCR', KEYS[1])", 1, "smoke") == 1
        assert (await client.config_get("appendonly"))["appendonly"] == "no"


def test_a_second_up_gives_the_running_servers(servers: dict[str, ServerInfo], server_folder: Path) -> None:
    if any(info.source == "configured" for info in servers.values()):
        pytest.fail("unset the AION_*__URL variables: this test wants its own servers")
    assert up(server_folder / "session", cache_dir=CACHE) == list(servers.values())


def test_only_what_is_not_configured_is_started(server_folder: Path) -> None:
    data_dir = server_folder / "one"
    try:
        infos = {info.name: info for info in up(data_dir, OTHERS, cache_dir=CACHE)}
        assert {name for name, info in infos.items() if info.source == "started"} == {"nats"}
        assert all((info.pid is None) == (info.source == "configured") for info in infos.values())
        lines = (data_dir / "servers.env").read_text().splitlines()
        assert (
            dict(line.split("=", 1) for line in lines)
            == env(infos.values())
            == OTHERS | {"AION_NATS__URL": infos["nats"].url}
        )
        stopped = down(data_dir)
    finally:
        remove(data_dir)
    assert stopped == ["nats"]
    assert birth(infos["nats"].pid or 0) is None


def test_a_dead_server_comes_back_on_its_port_and_down_spares_strangers(server_folder: Path) -> None:
    data_dir = server_folder / "two"
    try:
        (before,) = (i for i in up(data_dir, OTHERS, cache_dir=CACHE) if i.name == "nats")
        os.kill(before.pid or 0, SIGKILL)
        while birth(before.pid or 0):
            pass
        assert next(i for i in status(data_dir) if i.name == "nats").pid is None
        assert down(data_dir) == []
        (after,) = (i for i in up(data_dir, OTHERS, cache_dir=CACHE) if i.name == "nats")
        assert after.url == before.url
        assert after.pid != before.pid
    finally:
        remove(data_dir)


def test_down_stops_all_four_and_frees_their_ports_and_remove_leaves_no_data(server_folder: Path) -> None:
    data_dir = server_folder / "four"
    try:
        infos = up(data_dir, cache_dir=CACHE)
        (postgres,) = (info for info in infos if info.name == "postgres")
        stopped = down(data_dir)
        assert postgres.data_dir is not None
        assert postgres.data_dir.exists()
    finally:
        remove(data_dir)
    assert not data_dir.exists()
    assert not postgres.data_dir.exists()
    assert stopped == ["nats", "kafka", "postgres", "valkey"]
    assert [birth(info.pid or 0) for info in infos] == [None] * 4
    for info in infos:
        port = int(info.url.rpartition("@")[2].rpartition(":")[2].partition("/")[0])
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, info


def test_production_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match="AION_ENV=production"):
        up(tmp_path / "data", {"AION_ENV": "production"})
    assert not (tmp_path / "data").exists()
