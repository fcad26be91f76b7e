"""gRPC calls a second: the door's methods beside a bare echo on the same server library."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

from aion.v1 import tasks_pb2
from benchmarks.doors.doors import SUBMIT, credential, submission
from benchmarks.doors.grpc_wire import Call, Calls
from benchmarks.load import closed_loop
from benchmarks.processes import Children, cpu_us
from benchmarks.system.start import HOST, free_port, listening

ECHO: Final = "/benchmarks.Echo/Echo"
SERVICE: Final = "/aion.v1.AionTasks/"


@dataclass(frozen=True, slots=True)
class CallFigures:
    """One method in one loop; CPU of its server, us a call."""

    method: str
    calls_per_s: float
    server_cpu_us: float
    failed: int


async def measure_calls(
    children: Children, port: int, key: str, task_id: str, *, calls_open: int, seconds: float
) -> list[CallFigures]:
    """Echo, `StatusById` of an ended task, and `Submit`."""
    echo = free_port()
    children.start("echo", (sys.executable, "-m", "benchmarks.doors.calls", str(echo)))
    await listening(children, echo)
    status = tasks_pb2.StatusByIdRequest(task_id=task_id).SerializeToString()
    metadata = credential(key)
    return [
        await _loop(children, "echo", Calls(HOST, echo, Call(HOST, ECHO, submission(), metadata)), calls_open, seconds),
        *[
            await _loop(children, "edge", Calls(HOST, port, Call(HOST, method, message, metadata)), calls_open, seconds)
            for method, message in ((f"{SERVICE}StatusById", status), (SUBMIT, submission()))
        ],
    ]


async def _loop(children: Children, server: str, calls: Calls, calls_open: int, seconds: float) -> CallFigures:
    pids = {server: children.pids[server]}
    await calls.fill(calls_open)
    await closed_loop(calls.send, tasks_open=calls_open, seconds=seconds / 4)
    before = cpu_us(pids)[server]
    sample = await closed_loop(calls.send, tasks_open=calls_open, seconds=seconds)
    used = (cpu_us(pids)[server] - before) / max(1, len(sample.latencies_ms))
    calls.close()
    return CallFigures(calls.call.method.rpartition("/")[2], sample.rate, used, sample.failed)


async def serve_echo(port: int) -> None:
    """Until the process is ended."""

    async def echo(data: bytes, _context: object) -> bytes:
        return data

    handler: Any = grpc.unary_unary_rpc_method_handler(echo)
    service, method = ECHO.strip("/").split("/")
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler(service, {method: handler})])
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    await server.wait_for_termination()


def main(arguments: Sequence[str]) -> None:
    """Serve."""
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_echo(int(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
