"""`python -m benchmarks.grpc_door [--quick]`: Submit over gRPC beside REST and beside a bare echo, in turns.

The echo is grpc.aio's server with a handler that returns its bytes, in a process of its own: what is above it is ours.
All three are asked by clients in one process, of which gRPC's is by far the dearer; so the edge's CPU a call says more
than the rates do on a machine whose cores the client shares.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from aion.v1 import tasks_pb2
from benchmarks.load import Done, Sample, Send, closed_loop
from benchmarks.processes import Children, cpu_us
from benchmarks.report import machine
from benchmarks.system.start import HOST, System, free_port, running
from benchmarks.workload import INTENT, TEXT

ECHO = "/benchmarks.Echo/Echo"
SUBMIT = "/aion.v1.AionTasks/Submit"
DOORS = ("echo", "REST", "gRPC")
OPEN = (1, 64)
CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One loop through one door."""

    rate: float
    p50_ms: float
    failed: int
    server_cpu_us: float


def submission() -> bytes:
    """The task of every other benchmark, as a message."""
    request = tasks_pb2.SubmitRequest(task=tasks_pb2.TaskRequest(intent=INTENT))
    request.task.params.update({"text": TEXT})
    return request.SerializeToString()


def sender(method: Any, request: bytes, metadata: Sequence[tuple[str, str]], good: Callable[[bytes], bool]) -> Send:
    """Calls `method` with bytes, which costs the client no message objects."""
    loop, running_calls = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def call(done: Done) -> None:
        try:
            answer = await method(request, metadata=metadata, timeout=30)
        except grpc.aio.AioRpcError:
            done(False)
        else:
            done(good(answer))

    def send(done: Done) -> None:
        task = loop.create_task(call(done))
        running_calls.add(task)
        task.add_done_callback(running_calls.discard)

    return send


def is_ok(answer: bytes) -> bool:
    return tasks_pb2.SubmitResponse.FromString(answer).result.status == tasks_pb2.STATUS_OK


async def measure(folder: Path, *, seconds: float, rounds: int) -> dict[tuple[str, int], list[Figure]]:
    """Each door at each number of open calls, in turns."""
    echo_port, grpc_port = free_port(), free_port()
    with Children(folder / "echo", {}) as children:
        children.start("echo", (sys.executable, "-m", "benchmarks.grpc_door", "--serve-echo", str(echo_port)))
        async with (
            running(folder, "page-cache", AION_EDGE__GRPC__PORT=str(grpc_port)) as system,
            grpc.aio.insecure_channel(f"{HOST}:{echo_port}") as bare,
            grpc.aio.insecure_channel(f"{HOST}:{grpc_port}") as ours,
        ):
            for channel in (bare, ours):
                await asyncio.wait_for(channel.channel_ready(), CONNECT_S)
            metadata = (("authorization", f"Bearer {system.key}"),)
            request = submission()
            sends: dict[str, Send] = {
                "echo": sender(bare.unary_unary(ECHO), request, metadata, bool),
                "REST": system.pool.send,
                "gRPC": sender(ours.unary_unary(SUBMIT), request, metadata, is_ok),
            }
            pids = {"echo": children.pids["echo"], "REST": system.pids["edge"], "gRPC": system.pids["edge"]}
            return await in_turns(system, sends, pids, seconds=seconds, rounds=rounds)


async def in_turns(
    system: System, sends: dict[str, Send], pids: dict[str, int], *, seconds: float, rounds: int
) -> dict[tuple[str, int], list[Figure]]:
    found: dict[tuple[str, int], list[Figure]] = {(door, tasks): [] for tasks in OPEN for door in DOORS}
    for door in DOORS:
        await loop_of(system, sends[door], 32, seconds)
    for _ in range(rounds):
        for tasks in OPEN:
            for door in DOORS:
                before = cpu_us({door: pids[door]})[door]
                sample = await loop_of(system, sends[door], tasks, seconds)
                used = cpu_us({door: pids[door]})[door] - before
                count = max(1, len(sample.latencies_ms))
                found[door, tasks].append(Figure(sample.rate, sample.percentile_ms(0.5), sample.failed, used / count))
    return found


async def loop_of(system: System, send: Send, tasks_open: int, seconds: float) -> Sample:
    await system.pool.fill(tasks_open)
    return await closed_loop(send, tasks_open=tasks_open, seconds=seconds)


def text(found: dict[tuple[str, int], list[Figure]]) -> str:
    """Medians over the rounds, and gRPC over each of the others."""
    lines = []
    for tasks in OPEN:
        lines.append(f"{tasks} open{'':28}{'echo':>10}{'REST':>10}{'gRPC':>10}{'/ echo':>9}{'/ REST':>9}")
        for name, label in (
            ("rate", "calls/s"), ("p50_ms", "latency p50, ms"), ("server_cpu_us", "CPU of the server a call, us"),
        ):  # fmt: skip
            echo, rest, ours = (statistics.median(getattr(one, name) for one in found[door, tasks]) for door in DOORS)
            ratios = f"{ours / echo:8.2f}x{ours / rest:8.2f}x"
            lines.append(f"  {label:32}{echo:10.2f}{rest:10.2f}{ours:10.2f}{ratios}")
        failed = [sum(one.failed for one in found[door, tasks]) for door in DOORS]
        lines.append(f"  {'failed':32}{failed[0]:10}{failed[1]:10}{failed[2]:10}")
    return "\n".join(lines)


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


async def main(options: argparse.Namespace) -> None:
    if options.serve_echo:
        await serve_echo(options.serve_echo)
        return
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    with tempfile.TemporaryDirectory(prefix="aion-grpc-") as folder:
        found = await measure(Path(folder), seconds=1.5 if options.quick else 5.0, rounds=2 if options.quick else 5)
    print(text(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grpc_door", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short loops, two rounds")
    parser.add_argument("--serve-echo", type=int, help=argparse.SUPPRESS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args()))
