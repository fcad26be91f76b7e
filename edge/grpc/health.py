"""`grpc.health.v1.Health`: whether this edge should be sent calls.

The servicer of grpcio-health-checking is not used: it holds a lock while it writes to a watcher, so one that reads
nothing stops the news for all.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from bus.waiting import timeout
from edge.grpc.arrivals import Arrival, Arrivals, message_of
from edge.grpc.calls import Calls
from edge.grpc.wire import Wire

NAME: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
LOOK_S: Final = 1.0
"""A watcher hears of a change at most so much later; of a drain at once."""

_Response = health_pb2.HealthCheckResponse


class Health:
    """Answers probes from the same checks as `/readyz`; "" is the whole edge. No credential is asked for."""

    def __init__(
        self,
        calls: Calls,
        checks: Callable[[], Mapping[str, bool]],
        draining: asyncio.Event,
        services: frozenset[str],
    ) -> None:
        self._calls = calls
        self._checks = checks
        self._draining = draining
        self._services = services | {""}

    def methods(self, arrivals: Arrivals) -> "grpc.GenericRpcHandler":
        """Every method by its name."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        return arrivals.methods(NAME, handlers)

    async def _check(self, arrival: Arrival, wire: Wire) -> bytes:
        """NOT_FOUND for a service that there is not, as the protocol wants it."""
        async with self._calls.telling(wire):
            service = await _service(arrival, wire)
            if service not in self._services:
                await wire.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
            return _encoded(self._status(service))
        return b""  # to nobody: the client has left

    async def _watch(self, arrival: Arrival, wire: Wire) -> None:
        """Each change, to the drain: that ends it, so that no watcher holds up the edge."""
        async with self._calls.stranger(wire), self._calls.telling(wire):
            await self._tell(await _service(arrival, wire), wire)

    async def _tell(self, service: str, wire: Wire) -> None:
        said = None
        while True:
            going, status = self._draining.is_set(), self._status(service)
            if status != said:
                await wire.write(_encoded(status))
                said = status
            if going:
                return
            with suppress(TimeoutError):
                async with timeout(LOOK_S):
                    await self._draining.wait()

    def _status(self, service: str) -> int:
        if service not in self._services:
            return int(_Response.SERVICE_UNKNOWN)
        return int(_Response.SERVING if all(self._checks().values()) else _Response.NOT_SERVING)


def _encoded(status: int) -> bytes:
    return bytes(_Response(status=status).SerializeToString())


async def _service(arrival: Arrival, wire: Wire) -> str:
    data = await message_of(arrival)
    try:
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    except DecodeError:
        await wire.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is no grpc.health.v1.HealthCheckRequest")
        raise
