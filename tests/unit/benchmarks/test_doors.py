"""The load generator of the doors: what it takes for a good answer is one, and nothing else."""

import asyncio
from typing import Any

import grpc
import grpc.aio

from benchmarks.doors.grpc_wire import Call, Calls
from benchmarks.load import Send
from benchmarks.system.http import Pool

HOST = "127.0.0.1"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"


async def ask(send: Send) -> bool:
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    send(future.set_result)
    return await asyncio.wait_for(future, 5)


async def test_a_second_request_follows_the_first_answer_and_a_chunked_one_is_awaited_to_its_end() -> None:
    asked: list[bytes] = []
    left = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nid")
        asked.append(await reader.read(100))
        for part in (CHUNKED, b"4\r\ndone\r", b"\n0\r\n\r\n"):
            writer.write(part)
            await asyncio.sleep(0.001)
        writer.close()
        await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        judge = lambda got: b"second" if b" 202 " in got else got.endswith(b"done\r\n0\r\n\r\n")  # noqa: E731
        pool = Pool(HOST, server.sockets[0].getsockname()[1], b"first", judge)
        await pool.fill(1)
        assert await ask(pool.send)
        pool.close()
        await asyncio.wait_for(left.wait(), 5)
    assert asked == [b"first", b"second"]


async def test_calls_are_answered_by_grpcs_own_server_and_a_refusal_is_a_failure() -> None:
    heard: list[tuple[bytes, object]] = []

    async def echo(data: bytes, context: Any) -> bytes:
        heard.append((data, dict(context.invocation_metadata())["authorization"]))
        return data

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("a.B", {"Echo": handler})])
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    for method, wanted, well in (("Echo", b"hello", True), ("Echo", b"other", False), ("Nothing", b"", False)):
        calls = Calls(HOST, port, Call(HOST, f"/a.B/{method}", b"hello there", {"authorization": "Bearer k"}), wanted)
        await calls.fill(1)
        assert [await ask(calls.send) for _ in range(3)] == [well] * 3
        assert bool(calls.failures) is not well
        calls.close()
    await server.stop(None)
    assert heard == [(b"hello there", "Bearer k")] * 6
