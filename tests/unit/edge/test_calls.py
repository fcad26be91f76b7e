"""What happens to a gRPC call before and after its handler; nothing here needs a port."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, nullcontext
from ipaddress import ip_network
from typing import Any, cast

import grpc
import grpc.aio
import pytest
import structlog
from google.rpc import status_pb2
from structlog.testing import capture_logs

from actors.runtime import Context
from actors.runtime.refusals import Refusals
from aion.v1 import tasks_pb2
from bus.memory import MemoryBus, MemoryServer
from edge.grpc.calls import Call, Calls, Method
from edge.grpc.peers import Peers
from edge.http.clients import Clients
from edge.identity.caller import Caller
from edge.identity.certificate_owners import CertificateOwners
from edge.identity.credentials import Credentials
from edge.limits.limits import Limits
from edge.limits.settings import LimitsSettings, Rate
from schemas.errors import InsufficientScope, Unauthenticated
from schemas.ids import TenantId
from schemas.scopes import DEFAULT, READ, SUBMIT, reach

SECRET = "a client's own words"


class Wire:
    """A call as gRPC hands it over."""

    def __init__(
        self,
        remaining_s: float | None = None,
        *,
        peer: str = "ipv4:192.0.2.1:5000",
        more: tuple[tuple[str, str | bytes], ...] = (),
    ) -> None:
        self.remaining_s = remaining_s
        self.more = more
        self._peer = peer
        self.blocked = False
        self.written: list[bytes] = []
        self.status: tuple[grpc.StatusCode, str] | None = None
        self.details: list[str] = []

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return (("authorization", "Bearer k"), ("x-bin", b"1"), ("authorization", "Bearer other"), *self.more)

    def peer(self) -> str:
        return self._peer

    def time_remaining(self) -> float | None:
        return self.remaining_s

    async def write(self, data: bytes) -> None:
        if self.blocked:
            await asyncio.Event().wait()
        self.written.append(data)

    async def abort(self, code: grpc.StatusCode, text: str, trailing: tuple[tuple[str, bytes], ...]) -> None:
        self.status = code, text
        found = status_pb2.Status.FromString(dict(trailing)["grpc-status-details-bin"])
        self.details = [one.TypeName().rpartition(".")[2] for one in found.details]
        raise grpc.aio.AbortError


METHOD = Method("StatusById", READ, "GET /v1/tasks/{task_id}")


class Known:
    """Knows one key."""

    def caller_of(self, authorization: str | None) -> Caller:
        if authorization != "Bearer k":
            raise Unauthenticated("no")
        return Caller(TenantId("acme"), "key:k", frozenset({READ}))


TRUSTED = Clients((ip_network("10.0.0.0/8"), ip_network("fd00::/8")), "X-Forwarded-For")


def calls_of(
    write_timeout_s: float = 1.0, credentials: Known | None = None, limits: Limits | None = None, max_calls: int = 64
) -> Calls:
    server = MemoryServer()
    context = Context(MemoryBus(server), "edge-1", structlog.get_logger(), server.now_ms)
    return Calls(
        context,
        cast(Credentials, credentials or Known()),
        CertificateOwners({}, Refusals(context, "edge")),
        Peers(TRUSTED),
        limits,
        write_timeout_s,
        max_calls,
    )


async def answer(wire: Wire, handle: Any, data: bytes = b"") -> Any:
    method: Any = calls_of().answering(METHOD, tasks_pb2.StatusByIdRequest, handle)
    return await method.unary_unary(data, wire)


async def echo(request: tasks_pb2.StatusByIdRequest, call: Call) -> tasks_pb2.StatusByIdResponse:
    assert call.metadata == {"authorization": "Bearer k"}
    return tasks_pb2.StatusByIdResponse(task_id=f"{call.caller.tenant_id}:{request.task_id}")


async def test_the_first_of_several_credentials_counts() -> None:
    request = tasks_pb2.StatusByIdRequest(task_id="t")
    found = await answer(Wire(), echo, request.SerializeToString())
    assert tasks_pb2.StatusByIdResponse.FromString(found).task_id == "acme:t"


async def test_a_call_whose_deadline_has_passed_does_nothing() -> None:
    async def never(_request: object, _call: Call) -> Any:
        raise AssertionError("it was handled")

    wire = Wire(remaining_s=0.0)
    with pytest.raises(grpc.aio.AbortError):
        await answer(wire, never)
    assert wire.status is not None
    assert wire.status[0] == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_fault_of_ours_tells_the_client_nothing_and_the_log_only_where() -> None:
    async def crash(_request: object, _call: Call) -> Any:
        raise KeyError(SECRET)

    wire = Wire()
    with capture_logs() as logs, pytest.raises(grpc.aio.AbortError):
        await answer(wire, crash)
    assert wire.status == (grpc.StatusCode.INTERNAL, "this is a fault of the server: its log names it")
    assert wire.details == ["RequestInfo"]
    assert [(line["event"], line["error"]) for line in logs] == [("edge.call_crashed", "KeyError")]
    assert SECRET not in str(logs)


async def test_a_cancelled_call_is_no_error() -> None:
    async def wait(_request: object, _call: Call) -> Any:
        await asyncio.Event().wait()

    wire = Wire()
    task = asyncio.create_task(answer(wire, wait))
    await asyncio.sleep(0)
    task.cancel()
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await task
    assert (logs, wire.status) == ([], None)


async def test_the_messages_are_closed_before_a_deaf_reader_is_told() -> None:
    closed = asyncio.Event()

    async def two(_request: object, _call: Call) -> AsyncGenerator[tasks_pb2.Token, None]:
        try:
            yield tasks_pb2.Token(text="1")
            wire.blocked = True
            yield tasks_pb2.Token(text="2")
        finally:
            closed.set()

    wire, calls = Wire(), calls_of(write_timeout_s=0.01)
    method: Any = calls.streaming(METHOD, tasks_pb2.StreamRequest, two, lambda _: nullcontext())
    with pytest.raises(grpc.aio.AbortError):
        await method.unary_stream(b"", wire)
    assert closed.is_set()
    assert wire.status is not None
    assert (wire.status[0], len(wire.written), calls.dropped_streams) == (grpc.StatusCode.UNAVAILABLE, 1, 1)
    assert wire.details == ["ErrorInfo", "RequestInfo", "RetryInfo"]


def test_a_certificate_speaks_for_one_tenant_or_for_nobody() -> None:
    server = MemoryServer()
    refusals = Refusals(Context(MemoryBus(server), "edge-1", structlog.get_logger(), server.now_ms), "edge")
    owners = CertificateOwners({"a.acme": "acme", "spiffe://acme/b": "acme", "c": "other"}, refusals)
    assert owners.caller_of(["x", "spiffe://acme/b"]) == Caller(
        TenantId("acme"), "certificate:spiffe://acme/b", reach(DEFAULT)
    )
    assert owners.caller_of(["a.acme", "spiffe://acme/b"]).tenant_id == "acme"
    for names in ([], ["x"], ["a.acme", "c"]):
        with pytest.raises(Unauthenticated):
            owners.caller_of(names)
    assert refusals.total == 3


async def test_a_call_whose_credential_lacks_the_methods_scope_is_refused() -> None:
    wire = Wire()
    submit = Method("Submit", SUBMIT, "POST /v1/tasks")
    method: Any = calls_of(credentials=Reading()).answering(submit, tasks_pb2.StatusByIdRequest, echo)
    with pytest.raises(grpc.aio.AbortError):
        await method.unary_unary(b"", wire)
    assert wire.status is not None
    assert wire.status[0] is grpc.StatusCode.PERMISSION_DENIED


class Reading(Known):
    """Knows one key that may read."""

    def lacking(self, _caller: Caller, scope: str) -> InsufficientScope:
        return InsufficientScope(f"lacks {scope}")


@pytest.mark.parametrize(
    ("peer", "said", "network"),
    [
        ("ipv4:203.0.113.9:5", ["198.51.100.1"], "203.0.113.9"),  # anybody may write the field
        ("ipv4:10.0.0.1:5", ["198.51.100.1"], "198.51.100.1"),
        ("ipv4:10.0.0.1:5", ["6.6.6.6", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("ipv4:10.0.0.1:5", [], "10.0.0.1"),
        ("ipv4:10.0.0.1:5", ["nonsense"], "10.0.0.1"),
        ("ipv6:%5Bfd00::1%5D:5", ["2001:db8:1:2:3::4"], "2001:db8:1:2::/64"),
        ("unix:", ["198.51.100.1"], ""),
    ],
)
def test_a_call_behind_a_trusted_proxy_counts_for_the_address_that_the_proxy_names(
    peer: str, said: list[str], network: str
) -> None:
    wire: Any = Wire(peer=peer, more=tuple(("x-forwarded-for", value) for value in said))
    assert Peers(TRUSTED).network_of(wire) == network


async def test_the_rate_of_an_address_is_not_that_of_its_proxy() -> None:
    limits = Limits(LimitsSettings(ip=Rate(rpm=1, burst=1)), None)
    method: Any = calls_of(limits=limits).answering(METHOD, tasks_pb2.StatusByIdRequest, silent)

    async def ask(client: str) -> bool:
        wire = Wire(peer="ipv4:10.0.0.1:5", more=(("x-forwarded-for", client),))
        try:
            await method.unary_unary(b"", wire)
        except grpc.aio.AbortError:
            assert wire.status is not None
            assert wire.status[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
            return False
        return True

    assert [await ask(client) for client in ("198.51.100.1", "198.51.100.1", "198.51.100.2")] == [True, False, True]


async def silent(_request: object, _call: Call) -> tasks_pb2.StatusByIdResponse:
    return tasks_pb2.StatusByIdResponse()


async def test_strangers_have_few_places_for_streams_and_one_address_a_part_of_them() -> None:
    calls, wires = calls_of(max_calls=64), [Wire(peer=f"ipv4:192.0.2.{number}:5") for number in range(5)]

    async def refused(wire: Any) -> None:
        with pytest.raises(grpc.aio.AbortError):
            await stack.enter_async_context(calls.stranger(wire))
        assert wire.status[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert wire.details == ["ErrorInfo", "RequestInfo", "RetryInfo"]

    async with AsyncExitStack() as stack:
        for wire in wires[:4]:
            await stack.enter_async_context(calls.stranger(cast(Any, wire)))
            await refused(wire)
        await refused(wires[4])
    async with calls.stranger(cast(Any, wires[4])):
        pass
