"""The edge over a real HTTP server and the twin of the bus."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import structlog

from actors.runtime import Context
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from bus.port import Answer, Call, Service
from bus.questions import LEDGER_GET
from edge.actor import Edge
from edge.settings import EdgeSettings
from schemas.errors import DeadlineExceeded, NotFound, WrongSequence
from schemas.events import (
    UNROUTED,
    Accepted,
    Ended,
    Outcome,
    Routed,
    canonical_result,
    read_task_event,
)
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.ledger import LedgerGet, LedgerTask
from schemas.message import encode
from schemas.registry import ModuleRecord
from schemas.result import Engine, Status, Usage
from schemas.task import Priority

TENANT = TenantId("acme")
LOCAL = Engine(route="local", chosen_by="ai-router", reason="the only one")


@dataclass
class World:
    """One edge, the bus behind it, and a client in front of it."""

    bus: MemoryBus
    edge_bus: MemoryBus
    edge: Edge
    http: aiohttp.ClientSession
    server: MemoryServer
    keys: dict[str, str] = field(default_factory=dict)

    async def call(
        self, method: str, path: str, *, tenant: str = "acme", headers: dict[str, str] | None = None, **kwargs: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        sent = {"Authorization": f"Bearer {self.keys[tenant]}"} | (headers or {})
        if "data" in kwargs:
            sent.setdefault("Content-Type", "application/json")
        async with self.http.request(method, path, headers=sent, **kwargs) as response:
            return response.status, response.headers, await response.read()

    async def submit(self, body: Any = None, **kwargs: Any) -> tuple[int, Mapping[str, str], bytes]:
        return await self.call("POST", "/v1/tasks", json=body or {"intent": "greet", "params": {"a": 1}}, **kwargs)

    async def issue(self, name: str, tenant: str, **kwargs: Any) -> str:
        text, record = mint(TenantId(tenant), self.server.now_ms(), random.randbytes(RANDOM_BYTES), **kwargs)
        await self.bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
        self.keys[name] = text
        return record_key(record.key_id)

    async def end(self, task_id: str, after: int, outcome: Outcome = Outcome.COMPLETED) -> Ended:
        ended = Ended(
            event_id=new_id(), tenant_id=TENANT, task_id=TaskId(task_id), at_ms=5, outcome=outcome, intent="greet",
            engine=LOCAL, result={"b": 1.5, "a": "ä"}, usage=Usage(latency_ms=3, cost_nanousd=2_500_000),
        )  # fmt: skip
        await self.bus.log.append(ended, after=after)
        return ended


def new_id() -> EventId:
    return EventId(uuid7(1))


@asynccontextmanager
async def world_of(*, keep_s: float = 3600.0, **settings: Any) -> AsyncIterator[World]:
    server = MemoryServer()
    async with AsyncExitStack() as stack:
        bus, edge_bus = MemoryBus(server), MemoryBus(server)
        module = ModuleRecord(name="greeter", version="1.0.0", digest="sha256:" + "0" * 64, intents=("greet",))
        await bus.kv.put(subjects.MODULES, "greeter", encode(module))
        context = Context(edge_bus, "edge-1", structlog.get_logger(), server.now_ms, keep_s=keep_s)
        edge = Edge(context, EdgeSettings(**({"port": 0, "drain_grace_s": 2.0, "accept_timeout_s": 1.0} | settings)))
        await stack.enter_async_context(edge.lifespan())
        http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}"))
        world = World(bus, edge_bus, edge, http, server)
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


async def soon(check: Callable[[], Awaitable[Any]]) -> Any:
    for _ in range(500):
        if found := await check():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


async def test_a_task_is_accepted_waited_for_and_answered(world: World) -> None:
    async with answering(world) as seen:
        status, headers, body = await world.submit(headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    assert status == 200
    result = json.loads(body)
    assert result["status"] == "OK"
    assert result["result"] == {"b": 1.5, "a": "ä"}
    assert result["usage"]["cost_usd"] == 0.0025
    assert headers["Location"] == f"/v1/tasks/{result['task_id']}"
    assert seen[0].traceparent == f"00-{'a' * 32}-{'b' * 16}-01"
    assert seen[0].brief.deadline_ms - seen[0].brief.accepted_at_ms == 60_000
    assert (await world.call("GET", headers["Location"]))[2] == body


BAD_BODIES = {
    "broken": (b'{"intent": "greet"', ""),
    "not utf-8": (b'{"intent": "\xff"}', ""),
    "not an object": (b"[]", ""),
    "deep": (b'{"intent": "greet", "params": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}", ""),
    "duplicate key": (b'{"intent": "greet", "intent": "greet"}', ""),
    "NaN": (b'{"intent": "greet", "params": {"a": NaN}}', ""),
    "infinite": (b'{"intent": "greet", "params": {"a": 1e999}}', ""),
    "huge integer": (b'{"intent": "greet", "params": {"a": ' + b"9" * 5000 + b"}}", ""),
    "lone surrogate": (b'{"intent": "greet", "params": {"a": "\\ud800"}}', ""),
    "no intent": (b"{}", "/intent"),
    "wrong type": (b'{"intent": "greet", "sla": {"p95_ms": "5"}}', "/sla/p95_ms"),
    "unknown field": (b'{"intent": "greet", "sla": {"p95": 5}}', "/sla/p95"),
    "bad task id": (b'{"intent": "greet", "task_id": "a.*"}', "/task_id"),
    "metadata not text": (b'{"intent": "greet", "metadata": {"a/b": 1}}', "/metadata/a~1b"),
    "negative budget": (b'{"intent": "greet", "sla": {"budget_usd": -1}}', "/sla/budget_usd"),
    "bad intent": (b'{"intent": "Greet me"}', "/intent"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_refused_with_a_pointer_to_the_fault(world: World, name: str) -> None:
    body, pointer = BAD_BODIES[name]
    status, headers, answer = await world.call("POST", "/v1/tasks", data=body, headers={"X-Request-Id": "r-1"})
    problem = json.loads(answer)
    assert (status, headers["Content-Type"].split(";")[0]) == (400, "application/problem+json")
    assert problem["type"] == "urn:aion:error:invalid_request"
    assert problem["instance"] == headers["X-Request-Id"] == "r-1"
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert (await world.bus.log.info()).last == 0


REFUSALS: dict[str, tuple[dict[str, Any], int, str]] = {
    "oversize": ({"data": b" " * 300_000}, 413, "payload_too_large"),
    "oversize in chunks": ({"chunks": 300_000}, 413, "payload_too_large"),
    "another type": ({"data": b"a: 1", "headers": {"Content-Type": "text/yaml"}}, 415, "unsupported_media_type"),
    "compressed": ({"data": b"x", "headers": {"Content-Encoding": "gzip"}}, 415, "unsupported_media_type"),
    "unknown intent": ({"json": {"intent": "fly"}}, 404, "unknown_intent"),
    "another tenant": ({"json": {"intent": "greet", "tenant_id": "other"}}, 403, "forbidden"),
    "bad wait": ({"json": {"intent": "greet"}, "headers": {"Prefer": "wait=soon"}}, 400, "invalid_request"),
    "empty key": ({"json": {"intent": "greet"}, "headers": {"Idempotency-Key": ""}}, 400, "invalid_request"),
    "long key": ({"json": {"intent": "greet"}, "headers": {"Idempotency-Key": "k" * 256}}, 400, "invalid_request"),
    "key and id": (
        {"json": {"intent": "greet", "task_id": "t"}, "headers": {"Idempotency-Key": "k"}}, 400, "invalid_request",
    ),
    "no key": ({"json": {}, "headers": {"Authorization": ""}}, 401, "unauthenticated"),
    "not bearer": ({"json": {}, "headers": {"Authorization": "Basic eA=="}}, 401, "unauthenticated"),
    "mistyped key": ({"json": {}, "headers": {"Authorization": "Bearer aion_x"}}, 401, "unauthenticated"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_request_that_may_not_pass_leaves_nothing_in_the_log(world: World, name: str) -> None:
    kwargs, status, code = REFUSALS[name]
    if size := kwargs.get("chunks"):
        kwargs = {"data": chunks(size)}
    found, headers, body = await world.call("POST", "/v1/tasks", **kwargs)
    assert (found, json.loads(body)["code"]) == (status, code)
    assert headers["Content-Type"].startswith("application/problem+json")
    assert ("WWW-Authenticate" in headers) == (status == 401)
    if code == "unknown_intent":
        assert "greet" in json.loads(body)["detail"]
    assert (await world.bus.log.info()).last == 0


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 10_000):
        yield b" " * 10_000


async def test_no_task_may_take_longer_than_half_of_what_the_log_keeps() -> None:
    async with world_of(keep_s=40.0) as world:
        refused, _, body = await world.submit({"intent": "greet", "sla": {"timeout_s": 20.5}})
        assert (refused, [fault["pointer"] for fault in json.loads(body)["errors"]]) == (400, ["/sla/timeout_s"])
        assert "20 s" in json.loads(body)["detail"]
        for asked in ({}, {"timeout_s": 20}):
            status, _, _ = await world.submit({"intent": "greet", "sla": asked}, headers={"Prefer": "respond-async"})
            assert status == 202
        async with world.bus.log.read(0) as reader:
            events = [entry.event() for entry in await reader.next(1)]
    times = [event.brief.deadline_ms - event.brief.accepted_at_ms for event in events if isinstance(event, Accepted)]
    assert times == [20_000, 20_000]


async def test_unknown_routes_methods_and_ids_are_problems_too(world: World) -> None:
    for method, path, status in [
        ("GET", "/nowhere", 404), ("GET", "/v1/nowhere", 404), ("PUT", "/v1/tasks", 405),
        ("GET", "/v1/tasks/a.b", 400), ("GET", "/v1/stream/a*", 400), ("POST", "/v1/tasks/a%20b/cancel", 400),
    ]:  # fmt: skip
        found, headers, body = await world.call(method, path)
        assert (found, json.loads(body)["status"]) == (status, status), path
        assert headers["X-Request-Id"]
        assert ("Allow" in headers) == (status == 405)


async def test_a_revoked_and_an_expired_key_stop_working_though_they_were_seen(world: World) -> None:
    where = await world.issue("brief", "acme")
    await asyncio.sleep(0.01)
    assert (await world.call("GET", "/v1/intents", tenant="brief"))[0] == 200
    record = json.loads((await world.bus.kv.get(subjects.KEYS, where)).value)  # type: ignore[union-attr]
    await world.bus.kv.put(subjects.KEYS, where, json.dumps(record | {"revoked": True}).encode())
    await asyncio.sleep(0.01)
    assert (await world.call("GET", "/v1/intents", tenant="brief"))[0] == 401
    await world.issue("past", "acme", expires_at_ms=world.server.now_ms() + 200)
    await asyncio.sleep(0.01)
    assert (await world.call("GET", "/v1/intents", tenant="past"))[0] == 200
    await asyncio.sleep(0.25)
    assert (await world.call("GET", "/v1/intents", tenant="past"))[0] == 401


async def test_the_same_key_and_body_give_the_same_bytes_and_another_body_is_refused(world: World) -> None:
    key = {"Idempotency-Key": "order 7".replace(" ", "-")}
    async with answering(world) as seen:
        first, again = await world.submit(headers=key), await world.submit(headers=key)
        status, _, body = await world.submit({"intent": "greet", "params": {"a": 2}}, headers=key)
        elsewhere = await world.submit(headers=key, tenant="acme")
    assert first[0] == again[0] == 200
    assert first[2] == again[2] == elsewhere[2]
    assert "Idempotency-Replayed" not in first[1]
    assert again[1]["Idempotency-Replayed"] == "true"
    assert (status, json.loads(body)["code"]) == (422, "key_reused")
    assert len(seen) == 1


async def test_a_task_id_of_the_body_is_kept_and_conflicts_when_reused(world: World) -> None:
    now = {"Prefer": "respond-async"}
    status, headers, body = await world.submit({"intent": "greet", "task_id": "t-1"}, headers=now)
    assert (status, headers["Preference-Applied"]) == (202, "respond-async")
    assert json.loads(body) == {"task_id": "t-1", "status_url": "/v1/tasks/t-1"}
    assert (await world.submit({"intent": "greet", "task_id": "t-1"}, headers=now))[1]["Idempotency-Replayed"] == "true"
    status, _, body = await world.submit({"intent": "greet", "task_id": "t-1", "priority": "low"}, headers=now)
    assert (status, json.loads(body)["code"]) == (409, "conflict")


async def test_a_wait_that_expires_is_a_202_and_the_result_is_read_later(world: World) -> None:
    status, headers, body = await world.submit(headers={"Prefer": "wait=0"})
    assert status == 202
    where, task_id = headers["Location"], json.loads(body)["task_id"]
    status, _, body = await world.call("GET", where)
    assert (status, json.loads(body)) == (200, {"task_id": task_id, "status": "RUNNING", "state": "accepted"})
    ended = await world.end(task_id, 1)
    assert (await world.call("GET", where))[2] == encode(canonical_result(ended))
    assert (await world.call("GET", where, tenant="other"))[0] == 503  # nobody serves the ledger


async def test_an_append_whose_acknowledgement_is_lost_is_asked_again_and_accepted_once() -> None:
    async with world_of(accept_timeout_s=1.0) as world:
        world.server.lose_next_ack()
        status, _, body = await world.submit(headers={"Prefer": "respond-async"})
        assert status == 202
        assert len(await world.bus.log.events(TENANT, TaskId(json.loads(body)["task_id"]))) == 1
        world.server.lose_next_ack(9)
        status, headers, body = await world.submit(headers={"Prefer": "respond-async"})
        assert (status, json.loads(body)["code"], headers["Retry-After"]) == (503, "unavailable", "2")


async def test_a_lost_live_message_does_not_hang_the_client() -> None:
    async with world_of(recheck_s=0.01) as world:
        world.server.log.listeners.clear()
        async with answering(world):
            status, _, _ = await world.submit(headers={"Prefer": "wait=8"})
        assert status == 200
        assert world.edge.status()["rescued_waits"] == 1


async def test_a_bus_that_is_away_is_a_503_that_says_when(world: World) -> None:
    world.edge_bus.kill()
    for method, path in [("POST", "/v1/tasks"), ("GET", "/v1/tasks/t"), ("GET", "/v1/stream/t")]:
        status, headers, body = await world.call(method, path, json={"intent": "greet"})
        assert (status, json.loads(body)["code"]) == (503, "bus_disconnected")
        assert int(headers["Retry-After"]) >= 1
    status, _, body = await world.call("GET", "/readyz")
    assert status == 503
    assert json.loads(body)["checks"] == {"bus": False, "views": True, "not_draining": True}
    assert (await world.call("GET", "/healthz"))[0] == 200


async def test_a_full_house_refuses_with_429() -> None:
    async with world_of(max_waiting=1) as small:
        waiting = asyncio.create_task(small.submit(headers={"Prefer": "wait=5"}))
        await soon(lambda: _true(small.edge.status()["submissions"]))
        status, headers, body = await small.submit()
        assert (status, json.loads(body)["code"], headers["Retry-After"]) == (429, "too_many_requests", "1")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_cancel_ends_the_task_once_and_tells_its_worker(world: World) -> None:
    _, headers, _ = await world.submit({"intent": "greet", "task_id": "c"}, headers={"Prefer": "respond-async"})
    heard: list[str] = []
    async with world.bus.signals.listen(subjects.CANCEL_ALL, heard.append):
        assert (await world.call("POST", "/v1/tasks/c/cancel", tenant="other"))[0] == 503
        status, _, body = await world.call("POST", "/v1/tasks/c/cancel")
        assert (status, json.loads(body)["status"]) == (200, "CANCELED")
        await soon(lambda: _true(heard))
    assert heard == [subjects.cancel(TENANT, TaskId("c"))]
    status, _, again = await world.call("POST", "/v1/tasks/c/cancel")
    assert (status, json.loads(again)["code"]) == (409, "already_ended")
    assert json.loads(again)["result"] == json.loads(body)
    assert (await world.call("GET", headers["Location"]))[2] == body


async def _true(value: object) -> bool:
    return bool(value)


@pytest.mark.parametrize(("moment", "wins"), [("before", False), ("between", False), ("after", True)])
async def test_cancel_and_completion_race_to_one_end(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str, wins: bool
) -> None:
    """The completion comes before the cancel looks into the log, between its look and its append, or after that."""
    await world.submit({"intent": "greet", "task_id": "r"}, headers={"Prefer": "respond-async"})
    entry = await world.bus.log.last(TENANT, TaskId("r"))
    assert entry is not None
    look = world.edge_bus.log.events

    async def completed_meanwhile(*task: Any, **more: Any) -> Any:
        monkeypatch.undo()
        found = await look(*task, **more)
        await world.end("r", entry.sequence)
        return found

    if moment == "before":
        await world.end("r", entry.sequence)
    if moment == "between":
        monkeypatch.setattr(world.edge_bus.log, "events", completed_meanwhile)
    status, _, body = await world.call("POST", "/v1/tasks/r/cancel")
    if moment == "after":
        with pytest.raises(WrongSequence):
            await world.end("r", entry.sequence)
    assert status == (200 if wins else 409)
    events = [entry.event() for entry in await world.bus.log.events(TENANT, TaskId("r"))]
    assert len(events) == 2
    shown = json.loads(body)
    assert (shown if wins else shown["result"])["status"] == ("CANCELED" if wins else "OK")


async def frames(response: aiohttp.ClientResponse) -> list[dict[str, str]]:
    text = (await response.content.read()).decode()
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.split("\n\n") if block]
    return [block for block in blocks if "event" in block]


async def test_a_stream_replays_follows_and_resumes_without_params(world: World) -> None:
    await world.submit({"intent": "greet", "task_id": "s", "params": {"x": 1}}, headers={"Prefer": "respond-async"})
    auth = {"Authorization": f"Bearer {world.keys['acme']}"}
    async with world.http.get("/v1/stream/s", headers=auth) as response:
        assert response.content_type == "text/event-stream"
        entry = await world.bus.log.last(TENANT, TaskId("s"))
        assert entry is not None
        accepted = read_task_event(entry.data)
        assert isinstance(accepted, Accepted)
        routed = Routed(
            event_id=new_id(), tenant_id=TENANT, task_id=TaskId("s"), at_ms=2, brief=accepted.brief,
            params=accepted.params, engine="wasm", decision=UNROUTED,
        )  # fmt: skip
        second = await world.bus.log.append(routed, after=entry.sequence)
        await world.end("s", second)
        found = await frames(response)
    assert [frame["event"] for frame in found] == ["accepted", "routed", "done"]
    assert "params" not in json.loads(found[0]["data"])
    assert found[2]["data"].encode() == (await world.call("GET", "/v1/tasks/s"))[2]
    async with world.http.get("/v1/stream/s", headers=auth | {"Last-Event-ID": found[0]["id"]}) as response:
        assert await frames(response) == found[1:]
    status, _, _ = await world.call("GET", f"/v1/stream/s?after={found[2]['id']}")
    assert status == 204
    assert (await world.call("GET", "/v1/stream/s", headers={"Last-Event-ID": "x"}))[0] == 400
    status, _, body = await world.call("GET", "/v1/tasks/s/events")
    assert [event["sequence"] for event in json.loads(body)] == [int(frame["id"]) for frame in found]


async def test_an_older_task_is_answered_by_the_ledger_and_a_strange_one_by_nobody(world: World) -> None:
    ended = Ended(
        event_id=new_id(), tenant_id=TENANT, task_id=TaskId("old"), at_ms=1, outcome=Outcome.FAILED, intent="greet",
        engine=LOCAL, usage=Usage(latency_ms=1),
    )  # fmt: skip

    async def get(asked: LedgerGet, _call: Call) -> LedgerTask:
        if (asked.tenant_id, asked.task_id) != ("acme", "old"):
            raise NotFound("no")
        return LedgerTask(
            tenant_id=TENANT, task_id=TaskId("old"), intent="greet", state="ended", status=Status.ERROR,
            accepted_at_ms=1, result=canonical_result(ended),
        )  # fmt: skip

    async with world.bus.rpc.serve(Service("ledger", "1.0.0", "l1"), [Answer(LEDGER_GET, get)]):
        assert (await world.call("GET", "/v1/tasks/old"))[2] == encode(canonical_result(ended))
        same = {"X-Request-Id": "r"}
        theirs = await world.call("GET", "/v1/tasks/old", tenant="other", headers=same)
        nobodys = await world.call("GET", "/v1/tasks/new", tenant="other", headers=same)
        assert (theirs[0], theirs[2]) == (404, nobodys[2].replace(b"new", b"old"))
        assert (await world.call("GET", "/v1/stream/none"))[0] == 404
        assert (await world.call("POST", "/v1/tasks/none/cancel"))[0] == 404
        assert (await world.call("POST", "/v1/tasks/old/cancel"))[0] == 409


async def test_a_ledger_that_is_late_is_a_reason_to_come_back(world: World) -> None:
    async def late(_asked: LedgerGet, _call: Call) -> LedgerTask:
        raise DeadlineExceeded("the deadline passed before work began")

    async with world.bus.rpc.serve(Service("ledger", "1.0.0", "l1"), [Answer(LEDGER_GET, late)]):
        for method, path in (("GET", "/v1/tasks/old"), ("GET", "/v1/stream/old"), ("POST", "/v1/tasks/old/cancel")):
            status, headers, body = await world.call(method, path)
            assert (status, headers["Retry-After"], json.loads(body)["retryable"]) == (503, "1", True)


async def test_a_drain_refuses_new_tasks_lets_waiters_finish_and_ends_streams() -> None:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_of())
        await world.submit({"intent": "greet", "task_id": "d"}, headers={"Prefer": "respond-async"})
        waiting = asyncio.create_task(world.submit({"intent": "greet", "task_id": "w"}))
        auth = {"Authorization": f"Bearer {world.keys['acme']}"}
        stream = await stack.enter_async_context(world.http.get("/v1/stream/d", headers=auth))
        entry = await soon(lambda: world.bus.log.last(TENANT, TaskId("w")))
        world.edge.context.draining.set()
        status, headers, _ = await world.submit()
        assert (status, headers["Retry-After"], headers["Connection"]) == (503, "1", "close")
        assert (await world.call("GET", "/readyz"))[0] == 503
        await world.end("w", entry.sequence)
        assert (await waiting)[0] == 200
        assert (await stream.content.read()).decode().rstrip().endswith(": draining: reconnect with Last-Event-ID 1")


async def test_a_head_that_comes_byte_by_byte_is_cut_off_and_a_whole_one_may_wait() -> None:
    async with world_of(head_timeout_s=0.3) as world:
        slow_reader, slow = await asyncio.open_connection("127.0.0.1", world.edge.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.edge.port)
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"200 OK" in await reader.readline()
            dripping = asyncio.create_task(drip(slow, b"GET /healthz HTTP/1.1\r\nX-Slow: " + b"a" * 1000))
            async with asyncio.timeout(3):
                with suppress(ConnectionResetError):  # what comes when a byte crosses the edge's farewell
                    assert await slow_reader.read() == b""
            dripping.cancel()
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            async with asyncio.timeout(3):
                assert await reader.readuntil(b'{"status": "ok"}')
                assert await reader.readuntil(b'{"status": "ok"}')
            assert world.edge.status()["slow_heads"] == 1
        finally:
            await asyncio.gather(dripping, return_exceptions=True)
            for one in (slow, writer):
                one.close()


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)
