"""The WebSocket door over a real port and the twin of the bus, asked by `websockets` and by hand."""

import asyncio
import base64
import gc
import json
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from twin_edge import DIGEST, LOCAL, End, TwinEdge, answering, speaking, twin_edge
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol
from ws_talk import Talk, talking

from bus import subjects
from edge.tasks.following import Following
from edge.ws.subscription import Subscription
from schemas.delta import Delta
from schemas.events import Accepted, Ended, Outcome, Routed, following, read_task_event
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import changed, encode
from schemas.registry import ModuleRecord
from schemas.result import Usage

GREETER = ModuleRecord(name="greeter", version="1.0.0", digest=DIGEST, intents=("greet",))
AION = Subprotocol("aion.v1")
TENANT = TenantId("acme")


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[TwinEdge]:
    async with twin_edge(**settings) as twin:
        await twin.admit(GREETER)
        yield twin


async def accepted(twin: TwinEdge, talk: Talk, task_id: str) -> Accepted:
    await talk.send("submit", id=f"submit-{task_id}", task={"intent": "greet", "task_id": task_id})
    assert (await talk.next())["type"] == "accepted"
    entry = await twin.bus.log.last(TENANT, TaskId(task_id))
    assert entry is not None
    event = read_task_event(entry.data)
    assert isinstance(event, Accepted)
    return event


async def routed(twin: TwinEdge, event: Accepted) -> tuple[Routed, int]:
    last = await twin.bus.log.last(TENANT, event.task_id)
    assert last is not None
    routed = Routed(
        **following(event, EventId(uuid7(2)), event.at_ms), brief=event.brief, params={}, engine="wasm", decision=LOCAL
    )
    return routed, await twin.bus.log.append(routed, after=last.sequence)


async def say(twin: TwinEdge, event: Routed, lease: int, *numbers: int, text: str = "x") -> None:
    for number in numbers:
        delta = Delta(lease=lease, number=number, text=f"{number}{text}")
        await twin.bus.tokens.publish(TENANT, event.task_id, encode(delta))


async def end(twin: TwinEdge, event: Routed, lease: int, size: int = 1) -> None:
    ended = Ended(
        **following(event, EventId(uuid7(3)), event.at_ms), outcome=Outcome.COMPLETED, intent="greet", engine=LOCAL,
        result={"a": "r" * size}, usage=Usage(latency_ms=1),
    )  # fmt: skip
    await twin.bus.log.append(ended, after=lease)


async def soon(check: Callable[[], Awaitable[Any] | Any]) -> None:
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110 - the edge tells nobody
            await asyncio.sleep(0.005)


async def test_many_tasks_on_one_socket_are_submitted_followed_and_cancelled() -> None:
    async with world() as twin, answering(twin, lambda event: End({"n": 1}) if event.params else None):
        async with talking(twin, subprotocols=[AION]) as talk:
            assert talk.socket.subprotocol == AION
            await talk.send("submit", id="1", task={"intent": "greet", "params": {"a": 1}}, wait_s=5)
            done = await talk.next()
            assert (done["type"], done["id"], done["result"]["status"]) == ("result", "1", "OK")
            await talk.send("submit", id="2", task={"intent": "greet", "task_id": "open"}, idempotency_key=None)
            assert await talk.next() == {"type": "accepted", "id": "2", "task_id": "open", "replayed": False}
            await talk.send("subscribe", id="a", task_id=done["task_id"])
            first = await talk.some(3)
            assert [frame.get("event", frame["type"]) for frame in first] == ["subscribed", "accepted", "done"]
            assert first[2]["data"] == done["result"]
            await talk.send("subscribe", id="a", task_id="open")
            assert [frame["type"] for frame in await talk.some(2)] == ["subscribed", "event"]
            await talk.send("cancel", id="3", task_id="open")
            last = {frame["type"]: frame for frame in await talk.some(2)}
            assert last["result"]["result"]["status"] == "CANCELED"
            assert last["event"]["data"] == last["result"]["result"]
            await talk.send("subscribe", id="a", task_id="open", after=last["event"]["event_id"])
            assert (await talk.next())["reason"] == "seen"
            await talk.send("submit", id="4", task={"intent": "greet"}, idempotency_key="k")
            again = await talk.next()
            await talk.send("submit", id="5", task={"intent": "greet"}, idempotency_key="k")
            assert await talk.next() == again | {"id": "5", "replayed": True}
        await soon(lambda: twin.edge.status()["sockets"] == twin.edge.status()["streams"] == 0)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown intent": ({"type": "submit", "id": "x", "task": {"intent": "fly"}}, "unknown_intent"),
    "another tenant": (
        {"type": "submit", "id": "x", "task": {"intent": "greet", "tenant_id": "other"}}, "forbidden",
    ),
    "key and id": (
        {"type": "submit", "id": "x", "task": {"intent": "greet", "task_id": "t"}, "idempotency_key": "k"},
        "invalid_request",
    ),
    "no such task": ({"type": "cancel", "id": "x", "task_id": "none"}, "no_responders"),
    "a task to follow that is not there": ({"type": "subscribe", "id": "x", "task_id": "none"}, "no_responders"),
    "a bad resume id": ({"type": "subscribe", "id": "x", "task_id": "t", "after": "x"}, "invalid_request"),
    "too much credit": ({"type": "subscribe", "id": "x", "task_id": "t", "credit": 5000}, "invalid_request"),
    "nothing to leave": ({"type": "unsubscribe", "id": "x"}, "not_found"),
    "an unknown type": ({"type": "fly", "id": "x"}, "invalid_request"),
    "a fault": ({"type": "cancel", "id": "x"}, "invalid_request"),
}  # fmt: skip


async def test_what_is_refused_is_refused_under_its_id_and_the_socket_stays() -> None:
    async with world(accept_timeout_s=0.2) as twin, talking(twin) as talk:
        for name, (frame, code) in REFUSED.items():
            await talk.socket.send(json.dumps(frame))
            found = await talk.next()
            assert (found["type"], found["id"], found["problem"]["code"]) == ("error", "x", code), name
        await talk.send("credit", id="x", credit=1)  # of a subscription that has just ended
        await talk.send("hello", authorization="Bearer aion_x")
        assert (await talk.next())["problem"]["code"] == "unauthenticated"
        await talk.send("hello", authorization=f"Bearer {await twin.issue('other')}")
        assert (await talk.next())["problem"]["code"] in {"forbidden", "unauthenticated"}
        assert await talk.silent()


async def test_a_subscription_is_sent_no_more_than_its_credit_and_nothing_twice() -> None:
    async with world() as twin, talking(twin) as talk:
        event, lease = await routed(twin, await accepted(twin, talk, "t"))
        await talk.send("subscribe", id="s", task_id="t", credit=1)
        await talk.send("subscribe", id="other", task_id="t", after=str(lease))
        kinds = [(frame["id"], frame.get("event")) for frame in await talk.some(3)]
        assert sorted(kinds, key=str) == [("other", None), ("s", "accepted"), ("s", None)]
        await say(twin, event, lease, 1, 2, 3)
        others = ""
        while not others.startswith("1x2x3x"):
            found = await talk.next()
            assert found["id"] == "other"
            others += found["data"]["text"]
        assert await talk.silent()
        await talk.send("credit", id="s", credit=2)
        first, second = await talk.some(2)
        assert [first["event"], second["event"], second["data"]["text"]] == ["routed", "partial", "1x2x3x"]
        await end(twin, event, lease)
        assert (await talk.next())["id"] == "other"
        assert await talk.silent()
        await talk.send("unsubscribe", id="s")
        assert await talk.next() == {"type": "end", "id": "s", "reason": "asked", "after": second["event_id"]}
        await talk.send("subscribe", id="s", task_id="t", after=second["event_id"])
        assert [frame.get("event") for frame in await talk.some(2)] == [None, "done"]


async def test_one_tasks_stream_by_upgrade_says_what_sse_says_and_resumes() -> None:
    async with world() as twin:
        told = asyncio.Event()
        async with talking(twin) as talk, speaking(twin, ["a ", "b "], End({"text": "a b"}), told):
            await talk.send("submit", id="1", task={"intent": "greet", "task_id": "t"})
            await talk.next()
            async with talking(twin, "/v1/stream/t", key=None) as stream:
                await stream.send("hello", authorization=f"Bearer {twin.key}")
                seen = [await stream.next()]
                while seen[-1]["event"] not in {"token", "partial"}:
                    seen.append(await stream.next())
                await stream.send("ping", id="p")
                told.set()
                code, rest = await stream.code()
        shown = [frame for frame in seen + rest if frame["type"] == "event"]
        assert (code, shown[-1]["event"]) == (1000, "done")
        first, last = shown[0]["event_id"], shown[-1]["event_id"]
        resume = {"Last-Event-ID": first}
        key = {"Authorization": f"Bearer {twin.key}"}
        async with aiohttp.ClientSession(twin.url) as http, http.get("/v1/stream/t", headers=key | resume) as response:
            sse = (await response.text()).split("\n\n")
        frames = [dict(line.split(": ", 1) for line in block.split("\n")) for block in sse if "event:" in block]
        for headers, path in ((resume, ""), ({}, f"?after={first}")):
            async with talking(twin, f"/v1/stream/t{path}", headers=headers) as stream:
                code, found = await stream.code()
            assert [(f["event"], f["event_id"], f["data"]) for f in found] == [
                (f["event"], f["id"], json.loads(f["data"])) for f in frames
            ]
        async with talking(twin, "/v1/stream/t", key=None) as stream:
            await stream.send("hello", authorization=f"Bearer {twin.key}", after=last)
            assert await stream.code() == (1000, [{"type": "end", "reason": "seen", "after": last}])


NO_UPGRADE: dict[str, tuple[str, dict[str, str], int]] = {
    "a token in the query": ("/v1/ws?access_token=aion_secret", {}, 400),
    "a token beside after": ("/v1/stream/t?after=1&token=aion_secret", {}, 400),
    "a bad resume id": ("/v1/stream/t?after=x", {}, 400),
    "a bad task id": ("/v1/stream/a*", {}, 400),
    "a page of nobody": ("/v1/ws", {"Origin": "https://evil.example.com"}, 403),
    "a wrong key": ("/v1/ws", {"Authorization": "Bearer aion_x"}, 401),
    "another protocol": ("/v1/ws", {"Sec-WebSocket-Protocol": "graphql-ws, mqtt"}, 400),
    "another route": ("/v1/intents", {}, 401),
}


@pytest.mark.parametrize("name", NO_UPGRADE)
async def test_no_socket_is_opened_for(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, headers, status = NO_UPGRADE[name]
    async with world(cors_origins=("https://app.example.com",)) as twin:
        with pytest.raises(InvalidStatus) as refused:
            async with talking(twin, path, key=None, headers=headers):
                raise AssertionError("it was opened")
        body = refused.value.response.body
        assert refused.value.response.status_code == status
        assert b"aion_secret" not in body
        assert json.loads(body)["instance"] == refused.value.response.headers["X-Request-Id"]
    assert "aion_secret" not in capsys.readouterr().out


async def test_a_page_that_may_call_may_open_a_socket() -> None:
    page = {"Origin": "https://app.example.com"}
    async with world(cors_origins=("https://app.example.com",)) as twin, talking(twin, headers=page) as talk:
        assert await talk.silent()


async def test_who_asks_without_an_upgrade_or_for_another_version_is_told() -> None:
    async with world() as twin, aiohttp.ClientSession(twin.url) as http:
        key = {"Authorization": f"Bearer {twin.key}"}
        old = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "8"}
        for headers in (key, key | old):
            async with http.get("/v1/ws", headers=headers) as response:
                assert (response.status, response.headers["Sec-WebSocket-Version"]) == (426, "13")
        async with http.get("/v1/ws") as response:
            assert response.status == 401


FIRST: dict[str, tuple[dict[str, Any] | None, int, str]] = {
    "nothing": (None, 4408, "unauthenticated"),
    "something else": ({"type": "ping"}, 4401, "unauthenticated"),
    "a wrong key": ({"type": "hello", "authorization": "Bearer aion_x"}, 4401, "unauthenticated"),
    "no frame": ({"type": "hello"}, 1008, "invalid_request"),
}


@pytest.mark.parametrize("name", FIRST)
async def test_the_first_frame_says_who_comes(name: str) -> None:
    frame, code, problem = FIRST[name]
    async with world(ws={"hello_timeout_s": 0.1}) as twin, talking(twin, key=None) as talk:
        if frame is not None:
            await talk.socket.send(json.dumps(frame))
        found, said = await talk.code()
        assert (found, [one["problem"]["code"] for one in said]) == (code, [problem])
        assert twin.edge.status()["sockets"] == 0


async def test_a_hello_opens_and_a_second_one_renews() -> None:
    async with world() as twin, talking(twin, key=None) as talk:
        await talk.send("hello", authorization=f"Bearer {twin.key}")
        assert (await talk.next())["type"] == "welcome"
        fresh = await twin.issue("acme")
        await asyncio.sleep(0.02)
        await talk.send("hello", authorization=f"Bearer {fresh}")
        assert (await talk.next())["type"] == "welcome"
        await twin.revoke(twin.key)
        await asyncio.sleep(1.2)  # a look at every socket
        assert await talk.silent()
        await twin.revoke(fresh)
        assert (await talk.code())[0] == 4401


async def test_a_key_that_was_revoked_acts_no_more_and_its_sockets_end_with_their_marks() -> None:
    async with world() as twin, talking(twin) as talk, talking(twin, "/v1/stream/t") as stream:
        assert (await stream.code())[0] == 1013  # there is no ledger to ask for a task that is not in the log
        event = await accepted(twin, talk, "t")
        async with talking(twin, "/v1/stream/t") as stream:
            await talk.send("subscribe", id="s", task_id="t")
            mark = (await talk.some(2))[1]["event_id"]
            await stream.next()
            await twin.revoke(twin.key)
            await asyncio.sleep(0.02)
            await talk.send("cancel", id="c", task_id=event.task_id)
            for one, frame_id in ((talk, {"id": "s"}), (stream, {})):
                code, said = await one.code()
                assert code == 4401
                assert {"type": "end", "reason": "closing", "after": mark} | frame_id in said
                assert said[-1]["problem"]["code"] == "unauthenticated"
        assert await twin.history("t") == ["accepted"]


async def test_a_scope_that_is_lacking_is_named_and_ends_a_stream() -> None:
    async with world() as twin:
        text, record = mint(TENANT, twin.server.now_ms(), os.urandom(RANDOM_BYTES))
        narrow = changed(record, scopes=("tasks:submit",))
        await twin.bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(narrow))
        await asyncio.sleep(0.02)
        async with talking(twin, key=text) as talk:
            await accepted(twin, talk, "t")
            for kind in ("subscribe", "cancel"):
                await talk.send(kind, id=kind, task_id="t")
                assert (await talk.next())["problem"]["code"] == "insufficient_scope"
        async with talking(twin, "/v1/stream/t", key=None) as stream:
            await stream.send("hello", authorization=f"Bearer {text}")
            assert (await stream.code())[0] == 4403
        with pytest.raises(InvalidStatus, match="403"):
            async with talking(twin, "/v1/stream/t", key=text):
                raise AssertionError("it was opened")


async def test_bounds_of_a_socket_are_refusals() -> None:
    bounds = {"max_subscriptions": 2, "max_requests": 2, "max_sockets": 2}
    async with world(ws=bounds, tenant_share=1) as twin, talking(twin) as talk:
        await accepted(twin, talk, "t")
        for frame_id in ("a", "b"):
            await talk.send("subscribe", id=frame_id, task_id="t")
            await talk.some(2)
        await talk.send("subscribe", id="a", task_id="t")
        assert (await talk.next())["problem"]["code"] == "conflict"
        await talk.send("subscribe", id="c", task_id="t")
        refused = await talk.next()
        assert (refused["problem"]["code"], refused["problem"]["retry_after_s"]) == ("too_many_requests", 1)
        for number in range(3):
            await talk.send("submit", id=str(number), task={"intent": "greet"}, wait_s=5)
        assert ((await talk.next())["id"], twin.edge.status()["submissions"]) == ("2", 2)
        async with talking(twin, key=None) as second:
            await second.send("hello", authorization=f"Bearer {twin.key}")
            await second.next()
            async with talking(twin, key=None) as third:
                await third.send("hello", authorization=f"Bearer {twin.key}")
                assert (await third.code())[0] == 4429
            with pytest.raises(InvalidStatus, match="429"):
                async with talking(twin):
                    raise AssertionError("it was opened")


async def test_sixteen_bad_frames_are_enough() -> None:
    async with world() as twin, talking(twin) as talk:
        for _ in range(16):
            await talk.send("fly")
        code, said = await talk.code()
        assert (code, len(said)) == (1008, 17)


async def test_a_socket_that_is_quiet_is_asked_and_one_that_wants_nothing_ends() -> None:
    times = {"ping_s": 0.05, "pong_timeout_s": 2.0, "idle_timeout_s": 1.5}
    async with world(ws=times) as twin, talking(twin) as talk, raw(twin) as deaf:
        code, _ = await talk.code()  # it answers pings, and asks for nothing
        assert code == 4408
        opcodes = [opcode async for opcode, _ in deaf.frames()]
    assert 9 in opcodes
    assert opcodes[-1] == 8


async def test_a_drain_answers_what_was_asked_and_tells_every_subscription_where_to_go_on() -> None:
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(world(drain_grace_s=0.3))
        async with talking(twin) as talk, talking(twin, "/v1/stream/t") as early:
            await early.code()
            await accepted(twin, talk, "t")
            await talk.send("subscribe", id="s", task_id="t")
            mark = (await talk.some(2))[1]["event_id"]
            async with talking(twin, "/v1/stream/t") as stream:
                await stream.next()
                await talk.send("submit", id="w", task={"intent": "greet", "task_id": "w"}, wait_s=30)
                await soon(lambda: twin.edge.status()["submissions"])
                leaving = asyncio.create_task(stack.aclose())
                assert await stream.next() == {"type": "end", "reason": "draining", "after": mark}
                assert (await stream.code())[0] == 1012
                assert await talk.next() == {"type": "end", "id": "s", "reason": "draining", "after": mark}
                await talk.send("submit", id="late", task={"intent": "greet"})
                assert (await talk.next())["problem"]["retry_after_s"] == 1
                with pytest.raises(InvalidStatus, match="503"):
                    async with talking(twin):
                        raise AssertionError("it was opened")
                code, said = await talk.code()
            await leaving
    assert code == 1012
    assert [(frame["type"], frame.get("id")) for frame in said] == [("accepted", "w"), ("error", None)]


async def test_a_subscription_that_is_left_while_others_are_told_of_a_drain_takes_none_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pump = Subscription.pump

    async def leave_slowly(self: Subscription, *of: Any) -> None:
        try:
            await pump(self, *of)
        finally:
            await asyncio.sleep(0.1)

    monkeypatch.setattr(Subscription, "pump", leave_slowly)
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(world(drain_grace_s=0.3))
        async with talking(twin) as talk:
            for name in ("a", "b", "c"):
                await accepted(twin, talk, name)
                await talk.send("subscribe", id=name, task_id=name)
                await talk.some(2)
            leaving = asyncio.create_task(stack.aclose())
            await soon(lambda: twin.edge.context.draining.is_set())
            await talk.send("unsubscribe", id="c")
            code, said = await talk.code()
        await leaving
    assert code == 1012
    ends = sorted((frame["id"], frame["reason"]) for frame in said if frame["type"] == "end")
    assert ends == [("a", "draining"), ("b", "draining"), ("c", "asked")]


class Raw:
    """A client that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes, *, first: int = 0x81, mask: int = 0x80) -> None:
        head = bytes((first, mask | len(data))) if len(data) < 126 else bytes((first, mask | 126))
        head += b"" if len(data) < 126 else struct.pack("!H", len(data))
        self.writer.write(head + (bytes(4) if mask else b"") + data)

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """Opcodes and payloads to the end of the connection."""
        async with asyncio.timeout(8):
            while True:
                try:
                    first, length = await self.reader.readexactly(2)
                    if length == 126:
                        (length,) = struct.unpack("!H", await self.reader.readexactly(2))
                    elif length == 127:
                        (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
                    yield first & 15, await self.reader.readexactly(length)
                except (asyncio.IncompleteReadError, ConnectionResetError):
                    return


@asynccontextmanager
async def raw(twin: TwinEdge, behind: bytes = b"", limit: int = 1 << 20) -> AsyncIterator[Raw]:
    """`behind` follows the request without waiting for the answer; about `limit` bytes are taken ahead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", twin.edge.port, limit=limit)
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        "GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {twin.key}\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    writer.write(head.encode() + behind)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"deflate" not in answer
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


PING = b'{"type": "ping"}'
VIOLATIONS: dict[str, tuple[bytes, dict[str, int], int]] = {
    "no mask": (PING, {"mask": 0}, 1002),
    "a reserved bit": (PING, {"first": 0xC1}, 1002),
    "another reserved bit": (PING, {"first": 0xA1}, 1002),
    "an unknown opcode": (PING, {"first": 0x83}, 1002),
    "a ping in pieces": (b"", {"first": 0x09}, 1002),
    "a ping that is too long": (b"x" * 200, {"first": 0x89}, 1002),
    "a continuation of nothing": (PING, {"first": 0x80}, 1002),
    "a close code that is none": (struct.pack("!H", 1005), {"first": 0x88}, 1002),
    "a close of one byte": (b"\x03", {"first": 0x88}, 1002),
    "no UTF-8": (b'{"type": "\xff"}', {}, 1007),
    "no JSON": (b"ping", {}, 1007),
    "binary": (PING, {"first": 0x82}, 1003),
    "too large": (b"x" * 2000, {}, 1009),
}


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_a_break_of_the_protocol_is_the_end_with_its_code(name: str) -> None:
    data, how, code = VIOLATIONS[name]
    async with world(max_body_bytes=1024) as twin, raw(twin) as client:
        client.send(PING)
        client.send(data, **how)
        frames = [frame async for frame in client.frames()]
        assert b'"pong"' in frames[1][1]
        assert (frames[-1][0], struct.unpack("!H", frames[-1][1][:2])[0]) == (8, code)
        await soon(lambda: twin.edge.status()["sockets"] == twin.edge.status()["connections"] == 0)


async def test_frames_may_come_in_pieces_and_before_the_answer_to_the_upgrade() -> None:
    early = b"\x01\x85" + bytes(4) + PING[:5]
    async with world() as twin, raw(twin, early) as client:
        client.send(b"are you there", first=0x89)
        client.send(PING[5:10], first=0x00)
        client.send(PING[10:], first=0x80)
        client.send(struct.pack("!H", 1000), first=0x88)
        frames = [frame async for frame in client.frames()]
    assert (10, b"are you there") in frames
    assert any(b'"pong"' in data for _, data in frames)
    assert frames[-1][0] == 8


async def test_of_all_that_a_slow_socket_follows_one_result_is_held() -> None:
    """Twenty tasks that have ended; the client subscribes to all of them and reads nothing."""
    size, count = 300_000, 20
    async with world() as twin, talking(twin) as talk:
        for number in range(count):
            event, lease = await routed(twin, await accepted(twin, talk, f"t{number}"))
            await end(twin, event, lease, size)
        async with raw(twin, limit=1024) as slow:
            for number in range(count):
                slow.send(json.dumps({"type": "subscribe", "id": f"s{number}", "task_id": f"t{number}"}).encode())
            most_open = most_held = 0
            for _ in range(25):
                await asyncio.sleep(0.03)
                streams = [one for one in gc.get_objects() if type(one) is Following]
                most_open = max(most_open, len(streams))  # falls as the kernel's buffers grow
                most_held = max(most_held, sum(one.ahead for one in streams))
            assert most_open > 5, "it was to be slow"
            assert most_held <= 1
            seen = [json.loads(data) async for opcode, data in first_of(slow.frames(), 4 * count + 1) if opcode == 1]
        done = [frame for frame in seen if frame.get("event") == "done"]
        assert {frame["id"] for frame in done} == {f"s{number}" for number in range(count)}
        assert all(len(frame["data"]["result"]["a"]) == size for frame in done)


async def first_of(frames: AsyncIterator[tuple[int, bytes]], count: int) -> AsyncIterator[tuple[int, bytes]]:
    """Not more than so many."""
    async for frame in frames:
        yield frame
        count -= 1
        if not count:
            return


async def test_who_takes_nothing_is_cut_off_and_resumes_without_gap_or_repeat() -> None:
    """Read slowly, the socket fills; what was not taken is not read, and the last id that came goes on from there."""
    async with world(write_timeout_s=0.3) as twin, talking(twin) as talk:
        event, lease = await routed(twin, await accepted(twin, talk, "t"))
        async with raw(twin, limit=1024) as slow:
            slow.send(b'{"type": "subscribe", "id": "s", "task_id": "t", "credit": 1024}')
            number = 0
            async with asyncio.timeout(10):
                while not twin.edge.status()["dropped_streams"]:
                    number += 1
                    await say(twin, event, lease, number, text="-" * 15_000)
                    await asyncio.sleep(0.001)
            seen = [json.loads(data) async for opcode, data in slow.frames() if opcode == 1]
        text = "".join(frame["data"]["text"] for frame in seen if frame.get("event") in {"token", "partial"})
        last = next(frame["event_id"] for frame in reversed(seen) if frame["type"] == "event")
        await talk.send("subscribe", id="s", task_id="t", after=last, credit=1000)
        await talk.next()
        while f"{number}-" not in text[-20_000:]:
            found = await talk.next()
            assert found["event"] == "token", found["event"]
            text += found["data"]["text"]
    assert text == "".join(f"{one}{'-' * 15_000}" for one in range(1, number + 1))
