"""The way of every call: its id, its caller, its message, its time, and a status for whatever goes wrong."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from actors.runtime import Context
from bus.waiting import timeout
from edge.grpc.arrivals import Arrival, message_of
from edge.grpc.peers import Peers
from edge.grpc.status import Refusal, internal, refusal
from edge.grpc.wire import Wire
from edge.http.routes import ANY_CALLER
from edge.identity.caller import Caller
from edge.identity.certificate_owners import CertificateOwners
from edge.identity.credentials import Credentials
from edge.limits.limits import Limits
from edge.limits.plan import Who
from edge.tasks.bulkhead import Bulkhead
from edge.tasks.trace import RequestIds, place_of
from schemas.errors import (
    AionError,
    DeadlineExceeded,
    InvalidRequest,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from schemas.ids import TenantId

Request = TypeVar("Request", bound=Message)
_NAMES_OF_CLIENTS: Final = ("peer_dns", "peer_uri")
"""gRPC's properties for `edge.identity.certificate_owners.NAMES_OF_CLIENTS` (grpc_security_constants.h)."""
STRANGERS_SHARE: Final = 1 / 16
"""Beside all calls: as many streams that need no credential, and messages waited for of who needs none."""
STRANGER_SHARE: Final = 0.25
"""Of the places for those, for one address."""


class Method(NamedTuple):
    """A method's name, the scope that it needs, for which there is no default, and what limits know it by.

    `route` is the request over HTTP that does the same, so that no other door leads past its limit.
    """

    name: str
    scope: str
    route: str


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, what came beside the message, and the seconds left of the caller's deadline."""

    caller: Caller
    metadata: Mapping[str, str]
    remaining_s: float | None


Answering: TypeAlias = Callable[[Request, Call], Awaitable[Message]]
Streaming: TypeAlias = Callable[[Request, Call], AsyncGenerator[Message, None]]


class SlowReader(Unavailable):
    """The client took nothing for too long."""


class Calls:
    """Makes a method of a service from a handler that knows nothing of gRPC."""

    def __init__(
        self,
        context: Context,
        credentials: Credentials,
        owners: CertificateOwners,
        peers: Peers,
        limits: Limits | None,
        write_timeout_s: float,
        max_calls: int,
    ) -> None:
        self._context = context
        self._ids = RequestIds(context.now_ms(), context.rng)
        self._credentials = credentials
        self._owners = owners
        self._peers = peers
        self._limits = limits
        places = max(1, int(max_calls * STRANGERS_SHARE))
        self._strangers = Bulkhead("streams without a credential", places, STRANGER_SHARE, whose="address")
        self._write_timeout_s = write_timeout_s
        self.dropped_streams = 0

    def answering(
        self, method: Method, kind: type[Request], handle: "Answering[Request]"
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method with one answer."""

        async def answer(arrival: Arrival, wire: Wire) -> bytes:
            try:
                call, data = await self._enter(wire, method, arrival)
                return (await handle(_parsed(kind, data), call)).SerializeToString()
            except Exception as error:
                await self._fail(wire, error)
            return b""  # to nobody: the client has left

        return grpc.unary_unary_rpc_method_handler(answer)

    def streaming(
        self,
        method: Method,
        kind: type[Request],
        handle: "Streaming[Request]",
        place: Callable[[TenantId], AbstractContextManager[None]],
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method with many answers. Each has its time to be taken; what is not is waited for, never queued.

        gRPC's Python has no way to end a call whose client reads nothing: it is told, and keeps its `place` until it
        reads on, leaves, or its connection is too old. So such clients use up places of streams, and nothing else.
        """

        async def stream(arrival: Arrival, wire: Wire) -> None:
            try:
                call, data = await self._enter(wire, method, arrival)
                with place(call.caller.tenant_id):
                    try:
                        async with aclosing(handle(_parsed(kind, data), call)) as messages:
                            async for message in messages:
                                await self._write(wire, message.SerializeToString())
                    except SlowReader as error:
                        await self._fail(wire, error)  # in its place, until the client has heard
            except Exception as error:
                await self._fail(wire, error)

        return grpc.unary_stream_rpc_method_handler(stream)

    @asynccontextmanager
    async def stranger(self, wire: Wire) -> AsyncIterator[None]:
        """A place for a stream that needs no credential and may never end; where none is left the call ends."""
        try:
            with self._strangers.place(self._peers.network_of(wire)):
                yield
        except TooManyRequests as error:
            await _end(wire, refusal(error, self._request_id(wire)))
            raise

    @asynccontextmanager
    async def telling(self, wire: Wire) -> AsyncIterator[None]:
        """For a method that needs no credential: an error of AION's tree ends the call with its status."""
        try:
            yield
        except AionError as error:
            await _end(wire, refusal(error, self._request_id(wire)))

    def _request_id(self, wire: Wire) -> str:
        """The client's, or a fresh one: it is told with what goes wrong, and with nothing else."""
        return self._ids.read(_first_values(wire).get("x-request-id"))

    async def _write(self, wire: Wire, data: bytes) -> None:
        try:
            async with timeout(self._write_timeout_s):
                await wire.write(data)
        except TimeoutError:
            self.dropped_streams += 1
            self._context.log.warning("edge.slow_reader_dropped", after_s=self._write_timeout_s)
            raise SlowReader(
                f"nothing was read for {self._write_timeout_s:g} s: stream again after the last sequence"
            ) from None

    async def _enter(self, wire: Wire, method: Method, arrival: Arrival) -> tuple[Call, bytes]:
        """The call and its message, which is asked for when the caller is known, and no sooner."""
        remaining_s = wire.time_remaining()
        if remaining_s is not None and remaining_s <= 0:
            raise DeadlineExceeded("the call's deadline had passed when it came: give it more time")
        metadata = _first_values(wire)
        caller = await self._caller_of(wire, method, metadata.get("authorization"))
        if method.scope not in caller.scopes and method.scope is not ANY_CALLER:
            raise self._credentials.lacking(caller, method.scope)
        data = await message_of(arrival)
        return Call(caller, metadata, wire.time_remaining()), data

    async def _fail(self, wire: Wire, error: Exception) -> None:
        """End the call with the status for what went wrong."""
        if isinstance(error, grpc.aio.AbortError):
            raise error  # the status is sent
        if isinstance(error, grpc.aio.InternalError):
            return  # what was written met a client that has left
        request_id = self._request_id(wire)
        if isinstance(error, AionError):
            if error.http_status >= 500 and not error.retryable:
                self._context.log.error("edge.call_failed", request_id=request_id, code=error.code)
            await _end(wire, refusal(error, request_id))
            return
        self._context.log.error(
            "edge.call_crashed", request_id=request_id, error=type(error).__name__, at=place_of(error)
        )
        await _end(wire, internal(request_id))

    async def _caller_of(self, wire: Wire, method: Method, authorization: str | None) -> Caller:
        """Who calls. When limits hold, what has no good credential counts for its address, as over HTTP."""
        limits = self._limits
        if limits is None:
            return self._known(wire, authorization)
        network = self._peers.network_of(wire)
        limits.check_address(network)
        try:
            caller = self._known(wire, authorization)
        except Unauthenticated:
            await limits.take_stranger(network)
            raise
        await limits.take(Who(network, caller.name, caller.tenant_id, method.route))
        return caller

    def _known(self, wire: Wire, authorization: str | None) -> Caller:
        if authorization is None and self._owners:
            return self._owners.caller_of(_certificate_names(wire))
        return self._credentials.caller_of(authorization)


async def _end(wire: Wire, status: Refusal) -> None:
    """Raises `AbortError`, by which gRPC knows; returns when the client has left meanwhile."""
    with suppress(grpc.aio.InternalError):
        await wire.abort(*status)


def _parsed(kind: type[Request], data: bytes) -> Request:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidRequest(f"the message is no {kind.DESCRIPTOR.full_name}, or nests too deeply") from error


def _first_values(wire: Wire) -> dict[str, str]:
    """The metadata that is text (all but `...-bin`); of several values under a key the first, as over HTTP."""
    return {key: value for key, value in reversed(tuple(wire.invocation_metadata() or ())) if isinstance(value, str)}


def _certificate_names(wire: Wire) -> list[str]:
    """The subject alternative names of the client's certificate, which TLS has verified."""
    shown = wire.auth_context()
    return [name.decode(errors="replace") for kind in _NAMES_OF_CLIENTS for name in shown.get(kind, ())]
