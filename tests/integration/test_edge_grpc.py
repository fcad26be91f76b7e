"""The gRPC door over a real port and the twin of the bus, asked by clients that nobody here wrote."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
import structlog
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from actors.runtime import Context
from aion.v1 import tasks_pb2
from aion.v1.tasks_pb2_grpc import AionTasksStub
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from edge.actor import Edge
from edge.limits.settings import LimitsSettings
from edge.settings import EdgeSettings
from schemas.delta import Delta
from schemas.events import UNROUTED, Accepted, Ended, Outcome, Routed, read_task_event
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode
from schemas.registry import ModuleRecord
from schemas.result import Engine, Usage
from schemas.task import Priority

TENANT = TenantId("acme")
LOCAL = Engine(route="local", chosen_by="ai-router", reason="the only one")
ANSWER = {"b": 1.5, "a": "ä", "n": [1, None, True, {"deep": []}], "big": 2**60}
TIMEOUT_S = 20.0


@dataclass
class World:
    """One edge with both doors, the bus behind it, and a client at each."""

    bus: MemoryBus
    edge_bus: MemoryBus
    edge: Edge
    server: MemoryServer
    http: aiohttp.ClientSession
    channel: grpc.aio.Channel
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def stub(self) -> Any:
        return AionTasksStub(self.channel)  # type: ignore[no-untyped-call]

    def auth(self, name: str = "acme", **more: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.keys[name]}"), *more.items())

    async def submit(self, request: tasks_pb2.SubmitRequest | None = None, **kwargs: Any) -> tasks_pb2.SubmitResponse:
        kwargs.setdefault("metadata", self.auth())
        kwargs.setdefault("timeout", TIMEOUT_S)
        answer: tasks_pb2.SubmitResponse = await self.stub.Submit(request or submission(), **kwargs)
        return answer

    async def issue(self, name: str, tenant: str) -> str:
        text, record = mint(TenantId(tenant), self.server.now_ms(), random.randbytes(RANDOM_BYTES))
        await self.bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
        self.keys[name] = text
        return record_key(record.key_id)

    async def route(self, task_id: str, after: int) -> int:
        """The sequence of the event by which the engine `wasm` gets the task."""
        entry = await self.bus.log.last(TenantId("acme"), TaskId(task_id))
        assert entry is not None
        accepted = read_task_event(entry.data)
        assert isinstance(accepted, Accepted)
        routed = Routed(
            event_id=EventId(uuid7(2, random.randbytes(10))), tenant_id=accepted.tenant_id, task_id=accepted.task_id,
            at_ms=2, brief=accepted.brief, params={}, engine="wasm", decision=UNROUTED,
        )  # fmt: skip
        return await self.bus.log.append(routed, after=after)

    async def end(self, task_id: str, after: int, answer: dict[str, Any] = ANSWER) -> None:
        ended = Ended(
            event_id=EventId(uuid7(1)), tenant_id=TENANT, task_id=TaskId(task_id), at_ms=5, outcome=Outcome.COMPLETED,
            intent="greet", engine=LOCAL, result=answer, usage=Usage(latency_ms=3, cost_nanousd=2_500_000),
        )  # fmt: skip
        await self.bus.log.append(ended, after=after)

    async def has(self, what: str, number: int) -> None:
        """Return once the edge counts so many, and what they do at once is done."""
        async with asyncio.timeout(TIMEOUT_S):
            while self.edge.status()[what] != number:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

    async def calls(self, number: int) -> None:
        """Return once so many calls have a place."""
        server = self.edge._doors._grpc
        assert server is not None
        async with asyncio.timeout(TIMEOUT_S):
            while server.calls != number:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)

    async def last(self) -> int:
        return (await self.bus.log.info()).last


def submission(params: dict[str, Any] | None = None, **fields: Any) -> tasks_pb2.SubmitRequest:
    own = {name: fields.pop(name) for name in ("idempotency_key", "wait_s") if name in fields}
    task = tasks_pb2.TaskRequest(**({"intent": "greet"} | fields))
    task.params.update({"a": 1} if params is None else params)
    return tasks_pb2.SubmitRequest(task=task, **own)


@asynccontextmanager
async def world_of(
    *, grpc_options: dict[str, Any] | None = None, rates: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[World]:
    server = MemoryServer()
    async with AsyncExitStack() as stack:
        bus, edge_bus = MemoryBus(server), MemoryBus(server)
        module = ModuleRecord(
            name="greeter", version="1.0.0", digest="sha256:" + "0" * 64, intents=("greet",),
            description="says hello", input_schema={"type": "object", "required": ["a"]},
        )  # fmt: skip
        await bus.kv.put(subjects.MODULES, "greeter", encode(module))
        context = Context(edge_bus, "edge-1", structlog.get_logger(), server.now_ms)
        options = {"port": 0, "drain_grace_s": 2.0, "accept_timeout_s": 1.0, "grpc": {"port": 0} | (grpc_options or {})}
        edge = Edge(context, EdgeSettings(**(options | settings)), LimitsSettings.model_validate(rates or {}))
        await stack.enter_async_context(edge.lifespan())
        http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}"))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{edge.grpc_port}"))
        world = World(bus, edge_bus, edge, server, http, channel)
        await world.issue("acme", "acme")
        await world.issue("other", "other")
        await asyncio.sleep(0.01)
        yield world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with world_of() as world:
        yield world


@asynccontextmanager
async def answering(world: World) -> AsyncIterator[list[Accepted]]:
    """Somebody who ends every accepted task at once."""
    seen: list[Accepted] = []

    async def work() -> None:
        async with world.bus.queue.take(subjects.accepted(Priority.NORMAL), slots=8) as taker:
            while True:
                delivery = await taker.get()
                event = read_task_event(delivery.entry.data)
                assert isinstance(event, Accepted)
                seen.append(event)
                await world.end(event.task_id, delivery.entry.sequence)
                await delivery.done()

    task = asyncio.create_task(work())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_both_doors_give_the_same_result_for_the_same_task(world: World) -> None:
    params = {"a": 1, "text": "grüß 🚌", "deep": {"list": [1.5, None, True, {}]}}
    body = {"intent": "greet", "params": params, "priority": "normal", "sla": {"budget_usd": "0.25", "timeout_s": 30}}
    headers = {"Authorization": f"Bearer {world.keys['acme']}", "Idempotency-Key": "k"}
    sla = tasks_pb2.Sla(budget_usd="0.25", timeout_s=30)
    async with answering(world) as seen:
        ours = await world.submit(submission(params, sla=sla, priority="PRIORITY_NORMAL", idempotency_key="k"))
        async with world.http.post("/v1/tasks", json=body, headers=headers) as response:
            theirs = await response.json()
            assert (response.status, response.headers["Idempotency-Replayed"]) == (200, "true")
    assert len(seen) == 1
    assert seen[0].params == params
    assert ours.result.result["big"] == str(2**60)
    as_json = told(ours.result)
    as_json["result"]["big"] = int(as_json["result"]["big"])
    assert as_json == theirs


def told(result: tasks_pb2.TaskResult) -> dict[str, Any]:
    """A result as HTTP has it."""
    found: dict[str, Any] = MessageToDict(
        result, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    found["status"] = found["status"].removeprefix("STATUS_")
    found["engine"]["route"] = found["engine"]["route"].removeprefix("ROUTE_").lower()
    found["engine"]["chosen_by"] = found["engine"]["chosen_by"].removeprefix("CHOSEN_BY_").lower().replace("_", "-")
    found["usage"] = {
        name: float(value) if name == "cost_usd" else int(value) for name, value in found["usage"].items()
    }
    found["error"] = found.get("error")
    return found


async def test_a_task_is_read_cancelled_and_listed(world: World) -> None:
    taken = await world.submit(submission(wait_s=0, task_id="t-1"))
    assert (taken.task_id, taken.replayed, taken.HasField("result")) == ("t-1", False, False)
    asked = tasks_pb2.StatusByIdRequest(task_id="t-1")
    open_task = await world.stub.StatusById(asked, metadata=world.auth())
    assert (open_task.state, open_task.HasField("result")) == (tasks_pb2.TASK_STATE_ACCEPTED, False)
    cancelled = await world.stub.Cancel(tasks_pb2.CancelRequest(task_id="t-1"), metadata=world.auth())
    assert cancelled.result.status == tasks_pb2.STATUS_CANCELED
    ended = await world.stub.StatusById(asked, metadata=world.auth())
    assert (ended.state, ended.result) == (tasks_pb2.TASK_STATE_ENDED, cancelled.result)
    assert (await refused(world.stub.Cancel(tasks_pb2.CancelRequest(task_id="t-1"), metadata=world.auth())))[:2] == (
        grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_ENDED",
    )  # fmt: skip
    listed = await world.stub.ListIntents(tasks_pb2.ListIntentsRequest(), metadata=world.auth())
    assert [(one.intent, [module.name for module in one.modules]) for one in listed.intents] == [("greet", ["greeter"])]
    assert listed.intents[0].modules[0].input_schema["required"] == ["a"]


async def refused(call: Any) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    """The code, the reason, and the details by their names, as grpcio-status reads them."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    assert status.message == caught.value.details()
    details: dict[str, Any] = {}
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])
        details[kind.DESCRIPTOR.name] = kind.FromString(packed.value)
    info = details["ErrorInfo"]
    assert info.domain == "aion"
    return caught.value.code(), info.reason, details


NAN, INFINITE = float("nan"), float("inf")
BAD: dict[str, tuple[tasks_pb2.SubmitRequest, str]] = {
    "no intent": (submission(intent=""), "task.intent"),
    "bad intent": (submission(intent="Greet me"), "task.intent"),
    "bad task id": (submission(task_id="a.*"), "task.task_id"),
    "another version": (submission(schema_version="2.0"), "task.schema_version"),
    "NaN": (submission({"a": [NAN]}), "task.params.a.0"),
    "infinite": (submission({"a": INFINITE}), "task.params.a"),
    "deep": (submission({"a": {"b": {"c": {"d": 1}}}}), "task.params"),
    "no such priority": (submission(priority=9), "task.priority"),
    "no such privacy": (submission(sla=tasks_pb2.Sla(privacy=9)), "task.sla.privacy"),  # type: ignore[arg-type]
    "amount in words": (submission(sla=tasks_pb2.Sla(budget_usd="1e5")), "task.sla.budget_usd"),
    "too much money": (submission(sla=tasks_pb2.Sla(budget_usd="9999999")), "task.sla.budget_usd"),
    "NaN seconds": (submission(sla=tasks_pb2.Sla(timeout_s=NAN)), "task.sla.timeout_s"),
    "too much time": (submission(sla=tasks_pb2.Sla(timeout_s=1801)), "task.sla.timeout_s"),
    "too many words": (submission(metadata={str(n): "" for n in range(33)}), "task.metadata"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_task_is_refused_with_the_field_at_fault(name: str) -> None:
    request, wrong = BAD[name]
    async with world_of(max_depth=4) as world:
        code, reason, details = await refused(world.submit(request, metadata=world.auth(**{"x-request-id": "r-1"})))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert wrong in [violation.field for violation in details["BadRequest"].field_violations]
        assert (details["RequestInfo"].request_id, "RetryInfo" in details) == ("r-1", False)
        assert await world.last() == 0


async def test_what_may_not_pass_leaves_nothing_in_the_log(world: World) -> None:
    code = grpc.StatusCode
    other_key = world.auth(**{"idempotency-key": "b"})
    cases: list[tuple[Any, grpc.StatusCode, str]] = [
        (world.submit(metadata=()), code.UNAUTHENTICATED, "UNAUTHENTICATED"),
        (world.submit(metadata=(("authorization", "Basic eA=="),)), code.UNAUTHENTICATED, "UNAUTHENTICATED"),
        (world.submit(submission(tenant_id="other")), code.PERMISSION_DENIED, "FORBIDDEN"),
        (world.submit(submission(intent="fly")), code.NOT_FOUND, "UNKNOWN_INTENT"),
        (world.submit(submission(wait_s=-1)), code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (world.submit(submission(wait_s=NAN)), code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (world.submit(submission(idempotency_key="")), code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (world.submit(submission(idempotency_key="k", task_id="t")), code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (world.submit(submission(idempotency_key="a"), metadata=other_key), code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (world.submit(submission({"a": "\x01" * 50_000})), code.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE"),
        (raw(world, "Submit", b"\xff"), code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (raw(world, "Submit", nested(200)), code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (world.stub.Stream(tasks_pb2.StreamRequest(task_id="t", after=10**18), metadata=world.auth()).read(),
         code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (raw(world, "StatusById", b"\x0a\x03a.*"), code.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ]  # fmt: skip
    for call, wanted, reason in cases:
        assert (await refused(call))[:2] == (wanted, reason)
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # by gRPC itself, unread
        await world.submit(submission({"a": "x" * 300_000}))
    assert caught.value.code() == code.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(world, "Fly", b"")
    assert caught.value.code() == code.UNIMPLEMENTED
    assert await world.last() == 0


async def raw(world: World, method: str, data: bytes) -> bytes:
    call: Any = world.channel.unary_unary(f"/aion.v1.AionTasks/{method}")
    answer: bytes = await call(data, metadata=world.auth(), timeout=TIMEOUT_S)
    return answer


def nested(levels: int) -> bytes:
    """A submission whose params nest so deep, as bytes: no client's library would write it."""

    def framed(number: int, data: bytes) -> bytes:
        size, length = b"", len(data)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + data

    value = framed(6, b"")  # Value.list_value
    for _ in range(levels):
        value = framed(6, framed(1, value))
    params = framed(1, framed(1, b"a") + framed(2, value))
    return framed(1, framed(4, b"greet") + framed(5, params))


async def test_a_key_in_the_metadata_names_the_task_and_another_body_under_it_is_refused(world: World) -> None:
    keyed = world.auth(**{"idempotency-key": "order-7"})
    async with answering(world) as seen:
        first = await world.submit(metadata=keyed)
        again = await world.submit(submission(idempotency_key="order-7"))
        code, reason, _ = await refused(world.submit(submission({"a": 2}), metadata=keyed))
    assert (first.replayed, again.replayed, first.result) == (False, True, again.result)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "KEY_REUSED")
    assert len(seen) == 1


async def test_the_deadline_of_a_call_bounds_its_wait_and_the_task_goes_on(world: World) -> None:
    taken = await world.submit(timeout=0.8)
    assert not taken.HasField("result")
    assert len(await world.bus.log.events(TENANT, TaskId(taken.task_id))) == 1


async def test_no_tenant_sees_the_task_of_another(world: World) -> None:
    await world.submit(submission(wait_s=0, task_id="mine"))
    unknown = []
    for method, request in (
        (world.stub.StatusById, tasks_pb2.StatusByIdRequest),
        (world.stub.Cancel, tasks_pb2.CancelRequest),
    ):
        for task_id in ("mine", "none"):
            unknown.append((await refused(method(request(task_id=task_id), metadata=world.auth("other"))))[:2])
    assert len(set(unknown)) == 1


async def test_a_bus_that_is_away_says_when_to_come_back(world: World) -> None:
    world.edge_bus.kill()
    code, reason, details = await refused(world.submit())
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "BUS_DISCONNECTED")
    assert details["RetryInfo"].retry_delay.seconds == 2
    assert details["ErrorInfo"].metadata["retryable"] == "true"
    assert await probe(world) == health_pb2.HealthCheckResponse.NOT_SERVING


async def probe(world: World, service: str = "aion.v1.AionTasks") -> int:
    answer = await health_pb2_grpc.HealthStub(world.channel).Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def test_a_revoked_key_is_refused_though_it_was_seen(world: World) -> None:
    where = await world.issue("brief", "acme")
    await asyncio.sleep(0.01)
    await world.submit(submission(wait_s=0), metadata=world.auth("brief"))
    stored = await world.bus.kv.get(subjects.KEYS, where)
    assert stored is not None
    await world.bus.kv.put(subjects.KEYS, where, json.dumps(json.loads(stored.value) | {"revoked": True}).encode())
    await asyncio.sleep(0.01)
    assert (await refused(world.submit(metadata=world.auth("brief"))))[0] == grpc.StatusCode.UNAUTHENTICATED


async def test_an_edge_without_time_refuses_submissions_alone_and_says_when(world: World) -> None:
    await world.submit(submission(wait_s=0, task_id="t-1"))
    turns = world.edge._inside.intake.turns
    turns.close()
    turns._timed = True
    turns.pace.turn(10.0, 10.0, 10.0)  # as after a turn that was far too long, with nothing left in this one
    while turns.pace.take():
        pass
    code, reason, details = await refused(world.submit(submission(wait_s=0, task_id="t-2")))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
    assert 1 <= details["RetryInfo"].retry_delay.seconds <= 10
    found = await world.stub.StatusById(tasks_pb2.StatusByIdRequest(task_id="t-1"), metadata=world.auth())
    assert found.task_id == "t-1"


async def test_a_stream_replays_follows_and_resumes(world: World) -> None:
    await world.submit(submission(wait_s=0, task_id="s"))
    call = world.stub.Stream(tasks_pb2.StreamRequest(task_id="s"), metadata=world.auth(), timeout=TIMEOUT_S)
    first = await call.read()
    assert (first.progress.state, first.progress.HasField("engine")) == (tasks_pb2.TASK_STATE_ACCEPTED, False)
    await world.end("s", first.sequence)
    done = await call.read()
    assert (
        done.done
        == (await world.stub.StatusById(tasks_pb2.StatusByIdRequest(task_id="s"), metadata=world.auth())).result
    )
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK
    for after, wanted in ((first.sequence, [done]), (done.sequence, [])):
        again = world.stub.Stream(tasks_pb2.StreamRequest(task_id="s", after=after), metadata=world.auth())
        assert [event async for event in again] == wanted


async def test_what_a_task_says_is_streamed_and_resumed_behind_a_delta(world: World) -> None:
    await world.submit(submission(wait_s=0, task_id="s"))
    asked = tasks_pb2.StreamRequest(task_id="s")
    call = world.stub.Stream(asked, metadata=world.auth(), timeout=TIMEOUT_S)
    lease = await world.route("s", (await call.read()).sequence)
    assert (await call.read()).progress.engine == "wasm"
    for number, text in ((1, "one "), (2, "two")):
        delta = Delta(lease=lease, number=number, text=text)
        await world.bus.tokens.publish(TenantId("acme"), TaskId("s"), encode(delta))
    said = [await call.read() for _ in range(2)]
    assert (said[0].partial.result["text"], said[0].delta) == ("one ", 1)
    assert (said[1].token.text, said[1].sequence, said[1].delta) == ("two", lease, 2)
    call.cancel()
    asked.after, asked.after_delta = lease, 1
    again = world.stub.Stream(asked, metadata=world.auth(), timeout=TIMEOUT_S)
    assert await again.read() == said[1]
    again.cancel()


async def test_a_reader_that_takes_nothing_is_dropped_and_can_resume(caplog: pytest.LogCaptureFixture) -> None:
    small = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384)]
    asked = tasks_pb2.StreamRequest(task_id="s")
    async with world_of(write_timeout_s=0.3, max_open_streams=2, tenant_share=1.0) as world:
        await world.submit(submission(wait_s=0, task_id="s"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{world.edge.grpc_port}", small) as channel:
            stub: Any = AionTasksStub(channel)  # type: ignore[no-untyped-call]
            slow = [stub.Stream(asked, metadata=world.auth()) for _ in range(2)]
            first, _ = [await call.read() for call in slow]
            await world.end("s", first.sequence, {"text": "x" * 500_000})
            await world.has("dropped_streams", 2)
            assert world.edge.status()["streams"] == 2  # they hold places of streams, and nothing else
            await world.submit(submission(wait_s=0))
            slow[0].cancel()
            await world.has("streams", 1)
            asked.after = first.sequence
            again = world.stub.Stream(asked, metadata=world.auth(), timeout=TIMEOUT_S)
            assert len((await again.read()).done.result["text"]) == 500_000
            with pytest.raises(grpc.aio.AioRpcError, match="nothing was read for"):
                await read_on(slow[1])
        await world.has("streams", 0)
    assert not caplog.records  # gRPC itself finds nothing wrong


async def read_on(call: Any) -> None:
    """To the end of a stream that was read from."""
    while await call.read() is not grpc.aio.EOF:
        continue


async def test_a_connection_that_is_too_old_ends_and_no_call_with_it() -> None:
    async with world_of(grpc_options={"max_age_s": 1.0}) as world:
        await world.channel.channel_ready()
        submitted = asyncio.create_task(world.submit(submission(wait_s=3)))  # longer than the connection lasts
        async with asyncio.timeout(5):
            await world.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert world.channel.get_state() is not grpc.ChannelConnectivity.READY
        taken = await world.submit(submission(wait_s=0))
        assert taken.task_id
        assert (await submitted).task_id != taken.task_id


async def test_a_client_that_has_vanished_is_noticed_and_one_that_is_quiet_stays() -> None:
    """Both connections are silent; one of them does not answer pings (RFC 9113 section 6.7)."""
    async with world_of(grpc_options={"keepalive_s": 1.0}, write_timeout_s=0.5) as world:
        await world.channel.channel_ready()
        reader, writer = await asyncio.open_connection("127.0.0.1", world.edge.grpc_port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(10):
            assert await reader.read()
        assert 1.0 <= asyncio.get_running_loop().time() - began < 5.0
        writer.close()
        assert world.channel.get_state() is grpc.ChannelConnectivity.READY


async def test_the_deadline_of_a_stream_ends_it_and_gives_its_place_back(world: World) -> None:
    await world.submit(submission(wait_s=0, task_id="s"))
    began = asyncio.get_running_loop().time()
    call = world.stub.Stream(tasks_pb2.StreamRequest(task_id="s"), metadata=world.auth(), timeout=0.5)
    await call.read()
    assert world.edge.status()["streams"] == 1
    with pytest.raises(grpc.aio.AioRpcError) as over:
        await call.read()
    assert over.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.4 < asyncio.get_running_loop().time() - began < 2.0
    await world.has("streams", 0)


@asynccontextmanager
async def channel_to(world: World) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.edge.grpc_port}", own) as channel:
        yield channel


@asynccontextmanager
async def connection(world: World) -> AsyncIterator[Any]:
    """A stub whose calls share no connection with those of others."""
    async with channel_to(world) as channel:
        yield AionTasksStub(channel)  # type: ignore[no-untyped-call]


async def test_more_calls_than_may_be_are_refused_at_once() -> None:
    async with world_of(grpc_options={"max_calls": 2}) as world, connection(world) as one, connection(world) as two:
        waiting = [asyncio.create_task(take(stub.Submit(submission(), metadata=world.auth()))) for stub in (one, two)]
        await world.has("submissions", 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.submit()
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def take(call: Any) -> Any:
    return await call


async def test_one_connection_leaves_calls_for_the_others() -> None:
    async with world_of(grpc_options={"max_calls": 8}) as world, connection(world) as other:
        waiting = [asyncio.create_task(world.submit()) for _ in range(10)]
        await world.has("submissions", 2)
        taken = await other.Submit(submission(wait_s=0), metadata=world.auth(), timeout=TIMEOUT_S)
        assert taken.task_id
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_streams_without_a_credential_have_few_places_of_their_own() -> None:
    listing = [reflection_pb2.ServerReflectionRequest(list_services="")]
    async with world_of(grpc_options={"max_calls": 64}) as world:  # so four, of which one address has one
        health = health_pb2_grpc.HealthStub(world.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        code, reason, details = await refused(health.Watch(health_pb2.HealthCheckRequest()).read())
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS")
        assert details["RetryInfo"].retry_delay.seconds == 1
        for package in REFLECTIONS:
            assert (await refused(reflected(world, package, listing)))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await probe(world) == health_pb2.HealthCheckResponse.SERVING
        assert (await world.submit(submission(wait_s=0))).task_id
        watch.cancel()
        async with asyncio.timeout(TIMEOUT_S):
            while not await reflects(world, listing):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)


async def reflects(world: World, requests: list[Any]) -> bool:
    """Whether there was a place for it."""
    try:
        return bool(await reflected(world, REFLECTIONS[0], requests))
    except grpc.aio.AioRpcError:
        return False


METHODS = ("Submit", "Stream", "StatusById", "Cancel", "ListIntents")


async def silent(
    channel: grpc.aio.Channel,
    method: str,
    metadata: tuple[tuple[str, str], ...] = (),
    *,
    closed: bool = False,
    service: str = "aion.v1.AionTasks",
) -> Any:
    """A call that is opened and has no message; with `closed` it says that none will come."""
    call: Any = channel.stream_unary(f"/{service}/{method}")(metadata=metadata, timeout=TIMEOUT_S)
    await call.wait_for_connection()
    if closed:
        await call.done_writing()
    return call


@pytest.mark.parametrize("closed", [False, True])
async def test_strangers_who_send_no_message_take_no_place_and_are_told_at_once(closed: bool) -> None:
    """More of them than there are places, over as many connections as that takes; the time for a message is long."""
    wrong = (("authorization", "Bearer aion_nobody"),)
    async with world_of(grpc_options={"max_calls": 8}) as world, AsyncExitStack() as stack:
        strangers = []
        for number in range(10):
            channel = await stack.enter_async_context(channel_to(world))
            strangers += [
                await silent(channel, METHODS[number % 5], metadata, closed=closed) for metadata in ((), wrong)
            ]
        taken = await world.submit(submission(wait_s=0, task_id="t"))  # all are open still, as far as they know
        assert taken.task_id == "t"
        async with asyncio.timeout(5):
            for call in strangers:
                code, reason, details = await refused(call)
                assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
                assert details["RequestInfo"].request_id


@pytest.mark.parametrize("method", METHODS)
async def test_a_caller_who_sends_no_message_is_refused_when_the_time_for_it_is_over(method: str) -> None:
    async with world_of(grpc_options={"max_calls": 1}, body_timeout_s=0.5) as world, channel_to(world) as other:
        began = asyncio.get_running_loop().time()
        call = await silent(other, method, world.auth(**{"x-request-id": "r-1"}))
        await world.calls(1)
        assert (await refused(world.submit()))[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS")
        code, reason, details = await refused(call)
        assert 0.4 < asyncio.get_running_loop().time() - began < 5.0
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert (details["RequestInfo"].request_id, "RetryInfo" in details) == ("r-1", False)
        assert await call.details() == "the message was not complete after 0.5 s: send it with the call"
        await world.calls(0)
        assert (await world.submit(submission(wait_s=0, task_id="t"))).task_id == "t"
        assert world.edge.status()["submissions"] == world.edge.status()["streams"] == 0


async def test_a_call_that_is_closed_without_a_message_is_refused_at_once(world: World) -> None:
    call = await silent(world.channel, "Submit", world.auth(), closed=True)
    assert (await refused(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert await call.details() == "the call has ended without a message: send one"


async def test_a_message_that_stops_half_way_is_not_waited_for_longer() -> None:
    """Frames by hand: a client's library sends its message whole."""
    async with world_of(body_timeout_s=0.5) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.edge.grpc_port)
        fields = [("content-type", "application/grpc"), ("te", "trailers"), world.auth()[0]]
        head = b"\x83\x86\x04" + literal("/aion.v1.AionTasks/Submit") + b"\x01" + literal("x")
        head += b"".join(b"\x00" + literal(name) + literal(value) for name, value in fields)
        no_table = frame(4, 0, 0, bytes([0, 1, 0, 0, 0, 0]))  # HEADER_TABLE_SIZE 0: nothing is said by number
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_table)
        writer.write(frame(1, 4, 1, head) + frame(0, 0, 1, b"\x00\x00\x00\x00\x09half"))  # four of nine bytes
        answer = b""
        async with asyncio.timeout(5):
            while b"not complete after 0.5 s" not in answer:
                answer += await reader.read(65_536) or pytest.fail(f"no status in {answer!r}")
        await world.calls(0)
        writer.close()


def literal(text: str) -> bytes:
    """RFC 7541 section 5.2."""
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113 section 4.1."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def test_calls_are_answered_beside_those_whose_message_does_not_come() -> None:
    async with world_of(grpc_options={"max_calls": 16}) as world, channel_to(world) as one, channel_to(world) as two:
        await world.submit(submission(wait_s=0, task_id="s"))
        late = [await silent(channel, "Submit", world.auth()) for channel in (one, one, two, two)]
        strangers = [await silent(channel, "Stream") for channel in (one, one, two, two)]
        await world.calls(4)
        async with answering(world):
            stream = world.stub.Stream(tasks_pb2.StreamRequest(task_id="s"), metadata=world.auth(), timeout=TIMEOUT_S)
            answers = [await world.submit() for _ in range(20)]
        assert {answer.result.status for answer in answers} == {tasks_pb2.STATUS_OK}
        assert (await stream.read()).sequence == 1
        stream.cancel()
        for call in strangers:
            assert (await refused(call))[0] is grpc.StatusCode.UNAUTHENTICATED
        await world.calls(4)
        late[0].cancel()
        await world.calls(3)  # a caller that leaves gives its place back


async def test_probes_are_answered_while_strangers_send_none_of_their_messages() -> None:
    """Four messages of strangers are waited for at once: the newest."""
    health = "grpc.health.v1.Health"
    async with world_of(grpc_options={"max_calls": 64}, body_timeout_s=1.0) as world, channel_to(world) as other:
        checks = [await silent(other, "Check", service=health) for _ in range(6)]
        for call in checks[:2]:
            code, reason, details = await refused(call)
            assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS")
            assert "RetryInfo" in details
        assert await probe(world) == health_pb2.HealthCheckResponse.SERVING
        await world.calls(0)  # what needs no credential has none of the places of those who have one
        for call in (*checks[2:], await silent(other, "Watch", service=health)):
            assert (await refused(call))[0] in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
        watch = health_pb2_grpc.HealthStub(world.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING


SAME = {
    "Submit": ("POST /v1/tasks", submission(wait_s=0)),
    "Stream": ("GET /v1/stream/{task_id}", tasks_pb2.StreamRequest(task_id="t")),
    "StatusById": ("GET /v1/tasks/{task_id}", tasks_pb2.StatusByIdRequest(task_id="t")),
    "Cancel": ("POST /v1/tasks/{task_id}/cancel", tasks_pb2.CancelRequest(task_id="t")),
    "ListIntents": ("GET /v1/intents", tasks_pb2.ListIntentsRequest()),
}


@pytest.mark.parametrize("name", SAME)
async def test_the_rate_of_a_route_holds_for_the_call_that_does_the_same(name: str) -> None:
    route, request = SAME[name]
    method, _, path = route.format(task_id="t").partition(" ")
    async with world_of(rates={"routes": {route: {"rpm": 1, "burst": 1}}}) as world:
        headers = {"Authorization": f"Bearer {world.keys['acme']}"}
        async with world.http.request(method, path, headers=headers) as response:
            assert response.status != 429
        call = getattr(world.stub, name)(request, metadata=world.auth(), timeout=TIMEOUT_S)
        assert (await refused(call.read() if name == "Stream" else call))[1] == "TOO_MANY_REQUESTS"


async def test_both_doors_share_the_places() -> None:
    async with world_of(max_waiting=1) as world:
        waiting = asyncio.create_task(world.submit())
        await world.has("submissions", 1)
        assert (await refused(world.submit()))[1] == "TOO_MANY_REQUESTS"
        headers = {"Authorization": f"Bearer {world.keys['acme']}"}
        async with world.http.post("/v1/tasks", json={"intent": "greet"}, headers=headers) as response:
            assert response.status == 429
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await world.has("submissions", 0)  # a caller that leaves gives its place back


async def test_a_drain_lets_submissions_finish_and_tells_streams_and_watchers() -> None:
    async with world_of() as world:
        await world.submit(submission(wait_s=0, task_id="d"))
        waiting = asyncio.create_task(world.submit(submission(task_id="w")))
        stream = world.stub.Stream(tasks_pb2.StreamRequest(task_id="d"), metadata=world.auth())
        first = await stream.read()
        watch = health_pb2_grpc.HealthStub(world.channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await world.has("submissions", 1)
        entry = await world.bus.log.last(TENANT, TaskId("w"))
        assert entry is not None
        world.edge.context.draining.set()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        last = await stream.read()
        assert (last.error.code, last.error.retryable, first.sequence) == ("unavailable", True, 1)
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.read()
        assert await stream.code() == grpc.StatusCode.UNAVAILABLE
        assert (await refused(world.submit()))[:2] == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        await world.end("w", entry.sequence)
        assert (await waiting).result.status == tasks_pb2.STATUS_OK


async def test_a_submission_that_waits_is_answered_while_the_edge_goes() -> None:
    async with AsyncExitStack() as stack:
        async with world_of(drain_grace_s=0.3) as world:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{world.edge.grpc_port}")
            world.channel = await stack.enter_async_context(channel)
            waiting = asyncio.create_task(world.submit())
            await world.has("submissions", 1)
        taken = await waiting
        assert not taken.HasField("result")
        assert len(await world.bus.log.events(TENANT, TaskId(taken.task_id))) == 1


async def test_health_knows_its_services(world: World) -> None:
    assert await probe(world) == await probe(world, "") == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await probe(world, "nothing")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = health_pb2_grpc.HealthStub(world.channel).Watch(health_pb2.HealthCheckRequest(service="nothing"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    world.edge.context.draining.set()
    assert await watch.read() is grpc.aio.EOF


REFLECTIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


@pytest.mark.parametrize("package", REFLECTIONS)
async def test_a_stranger_calls_by_what_reflection_tells(world: World, package: str) -> None:
    """No generated code: services, files and messages are learned from the port, then a task is submitted."""
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    (listed,) = await reflected(world, package, asked)
    services = [service.name for service in listed.list_services_response.service]
    assert services == sorted(
        ["aion.v1.AionTasks", "grpc.health.v1.Health", *(f"{one}.ServerReflection" for one in REFLECTIONS)]
    )
    pool = DescriptorPool()
    asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in services]
    for answer in await reflected(world, package, asked):
        for file in reversed(answer.file_descriptor_response.file_descriptor_proto):  # what it imports comes after it
            pool.AddSerializedFile(file)
    method = pool.FindServiceByName("aion.v1.AionTasks").methods_by_name["Submit"]
    request = ParseDict(
        {"task": {"intent": "greet", "params": {"a": 1}}}, GetMessageClass(method.input_type)(), descriptor_pool=pool
    )
    async with answering(world):
        answer = GetMessageClass(method.output_type).FromString(
            await raw(world, method.name, request.SerializeToString())
        )
    assert MessageToDict(answer)["result"]["status"] == "STATUS_OK"
    (nothing,) = await reflected(
        world, package, [reflection_pb2.ServerReflectionRequest(file_by_filename="google/protobuf/api.proto")]
    )
    assert nothing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def reflected(world: World, package: str, requests: list[Any]) -> list[Any]:
    method = world.channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    return [answer async for answer in method(iter(requests), timeout=TIMEOUT_S)]


async def test_reflection_can_be_switched_off() -> None:
    async with world_of(grpc_options={"reflection": False}) as world:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected(world, REFLECTIONS[0], [reflection_pb2.ServerReflectionRequest(list_services="")])
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
