"""Between a call's head and its message: who is let in takes a place, and then sends the message.

gRPC's Python reads the message of a unary method before it calls the handler, without a deadline. What it counts by
`maximum_concurrent_rpcs` counts from the head on until the status has left, which a client that reads nothing puts off
(seen with 1.85). Both would give strangers places. So methods are served as if they took a stream of requests, which is
the same on the wire: the handler runs at the head, asks for the message when it wants it, and calls are counted here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, cast

import grpc

from edge.grpc.unread import CallTask, Unread
from edge.grpc.wire import Wire
from edge.tasks.bulkhead import Bulkhead

Arrival: TypeAlias = bytes | Callable[[], Awaitable[bytes]]
"""A call's message, or what waits for it: that is asked once, by who has let the caller in."""
_ALL: Final = ""
"""Who owns the places: they are not shared out."""


async def message_of(arrival: Arrival) -> bytes:
    """The message. Raises as `Arrivals.message`."""
    return arrival if isinstance(arrival, bytes) else await arrival()


class Arrivals:
    """Makes services whose handlers run before the message is there.

    A call holds one of `places`, if given, from when its message is asked for until its answer or status has left.
    """

    def __init__(self, unread: Unread, places: Bulkhead | None = None) -> None:
        self._unread = unread
        self._places = places

    def methods(
        self, service: str, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> "grpc.GenericRpcHandler":
        """The service; its unary handlers get an `Arrival` in place of the message."""
        return grpc.method_handlers_generic_handler(
            service, {name: self._at_the_head(handler) for name, handler in handlers.items()}
        )

    def message(self, wire: Wire) -> Awaitable[bytes]:
        """The call's message. Raises as `Unread.message`, and `TooManyRequests` when there is no place."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is answered in a task of its own")
        if self._places is not None:
            self._places.enter(_ALL)
            task.add_done_callback(self._leave)
        return self._unread.message(wire, task)

    def _leave(self, _task: CallTask) -> None:
        if self._places is not None:
            self._places.leave(_ALL)

    def _at_the_head(self, handler: "grpc.RpcMethodHandler[Any, Any]") -> "grpc.RpcMethodHandler[bytes, bytes]":
        if handler.response_streaming:
            many: Any = handler.unary_stream

            async def stream(_requests: object, wire: Wire) -> None:
                await many(partial(self.message, wire), wire)

            return grpc.stream_stream_rpc_method_handler(stream)
        one: Any = handler.unary_unary

        async def answer(_requests: object, wire: Wire) -> bytes:
            return cast(bytes, await one(partial(self.message, wire), wire))

        return grpc.stream_unary_rpc_method_handler(answer)
