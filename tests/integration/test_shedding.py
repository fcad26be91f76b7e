"""An edge whose own time is what is scarce: submissions are refused first, cheaply, and nothing else is."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest
from twin_edge import End, TwinEdge, answering, twin_edge

from benchmarks.overload.__main__ import Plan, measure, text
from edge.settings import EdgeSettings
from edge.tasks.pace import Pace
from schemas.registry import EngineAdvert

ECHO = EngineAdvert(engine="echo", instance="e1", route="local", intents=("echo",), slots=4, free_slots=4)
BODY = b'{"intent": "echo"}'


@pytest.fixture
async def twin() -> AsyncIterator[TwinEdge]:
    async with twin_edge(ws={"credit": 8}, grpc={"port": 0}) as twin:
        await twin.admit(ECHO)
        yield twin


def busy(twin: TwinEdge) -> Pace:
    """As after a turn that was far too long, with nothing left in this one, which never ends."""
    turns = twin.edge._inside.intake.turns
    turns.close()
    turns._timed, pace = True, turns.pace
    pace.turn(10.0, 10.0, 10.0)
    while pace.take():
        pass
    return pace


class Wire:
    """One connection, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self._reader = reader
        self._writer = writer
        self._auth = f"Host: edge\r\nAuthorization: Bearer {key}\r\n"

    def post(self, path: str = "/v1/tasks", fields: str = "", body: bytes = BODY) -> bytes:
        head = f"POST {path} HTTP/1.1\r\n{self._auth}Content-Type: application/json\r\n{fields}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def get(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\n{self._auth}\r\n".encode()

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await asyncio.sleep(0.02)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(5):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.rstrip().split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            return int(lines[0].split()[1]), fields, await self._reader.readexactly(int(fields["content-length"]))


@pytest.fixture
async def wire(twin: TwinEdge) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", twin.edge.port)
    yield Wire(reader, writer, twin.key)
    writer.close()


async def test_submissions_are_refused_on_a_connection_that_stays_and_the_rest_is_answered(
    twin: TwinEdge, wire: Wire
) -> None:
    await wire.send(wire.post(fields="Prefer: respond-async\r\n"))
    task = json.loads((await wire.answer())[2])["status_url"]
    pace = busy(twin)
    before = pace.refused
    for fields, expected in (("", None), ("X-Request-Id: Mine-7\r\n", "Mine-7"), ("", None)):
        await wire.send(wire.post(fields=fields))
        status, head, body = await wire.answer()
        problem = json.loads(body)
        assert (status, problem["code"], problem["retryable"]) == (503, "overloaded", True)
        assert 1 <= int(head["retry-after"]) <= 10
        assert head["x-request-id"] == problem["instance"]
        assert expected in (None, problem["instance"])
        assert head["content-type"] == "application/problem+json"
    assert pace.refused == before + 3
    for path in ("/healthz", "/readyz", "/v1/intents", task):
        await wire.send(wire.get(path))
        assert (await wire.answer())[0] == 200
    await wire.send(wire.post(f"{task}/cancel", body=b""))
    assert (await wire.answer())[0] == 200
    assert not twin.edge.status()["submissions"]
    assert twin.edge.status()["refused_for_lag"] == pace.refused
    pace.bounded = False
    async with answering(twin, lambda _: End({"said": 1})):
        await wire.send(wire.post())
        assert (await wire.answer())[0] == 200


async def test_the_openai_door_refuses_in_its_own_words(twin: TwinEdge, wire: Wire) -> None:
    busy(twin)
    for _ in range(2):  # by the parser, then without it
        await wire.send(wire.post("/v1/chat/completions"))
        status, head, body = await wire.answer()
        assert status == 503
        assert json.loads(body)["error"]["code"] == "overloaded"
        assert int(head["retry-after"]) >= 1


async def test_answers_keep_the_order_of_requests_and_none_is_lost(twin: TwinEdge, wire: Wire) -> None:
    """Two at once, a head in two parts, a body that comes later: all are refused, on the longer way."""
    busy(twin)
    whole = wire.post(fields="X-Request-Id: a1\r\n")
    await wire.send(whole + wire.get("/healthz"))
    assert [(await wire.answer())[0] for _ in range(2)] == [503, 200]
    for cut in (4, len(whole) // 2, len(whole) - 3):
        await wire.send(whole[:cut])
        await wire.send(whole[cut:])
        assert (await wire.answer())[0] == 503
        await wire.send(wire.get("/healthz"))
        assert (await wire.answer())[0] == 200


async def test_what_the_parser_holds_is_never_overtaken(twin: TwinEdge, wire: Wire) -> None:
    """The rest of a head that looks like a submission is the rest of a head."""
    busy(twin)
    head = wire.get("/healthz")[:-2] + b"X: "
    await wire.send(wire.post())
    assert (await wire.answer())[0] == 503
    await wire.send(head)
    await wire.send(b"POST /v1/tasks HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    status, _, body = await wire.answer()
    assert (status, json.loads(body)) == (200, {"status": "ok"})
    await wire.send(wire.get("/healthz"))
    assert (await wire.answer())[0] == 200


async def test_a_refusal_waits_for_the_answer_before_it(twin: TwinEdge, wire: Wire) -> None:
    async with answering(twin, lambda _: None):
        await wire.send(wire.post(fields="Prefer: wait=1\r\n"))
        busy(twin)
        await wire.send(wire.post())
        assert [(await wire.answer())[0] for _ in range(2)] == [202, 503]


async def test_a_socket_is_refused_as_well(twin: TwinEdge) -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {twin.key}"}) as http,
        http.ws_connect(f"{twin.url}/v1/ws", protocols=("aion.v1",)) as socket,
    ):
        busy(twin)
        await socket.send_json({"type": "submit", "id": "s1", "task": {"intent": "echo"}})
        frame = await socket.receive_json(timeout=5)
        while frame.get("id") != "s1":
            frame = await socket.receive_json(timeout=5)
        assert frame["type"] == "error"
        assert frame["problem"]["code"] == "overloaded"


async def test_turns_are_timed_only_while_submissions_come(twin: TwinEdge) -> None:
    turns = twin.edge._inside.intake.turns
    assert turns._next is None
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {twin.key}"}) as http:
        headers = {"Prefer": "respond-async"}
        async with http.post(f"{twin.url}/v1/tasks", json={"intent": "echo"}, headers=headers) as response:
            assert response.status == 202
    assert turns._timed
    await asyncio.sleep(1.3)
    assert not turns._timed
    assert not turns.pace.bounded


@pytest.mark.alone
async def test_three_times_of_what_a_core_can_do_is_refused_early_and_the_rest_is_done() -> None:
    """`python -m benchmarks.overload` in short; the bounds here are for a machine with other work."""
    assert EdgeSettings().max_lag_ms
    plan = Plan(seconds=4.0, connections=1500, tasks_open=96, warm_s=1.0, peak_s=2.0, rest_s=1.5, after_s=1.5)
    found = await measure(plan, {"max_lag_ms": 100.0})
    figures = text(found)
    sys.stdout.write(f"\n{figures}\n")  # shown by -s
    assert set(found.statuses) <= {200, 503}, figures
    assert found.peak_refused == 0, figures
    assert found.refused > 0.25 * sum(found.statuses.values()), figures
    assert found.refused_p50_ms < 100, figures
    assert found.retry_after_s[0] >= 1, figures
    assert found.share > 0.4, figures
    assert found.after_not_well < 0.1 * found.after, figures  # a machine that stalls sends many at once
