"""What the edge says on the wire that a client library would hide."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
import structlog
from twin_edge import twin_edge

from actors.runtime import Context
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from edge.actor import Edge
from edge.http.wire.connection import Connection
from edge.http.wire.sieve import Found, Sieve
from edge.settings import EdgeSettings
from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode
from schemas.registry import ModuleRecord

BODY = b'{"intent": "greet"}'


class Wire:
    """One connection, and the key to send over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, edge: Edge) -> None:
        self.reader = reader
        self.writer = writer
        self.key = key
        self.edge = edge

    def post(self, *lines: str, version: str = "1.1", framing: str = f"Content-Length: {len(BODY)}") -> None:
        """The head of a submission that does not wait."""
        fields = [f"Authorization: Bearer {self.key}", "Host: a", "Prefer: respond-async", framing]
        self.writer.write("\r\n".join([f"POST /v1/tasks HTTP/{version}", *fields, *lines, "", ""]).encode())

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, head and body of the next response."""
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
            fields = dict(line.split(": ", 1) for line in head[1:-2])
            body = await self.reader.readexactly(int(fields.get("Content-Length", "0")))
        return int(head[0].split()[1]), fields, body

    async def ended(self) -> bool:
        """Whether the edge closes the connection within a moment."""
        try:
            async with asyncio.timeout(0.2):
                return await self.reader.read(1) == b""
        except TimeoutError:
            return False


@asynccontextmanager
async def wire(**settings: Any) -> AsyncIterator[Wire]:
    server = MemoryServer()
    bus = MemoryBus(server)
    module = ModuleRecord(name="greeter", version="1.0.0", digest="sha256:" + "0" * 64, intents=("greet",))
    await bus.kv.put(subjects.MODULES, "greeter", encode(module))
    key, record = mint(TenantId("acme"), server.now_ms(), bytes(range(RANDOM_BYTES)))
    await bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
    context = Context(bus, "edge-1", structlog.get_logger(), server.now_ms)
    edge = Edge(context, EdgeSettings.model_validate({"port": 0, "drain_grace_s": 0} | settings))
    async with edge.lifespan():
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        try:
            yield Wire(reader, writer, key, edge)
        finally:
            writer.close()


async def test_a_connection_is_kept_and_every_answer_is_whole() -> None:
    async with wire() as client:
        for number in ("one", "two"):
            client.post(f"X-Request-Id: {number}")
            client.writer.write(BODY)
            status, fields, body = await client.answer()
            assert (status, fields["X-Request-Id"], fields["Content-Type"]) == (202, number, "application/json")
            assert fields["Date"].endswith(" GMT")
            assert (fields["Cache-Control"], fields["Preference-Applied"]) == ("no-store", "respond-async")
            assert "Connection" not in fields
            assert fields["Location"] == json.loads(body)["status_url"]


async def test_nothing_is_parsed_once_more_because_a_body_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    feed = Sieve.feed_data

    def note(sieve: Sieve, data: bytes) -> Found:
        parsed.append(data)
        return feed(sieve, data)

    monkeypatch.setattr(Sieve, "feed_data", note)
    async with wire() as client:
        client.post()
        client.writer.write(BODY)
        assert (await client.answer())[0] == 202
    assert b"".join(parsed).endswith(BODY)
    assert b"" not in parsed


async def test_a_body_that_came_while_reading_was_paused_comes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes behind a request that waits, more of it than aiohttp holds: reading pauses, and must go on."""
    paused: list[Connection] = []
    pause = Connection.pause_reading

    def note(connection: Connection) -> None:
        paused.append(connection)
        pause(connection)

    monkeypatch.setattr(Connection, "pause_reading", note)
    body = b'{"intent": "greet", "params": {"text": "%b"}}' % (b"x" * 700_000)
    async with wire(max_body_bytes=786_432) as client:
        head = f"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {client.key}\r\nPrefer: wait=1\r\n"
        client.writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        await asyncio.sleep(0.1)
        client.post(framing=f"Content-Length: {len(body)}")
        client.writer.write(body)
        assert [(await client.answer())[0] for _ in range(2)] == [202, 202]
    assert paused


async def test_requests_that_come_at_once_are_answered_in_order() -> None:
    async with wire() as client:
        for number in range(5):
            client.post(f"X-Request-Id: {number}")
            client.writer.write(BODY)
        assert [(await client.answer())[1]["X-Request-Id"] for _ in range(5)] == list("01234")


async def test_a_client_that_wants_to_leave_is_let_go() -> None:
    async with wire() as client:
        client.post("Connection: close")
        client.writer.write(BODY)
        status, fields, _ = await client.answer()
        assert (status, fields["Connection"]) == (202, "close")
        assert await client.ended()


async def test_an_old_client_is_let_go_unless_it_asks_to_stay() -> None:
    for lines, connection, ends in (((), "close", True), (("Connection: keep-alive",), "keep-alive", False)):
        async with wire() as client:
            client.post(*lines, version="1.0")
            client.writer.write(BODY)
            status, fields, _ = await client.answer()
            assert (status, fields["Connection"]) == (202, connection)
            assert await client.ended() is ends


async def test_a_body_that_is_held_back_is_asked_for() -> None:
    async with wire() as client:
        client.post("Expect: 100-continue")
        assert (await client.answer())[0] == 100
        client.writer.write(BODY)
        assert (await client.answer())[0] == 202


async def test_another_expectation_is_a_problem() -> None:
    async with wire() as client:
        client.post("Expect: miracles")
        client.writer.write(BODY)
        status, fields, body = await client.answer()
        assert (status, json.loads(body)["status"]) == (417, 417)
        assert fields["Content-Type"] == "application/problem+json"


async def test_a_body_may_come_in_pieces() -> None:
    async with wire() as client:
        client.post()
        for byte in BODY:
            client.writer.write(bytes((byte,)))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer())[0] == 202


async def test_a_probe_by_head_gets_no_body() -> None:
    async with wire() as client:
        client.writer.write(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(5):
            for _ in range(2):
                head = await client.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert await client.reader.readexactly(16) == b'{"status": "ok"}'


async def test_a_header_with_bytes_that_are_no_text_is_no_crash() -> None:
    trace = f"traceparent: 01-{'a' * 32}-{'b' * 16}-01-".encode()
    async with wire() as client:
        fields = f"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nPrefer: respond-async\r\nContent-Length: {len(BODY)}\r\n"
        for credential, status in ((client.key.encode(), 202), (b"aion_\xff", 401), (b"\xff.\xff.\xff", 401)):
            client.writer.write(
                fields.encode() + trace + b"\xff\r\nAuthorization: Bearer " + credential + b"\r\n\r\n" + BODY
            )
            assert (await client.answer())[0] == status


PROBE = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_a_later_head_that_comes_byte_by_byte_is_cut_off() -> None:
    async with wire(head_timeout_s=0.2) as client:
        for _ in range(2):
            client.writer.write(PROBE)
            assert (await client.answer())[0] == 200
            await asyncio.sleep(0.3)  # a connection may rest between requests
        loop = asyncio.get_running_loop()
        began = loop.time()
        with suppress(ConnectionError):
            for byte in b"GET /healthz HTTP/1.1\r\nX-Slow: " + b"a" * 500:
                client.writer.write(bytes([byte]))
                await client.writer.drain()
                await asyncio.sleep(0.02)
                if client.reader.at_eof():
                    break
        assert loop.time() - began < 1.0
        assert client.edge.status()["slow_heads"] == 1
        assert client.edge.status()["connections"] == 0


@pytest.mark.parametrize("broken", [b"zz\r\nhello\r\n", b"5\r\nhelloXX", b"-1\r\n", b"5;a=\x00\r\n"])
async def test_a_body_whose_chunks_break_is_refused_at_once_and_the_connection_ends(broken: bytes) -> None:
    for pause_s in (0.0, 0.02):
        async with wire() as client:
            client.post(framing="Transfer-Encoding: chunked")
            client.writer.write(b"5\r\n{    \r\n")
            await asyncio.sleep(pause_s)
            client.writer.write(broken)
            loop = asyncio.get_running_loop()
            began = loop.time()
            status, fields, body = await client.answer()
            assert (status, fields.get("Connection", "close")) == (400, "close")
            assert json.loads(body)["status"] == 400
            assert loop.time() - began < 1.0, "it is not waited for"
            assert await client.ended()


async def test_a_body_in_chunks_is_taken() -> None:
    async with wire() as client:
        for _ in range(2):
            client.post(framing="Transfer-Encoding: chunked")
            for start in range(0, len(BODY), 5):
                await asyncio.sleep(0.002)
                client.writer.write(b"%x\r\n%b\r\n" % (len(BODY[start : start + 5]), BODY[start : start + 5]))
            client.writer.write(b"0\r\n\r\n")
            assert (await client.answer())[0] == 202


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Many: 1\r\n" * 101 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n",
    ],
)
async def test_what_is_no_request_or_too_large_a_head_is_a_problem_and_the_end(head: bytes) -> None:
    async with wire() as client:
        client.writer.write(head)
        status, fields, body = await client.answer()
        assert (status, fields["Content-Type"]) == (400, "application/problem+json")
        assert json.loads(body)["code"] == "bad_request"
        assert fields["Server"] == "aion"
        assert await client.ended()


async def test_who_does_not_take_its_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.http.wire.connection.LEAST_BYTES_S", 1 << 20)
    async with wire(write_timeout_s=0.1) as client:

        def connections() -> int:
            return cast("int", client.edge.status()["connections"])

        reader, writer = await asyncio.open_connection("127.0.0.1", client.edge.port, limit=1024)
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 400)
        while connections() < 2:  # noqa: ASYNC110  # connections tell nobody
            await asyncio.sleep(0.01)
        async with asyncio.timeout(8):
            while connections() > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert client.edge.status()["slow_readers"] == 1
        with suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass
        writer.close()
        client.post()
        client.writer.write(BODY)
        assert (await client.answer())[0] == 202


async def test_connections_past_the_bound_are_told_and_closed() -> None:
    for bound in ("max_connections", "max_connections_per_ip"):
        async with wire(**{bound: 1}) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", client.edge.port)
            second = Wire(reader, writer, client.key, client.edge)
            status, fields, body = await second.answer()
            assert (status, fields["Retry-After"], json.loads(body)["code"]) == (503, "1", "too_many_connections")
            assert await second.ended()
            writer.close()
            client.writer.write(PROBE)
            assert (await client.answer())[0] == 200
            assert client.edge.status()["connections_turned_away"] == 1
    async with wire(max_connections_per_ip=1, trusted_proxies=["127.0.0.0/8"]) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.edge.port)
        writer.write(PROBE)
        assert (await Wire(reader, writer, client.key, client.edge).answer())[0] == 200
        writer.close()


async def test_a_refused_head_is_answered_without_a_body() -> None:
    """What would follow is the next answer on the connection (RFC 9110 section 9.3.2)."""
    async with twin_edge() as twin:
        reader, writer = await asyncio.open_connection("127.0.0.1", twin.edge.port)
        writer.write(b"HEAD /v1/intents HTTP/1.1\r\nHost: a\r\n\r\n")
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(5):
            head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401")
        assert b"application/problem+json" in head
        assert rest.startswith(b"HTTP/1.1 200")
        writer.close()
