"""Clients that nobody here wrote, against a system that runs: nats-server, edge, auth, router, executor, sweeper.

Each speaks its own protocol by its own library: OpenAI's SDK, gRPC's reflection and health clients, curl, nats-py.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import nats
import openai
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from nats.aio.client import Client
from natsd import Natsd

from bus import Bus, open_bus
from bus.subjects import ENGINES, KEYS
from executors.wasm.build import build
from schemas import keys
from schemas.delta import Delta
from schemas.events import Ended, Outcome, Routed, following, read_task_event
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.message import encode
from schemas.registry import EngineAdvert
from schemas.result import Usage

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
ACTORS = ("edge", "auth", "router", "wasm", "sweeper")
TENANT = TenantId("acme")
TEXT = "Cats sleep all day. Cats hunt at night. Dogs bark at cats. The weather was fine. Nobody knows why cats purr."
START_S = 30.0
TIMEOUT_S = 20.0
WORDS = ("Cats ", "purr ", "at ", "night.")


@dataclass(frozen=True)
class System:
    """Where its doors are, and a key for them."""

    natsd: Natsd
    port: int
    grpc_port: int
    key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, nats_binary: str) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("interop")
    packages = ROOT / "build" / "packages"
    for name in ("embed_text", "summarize_text"):
        build(name, packages)
    natsd = Natsd(nats_binary, folder).start()
    it = System(natsd, _free_port(), _free_port(), asyncio.run(_issue(natsd)))
    settings = {
        "NATS__URL": natsd.url,
        "NATS__MAX_BYTES": str(1 << 28),
        "NATS__TOKENS_MAX_BYTES": str(1 << 20),
        "EDGE__PORT": str(it.port),
        "EDGE__GRPC__PORT": str(it.grpc_port),
        "AUTH__FOLDER": str(folder / "auth"),
        "WASM__PACKAGES_DIR": str(packages),
        "WASM__CACHE_DIR": str(ROOT / "build" / "wasm-test-cache"),
        "WASM__CELLS": "1",
    }
    said = folder / "actors.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "actors", "run", *ACTORS],
            env={**os.environ, **{f"AION_{name}": value for name, value in settings.items()}},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _until_it_answers(it, process, said)
        yield it
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0, said.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
        natsd.kill()


async def _issue(natsd: Natsd) -> str:
    """An API key, put where the auth actor puts them."""
    text, record = keys.mint(TENANT, time.time_ns() // 1_000_000, secrets.token_bytes(keys.RANDOM_BYTES))
    async with open_bus(natsd.settings()) as bus:
        await bus.kv.put(KEYS, keys.record_key(record.key_id), encode(record))
    return text


def _until_it_answers(system: System, process: "subprocess.Popen[bytes]", said: Path) -> None:
    """Returns once the edge is ready and the executor has told what it answers."""
    end_s = time.monotonic() + START_S
    request = urllib.request.Request(f"{system.url}/v1/intents", headers={"Authorization": f"Bearer {system.key}"})
    while time.monotonic() < end_s and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:  # a fixed scheme
                served = {one["intent"] for one in json.load(answer)["intents"] if one["engines"]}
            if served >= {"summarize", "embed"}:
                return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.05)
    pytest.fail(f"the actors were not ready: {said.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


# --- OpenAI's SDK


@pytest.fixture(scope="module")
def sdk(system: System) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{system.url}/v1", api_key=system.key, max_retries=0) as client:
        yield client


def test_the_sdk_lists_models_chats_streams_and_embeds(sdk: openai.OpenAI) -> None:
    assert {model.id for model in sdk.models.list()} >= {"summarize", "embed"}
    chat = sdk.chat.completions.create(model="summarize", messages=[{"role": "user", "content": TEXT}])
    said = chat.choices[0].message.content
    assert said
    assert all(sentence.rstrip(".") in TEXT for sentence in said.split(". "))
    assert chat.choices[0].finish_reason == "stop"

    chunks = list(
        sdk.chat.completions.create(
            model="summarize",
            messages=[{"role": "user", "content": TEXT}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == said
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chat.usage is not None
    assert chunks[-1].usage == chat.usage

    vectors = sdk.embeddings.create(model="embed", input=["a cat", "two cats"], dimensions=64)
    assert [len(one.embedding) for one in vectors.data] == [64, 64]


def test_the_sdk_raises_each_refusal_as_its_own_type(system: System, sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as stranger:
        sdk.with_options(api_key=f"{system.key[:-1]}!").models.list()
    assert stranger.value.status_code == 401
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "hi"}])
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.embeddings.create(model="embed", input="a cat", dimensions=7)
    assert refused.value.code == "input_invalid"
    with pytest.raises(openai.BadRequestError) as unsupported:
        sdk.chat.completions.create(model="summarize", messages=[{"role": "user", "content": TEXT}], stop=["."])
    assert unsupported.value.param == "stop"


# --- gRPC


@pytest.fixture(scope="module")
def channel(system: System) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{system.grpc_port}") as channel:
        grpc.channel_ready_future(channel).result(TIMEOUT_S)
        yield channel


def test_a_client_without_our_code_calls_by_reflection(system: System, channel: grpc.Channel) -> None:
    """What grpcurl does: list, describe, call."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {"aion.v1.AionTasks", "grpc.health.v1.Health"} <= set(database.get_services())
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("aion.v1.AionTasks")
    assert {"Submit", "Stream", "StatusById"} <= set(service.methods_by_name)
    method = service.methods_by_name["Submit"]
    wish: Any = {"task": {"intent": "summarize", "params": {"text": TEXT}}}
    request = ParseDict(wish, GetMessageClass(method.input_type)(), descriptor_pool=pool)
    call: Any = channel.unary_unary(
        "/aion.v1.AionTasks/Submit",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    answer = MessageToDict(
        call(request, metadata=[("authorization", f"Bearer {system.key}")], timeout=TIMEOUT_S), descriptor_pool=pool
    )
    assert answer["result"]["status"] == "STATUS_OK"
    assert answer["result"]["result"]["summary"]
    with pytest.raises(grpc.RpcError) as stranger:
        call(request, timeout=TIMEOUT_S)
    assert stranger.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_stock_health_probe_is_answered_without_a_credential(channel: grpc.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    for service in ("", "aion.v1.AionTasks"):
        probe = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        assert probe.status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="aion.v1.AionTasks"), timeout=TIMEOUT_S)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    with pytest.raises(grpc.RpcError) as unknown:
        stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=TIMEOUT_S)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


# --- curl


@pytest.fixture(scope="module")
def curl(system: System) -> tuple[str, ...]:
    found = shutil.which("curl")
    if found is None:
        pytest.fail("curl is not installed: make bootstrap installs it")
    return (found, "-sS", "-N", "-H", f"Authorization: Bearer {system.key}")


async def test_curl_follows_a_stream_live_and_resumes_it_without_gap_or_repeat(
    system: System, curl: tuple[str, ...]
) -> None:
    async with open_bus(system.natsd.settings()) as bus, speaking(bus) as engine:
        task_id = (await ask(*curl, f"{system.url}/v1/tasks", *submission(engine.intent)))["task_id"]
        await engine.take(task_id)
        url = f"{system.url}/v1/stream/{task_id}"
        first = await asyncio.create_subprocess_exec(*curl, url, stdout=asyncio.subprocess.PIPE)
        assert first.stdout is not None
        seen = [await frame(first.stdout), await frame(first.stdout)]
        assert [name for _, name, _ in seen] == ["accepted", "routed"]
        await engine.say(WORDS[0])
        seen.append(await frame(first.stdout))  # while the engine works: nothing on the way holds it back
        assert seen[-1][1:] == ("partial", {"attempt": engine.lease, "run": 1, "text": WORDS[0]})
        first.kill()
        await first.wait()

        await engine.say(WORDS[1])
        await engine.say(WORDS[2])
        second = await asyncio.create_subprocess_exec(
            *curl, "-H", f"Last-Event-ID: {seen[-1][0]}", url, stdout=asyncio.subprocess.PIPE
        )
        assert second.stdout is not None
        text = WORDS[0]
        while text != "".join(WORDS[:3]):
            seen.append(await frame(second.stdout))
            text += seen[-1][2]["text"]
        await engine.say(WORDS[3])
        await engine.end()
        rest, _ = await asyncio.wait_for(second.communicate(), TIMEOUT_S)
        assert second.returncode == 0
    seen += [read(one) for one in rest.decode().split("\n\n") if one.startswith("id: ")]
    assert [name for _, name, _ in seen][-2:] == ["token", "done"]
    assert "".join(data["text"] for _, name, data in seen if name in ("token", "partial")) == "".join(WORDS)
    assert seen[-1][2]["status"] == "OK"
    assert len({mark for mark, _, _ in seen}) == len(seen)


async def test_curl_gets_a_result_and_a_stream_that_was_seen_to_its_end_stops(
    system: System, curl: tuple[str, ...]
) -> None:
    body = json.dumps({"intent": "summarize", "params": {"text": TEXT}})
    result = await ask(*curl, f"{system.url}/v1/tasks", "-H", "Content-Type: application/json", "-d", body)
    assert result["status"] == "OK"
    url = f"{system.url}/v1/stream/{result['task_id']}"
    told = [read(one) for one in (await output(*curl, url)).split("\n\n") if one.startswith("id: ")]
    assert [name for _, name, _ in told] == ["accepted", "routed", "done"]
    assert told[-1][2] == result
    for number, (mark, _, _) in enumerate(told[:-1], start=1):
        again = await output(*curl, "-H", f"Last-Event-ID: {mark}", url)
        assert [read(one) for one in again.split("\n\n") if one.startswith("id: ")] == told[number:]
    code = ("-o", os.devnull, "-w", "%{http_code}")
    assert await output(*curl, *code, "-H", f"Last-Event-ID: {told[-1][0]}", url) == "204"


def submission(intent: str) -> tuple[str, ...]:
    return (
        "-H", "Content-Type: application/json", "-H", "Prefer: respond-async",
        "-d", json.dumps({"intent": intent, "params": {}}),
    )  # fmt: skip


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode == 0
    return said.decode()


async def ask(*command: str) -> Any:
    return json.loads(await output(*command))


async def frame(stream: asyncio.StreamReader) -> tuple[str, str, Any]:
    """The next event of a stream that goes on."""
    while True:
        found = await asyncio.wait_for(stream.readuntil(b"\n\n"), TIMEOUT_S)
        if found.startswith(b"id: "):
            return read(found.decode())


def read(text: str) -> tuple[str, str, Any]:
    """Id, name and data of an event."""
    found = re.fullmatch(r"id: (\S+)\nevent: (\S+)\ndata: (.*)\n*", text)
    assert found is not None, text
    return found[1], found[2], json.loads(found[3])


class Engine:
    """An engine that this test plays, so that it says something when the test wants it."""

    intent = "tell_slowly"

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._said = 0
        self._routed: Routed | None = None
        self.lease = 0

    async def take(self, task_id: str) -> None:
        """Returns once the router gave it the task."""
        async with asyncio.timeout(TIMEOUT_S):
            while self._routed is None:
                entry = await self._bus.log.last(TENANT, TaskId(task_id))
                event = read_task_event(entry.data) if entry is not None else None
                if entry is not None and isinstance(event, Routed):
                    self._routed, self.lease = event, entry.sequence
                await asyncio.sleep(0.02)

    async def say(self, text: str) -> None:
        assert self._routed is not None
        self._said += 1
        delta = Delta(lease=self.lease, number=self._said, text=text)
        await self._bus.tokens.publish(TENANT, self._routed.task_id, encode(delta))

    async def end(self) -> None:
        assert self._routed is not None
        await asyncio.sleep(0.1)  # the last word is on its way, and a stream that has ended tells the result alone
        event = Ended(
            **following(self._routed, EventId(uuid7(1)), time.time_ns() // 1_000_000), outcome=Outcome.COMPLETED,
            intent=self.intent, engine=self._routed.decision, engine_name="tells", result={"text": "".join(WORDS)},
            usage=Usage(latency_ms=1),
        )  # fmt: skip
        await self._bus.log.append(event, after=self.lease)


@asynccontextmanager
async def speaking(bus: Bus) -> AsyncIterator[Engine]:
    engine = Engine(bus)
    advert = EngineAdvert(
        engine="tells", instance="one", route="local", intents=(engine.intent,), slots=1, free_slots=1
    )
    await bus.kv.put(ENGINES, "tells.one", encode(advert))
    await asyncio.sleep(0.2)  # edge and router hear of it
    try:
        yield engine
    finally:
        await bus.kv.delete(ENGINES, "tells.one")


# --- NATS


async def test_plain_nats_py_finds_every_actor_by_the_micro_protocol(system: System) -> None:
    client = await nats.connect(system.natsd.url)
    try:
        found = await gathered(client, "$SRV.PING")
        assert {one["name"] for one in found} == set(ACTORS)
        assert {one["type"] for one in found} == {"io.nats.micro.v1.ping_response"}
        assert len({one["id"] for one in found}) == len(found)
        (info,) = await gathered(client, "$SRV.INFO.auth", 1)
        assert info["type"] == "io.nats.micro.v1.info_response"
        assert "aion.rpc.auth.token" in [endpoint["subject"] for endpoint in info["endpoints"]]
        (stats,) = await gathered(client, "$SRV.STATS.edge", 1)
        assert stats["type"] == "io.nats.micro.v1.stats_response"
        assert stats["data"]["port"] == system.port
    finally:
        await client.close()


async def gathered(client: Client, subject: str, count: int = len(ACTORS)) -> list[Any]:
    """So many answers to one question, and no more within a moment."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    await client.publish(subject, b"", reply=inbox)
    found = [json.loads((await subscription.next_msg(TIMEOUT_S)).data) for _ in range(count)]
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.next_msg(0.1)
    await subscription.unsubscribe()
    return found
