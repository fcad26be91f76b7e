"""From a gRPC call's head to its message; nothing here needs a port."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
import grpc.aio
import pytest
import structlog

from actors.runtime import Context
from actors.runtime.refusals import Refusals
from aion.v1 import tasks_pb2
from bus.memory import MemoryBus, MemoryServer
from edge.grpc.arrivals import Arrivals, message_of
from edge.grpc.calls import Call, Calls, Method
from edge.grpc.peers import Peers
from edge.grpc.unread import Unread
from edge.http.clients import Clients
from edge.identity.caller import Caller
from edge.identity.certificate_owners import CertificateOwners
from edge.identity.credentials import Credentials
from edge.tasks.bulkhead import Bulkhead
from schemas.errors import InvalidRequest, TooManyRequests, Unauthenticated
from schemas.ids import TenantId
from schemas.scopes import READ

METHOD = Method("StatusById", READ, "GET /v1/tasks/{task_id}")


class Wire:
    """A call as gRPC hands it over, whose message comes when the test says so."""

    def __init__(self, key: str = "good", *, deaf: bool = False) -> None:
        self.coming: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()
        self.remaining_s = [9.0, 5.0]
        self.code: grpc.StatusCode | None = None
        self._key = key
        self._deaf = deaf

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._key}"),)

    def peer(self) -> str:
        return "ipv4:192.0.2.1:5000"

    def time_remaining(self) -> float | None:
        return self.remaining_s.pop(0)

    async def read(self) -> Any:
        self.asked.set()
        return await self.coming

    async def abort(self, code: grpc.StatusCode, *_: object) -> None:
        self.code = code
        self.ended.set()
        if self._deaf:
            await asyncio.Event().wait()  # the status does not leave
        raise grpc.aio.AbortError


class Known:
    """Knows one key."""

    def caller_of(self, authorization: str | None) -> Caller:
        if authorization != "Bearer good":
            raise Unauthenticated("no")
        return Caller(TenantId("acme"), "key:k", frozenset({READ}))


class Door:
    """One method behind `Arrivals`, and its places."""

    def __init__(self, unread: Unread | None = None, places: int = 4) -> None:
        server = MemoryServer()
        context = Context(MemoryBus(server), "edge-1", structlog.get_logger(), server.now_ms)
        owners, peers = CertificateOwners({}, Refusals(context, "edge")), Peers(Clients((), "X-Forwarded-For"))
        calls = Calls(context, cast(Credentials, Known()), owners, peers, None, 1.0, 64)
        self.places = Bulkhead("calls", places, 1.0)
        self.seen: list[Call] = []
        one = calls.answering(METHOD, tasks_pb2.StatusByIdRequest, self._echo)
        service = Arrivals(unread or Unread(10.0, 8), self.places).methods("s", {"StatusById": one})
        found: Any = service.service(cast(Any, Details))
        self._answer: Callable[[object, Wire], Awaitable[bytes]] = found.stream_unary

    def call(self, wire: Wire) -> "asyncio.Task[bytes]":
        """As gRPC does it: in a task of its own, at the call's head."""
        return asyncio.ensure_future(self._answer(None, wire))

    async def _echo(self, request: tasks_pb2.StatusByIdRequest, call: Call) -> tasks_pb2.StatusByIdResponse:
        self.seen.append(call)
        return tasks_pb2.StatusByIdResponse(task_id=request.task_id)


class Details:
    method = "/s/StatusById"


async def read(unread: Unread, wire: Wire) -> bytes:
    task = asyncio.current_task()
    assert task is not None
    return await unread.message(cast(Any, wire), task)


async def test_a_call_is_answered_once_its_message_has_come_and_has_a_place_meanwhile() -> None:
    door, wire = Door(), Wire()
    call = door.call(wire)
    await wire.asked.wait()
    assert door.places.inside == 1
    wire.coming.set_result(tasks_pb2.StatusByIdRequest(task_id="t").SerializeToString())
    assert tasks_pb2.StatusByIdResponse.FromString(await call).task_id == "t"
    await asyncio.sleep(0)
    assert door.places.inside == 0


async def test_what_is_left_of_the_callers_deadline_is_told_as_of_the_message() -> None:
    door, wire = Door(), Wire()
    wire.coming.set_result(b"")
    await door.call(wire)
    assert [call.remaining_s for call in door.seen] == [5.0]


async def test_a_stranger_is_asked_for_no_message_and_has_no_place_even_while_the_refusal_does_not_leave() -> None:
    door, wire = Door(places=1), Wire("bad", deaf=True)
    call = door.call(wire)
    await wire.ended.wait()
    assert (wire.code, wire.asked.is_set()) == (grpc.StatusCode.UNAUTHENTICATED, False)
    assert door.places.inside == 0
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_a_call_for_which_there_is_no_place_is_refused_and_a_caller_that_leaves_frees_one() -> None:
    door, first, second, third = Door(places=1), Wire(), Wire(), Wire()
    waiting = door.call(first)
    await first.asked.wait()
    with pytest.raises(grpc.aio.AbortError):
        await door.call(second)
    assert (second.code, second.asked.is_set()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, False)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    third.coming.set_result(b"")
    await door.call(third)
    assert (first.code, third.code) == (None, None)  # who has left is told nothing


async def test_a_place_is_given_back_when_the_time_for_the_message_is_over() -> None:
    door, wire = Door(Unread(0.01, 8)), Wire()
    with pytest.raises(grpc.aio.AbortError):
        await door.call(wire)
    await asyncio.sleep(0)
    assert (wire.code, door.places.inside) == (grpc.StatusCode.INVALID_ARGUMENT, 0)


async def test_one_timer_ends_every_wait_in_its_time() -> None:
    unread, wires = Unread(0.01, 8), [Wire() for _ in range(3)]
    began, ended = asyncio.get_running_loop().time(), []

    async def one(wire: Wire) -> None:
        with pytest.raises(InvalidRequest, match=r"not complete after 0\.01 s"):
            await read(unread, wire)
        ended.append(asyncio.get_running_loop().time())

    for _ in range(2):  # and once more, after nothing was waited for
        waits = []
        for wire in wires:
            waits.append(asyncio.create_task(one(wire)))
            await wire.asked.wait()
        await asyncio.gather(*waits)
        wires = [Wire() for _ in range(3)]
    assert len(ended) == 6
    assert ended[0] - began >= 0.009


async def test_of_one_too_many_the_one_that_has_waited_longest_is_refused() -> None:
    unread, wires = Unread(10.0, 2), [Wire() for _ in range(3)]
    waits = []
    for wire in wires:
        waits.append(asyncio.create_task(read(unread, wire)))
        await wire.asked.wait()
    with pytest.raises(TooManyRequests, match="waited longest"):
        await waits[0]
    for wire in wires[1:]:
        wire.coming.set_result(b"m")
    assert await asyncio.gather(*waits[1:]) == [b"m", b"m"]


async def test_a_client_that_leaves_as_it_is_refused_has_left() -> None:
    unread, wires = Unread(10.0, 1), [Wire() for _ in range(2)]
    first = asyncio.create_task(read(unread, wires[0]))
    await wires[0].asked.wait()
    second = asyncio.create_task(read(unread, wires[1]))
    asyncio.get_running_loop().call_soon(first.cancel)  # behind the second's first step, by which the first is refused
    with pytest.raises(asyncio.CancelledError):
        await first
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_a_call_without_a_message_is_refused() -> None:
    wire = Wire()
    wire.coming.set_result(grpc.aio.EOF)
    with pytest.raises(InvalidRequest, match="without a message"):
        await read(Unread(10.0, 1), wire)


async def test_a_message_that_is_there_is_not_waited_for() -> None:
    assert await message_of(b"m") == b"m"
