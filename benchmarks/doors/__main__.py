"""`python -m benchmarks.doors [--quick] [--json] [--mode page-cache]`: what each door costs over the bare spine.

One whole installation, and on it, in turns: the **spine** (a task handed in by the log port and awaited by the live
feed, no door), then every door with the same task. Each gets an open loop at a fixed rate, from which the latencies
come, and a closed loop, from which tasks/s come. Read the ratios: both sides ran in the same minute on the same cores.

  REST                      POST /v1/tasks with an API key, nothing limited
  REST, access token        the same with a JWT in its place
  REST, limits              rates of key, address and tenant set, in Valkey, ample enough to refuse nothing
  REST, TLS                 TLS 1.3 on kept connections
  OpenAI chat [, streamed]  POST /v1/chat/completions
  SSE: submit, then stream  POST with respond-async, then GET /v1/stream/{id} to its `done`: two requests
  gRPC Submit               over HTTP/2, by frames made beforehand

`edge us` is the CPU of the door's edge a task, `client us` that of the load generator, and `client` its share of a
core: above 0.8 the figures are its own and no longer the door's. Three edges run the whole time, and each hears every
end of a task: the spine pays for that as well.

Then: SSE events/s of one edge with many streams of one task, and gRPC calls/s beside a bare grpc.aio echo.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import uvloop

from benchmarks import report
from benchmarks.doors.calls import measure_calls
from benchmarks.doors.doors import open_doors, start_edges
from benchmarks.doors.measure import QUICK, Lengths, medians, over_spine, round_of, turned, warm_up
from benchmarks.doors.report import Found, text
from benchmarks.doors.streams import measure_streams, talking
from benchmarks.system.start import HOST, free_port, running
from benchmarks.workload import MODES, Sync
from bus import open_bus
from bus.settings import BusSettings

STREAMS = (50, 200)
CALLS_OPEN = 64


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.doors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round of short loops")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--mode", choices=MODES, default="page-cache", help="durability of the log (page-cache)")
    parser.add_argument("--rounds", type=int, help="how often every door is measured (3)")
    return parser.parse_args(arguments)


async def measure(folder: Path, mode: Sync, lengths: Lengths) -> Found:
    """Everything, on one installation."""
    grpc = free_port()
    async with running(folder, mode, AION_EDGE__GRPC__PORT=str(grpc)) as system:
        ports = await start_edges(system, system.port, grpc, folder)
        settings = BusSettings(url=system.nats_url, group_appends=mode == "always")
        async with open_bus(settings) as bus:
            async with open_doors(system, bus, ports) as doors:
                await warm_up(system, doors, lengths)
                rounds = [await round_of(system, turned(doors, turn), lengths) for turn in range(lengths.rounds)]
            edge = system.children.pids["edge"]
            streams = [
                await measure_streams(
                    bus, (HOST, ports.plain), system.key, edge, streams=count, seconds=lengths.closed_s
                )
                for count in STREAMS
            ]
            async with talking(bus) as (task_id, _):
                pass
            calls = await measure_calls(
                system.children, grpc, system.key, task_id, calls_open=CALLS_OPEN, seconds=lengths.closed_s
            )
    return Found(lengths, medians(rounds), over_spine(rounds), streams, calls)


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    options = parse(arguments)
    lengths = QUICK if options.quick else Lengths()
    if options.rounds:
        lengths = Lengths(**(asdict(lengths) | {"rounds": options.rounds}))
    machine = report.machine()
    with (
        tempfile.TemporaryDirectory(prefix="aion-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measure(Path(folder), options.mode, lengths))
    if options.json:
        print(json.dumps({"machine": machine, "mode": options.mode, **found.as_json()}, indent=2))
    else:
        print("\n".join([*(f"{name}: {value}" for name, value in machine.items()), "", text(found)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
