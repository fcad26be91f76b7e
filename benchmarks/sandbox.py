"""The WASM sandbox beside its floor: `python -m benchmarks.sandbox [--cells 2] [--rounds 5] [--seconds 1]`.

The floor is the same guest with the same input in this very process: a fresh instance, the call, its result as bytes.
No cell, no socket, no schema, nobody else to serve. What the sandbox costs is read as a ratio to it, round by round.
"""

import argparse
import asyncio
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks import report
from executors.wasm import InstalledPackage, Sandbox
from executors.wasm.build import build
from executors.wasm.engine import new_engine
from executors.wasm.engine_settings import kind_of
from executors.wasm.frames import Limits
from executors.wasm.guest_reactor import ReactorGuest
from executors.wasm.speech import Speech

PACKAGE = "summarize_text"
SENTENCES = (
    "Message buses move messages between services.",
    "A durable bus keeps each message until its reader has taken number {0}.",
    "Most teams begin with a queue and end with a log, since a log can be read again.",
    "Dr. Smith measured {0} systems last spring, and most of them waited for disks.",
)
PARAMS = {"text": " ".join(SENTENCES[i % 4].format(i) for i in range(24)), "max_sentences": 3}
DEPTHS = (1, 64)
LIMITS = Limits(timeout_us=5_000_000, memory_bytes=128 * 2**20, output_bytes=4 * 2**20)


@dataclass
class Figures:
    """Microseconds and rates by name, one entry a round."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Note one round's figure."""
        self.values.setdefault(name, []).append(value)

    def ratio(self, name: str, floor: str) -> float:
        """The median of the rounds' own ratios."""
        return statistics.median(a / b for a, b in zip(self.values[name], self.values[floor], strict=True))


def floor_guest(package: InstalledPackage) -> Callable[[bytes], bytes]:
    """The package as a plain function: a fresh instance for every call."""
    engine = new_engine(kind_of("reactor", metered=False))
    guest = ReactorGuest(engine, str(package.artifact), Speech(socket.socketpair()[0]))

    def call(payload: bytes) -> bytes:
        instance = guest.open(LIMITS)
        instance.set_epoch_deadline(1)
        try:
            instance.start()
            return instance.call(payload)
        finally:
            instance.close()

    return call


def measure_floor(call: Callable[[bytes], bytes], payload: bytes, seconds: float, figures: Figures) -> None:
    """CPU of one run, in a plain loop."""
    runs, cpu, stop = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        call(payload)
        runs += 1
    figures.add("floor_cpu_us", (time.process_time() - cpu) / runs * 1e6)


async def measure_sandbox(sandbox: Sandbox, depth: int, seconds: float, figures: Figures) -> None:
    """`depth` callers in a closed loop."""
    took: list[float] = []
    cells, own = cpu_of(sandbox.pool.pids), time.process_time()
    began = time.perf_counter()
    await asyncio.gather(*(_caller(sandbox, began + seconds, took) for _ in range(depth)))
    runs, passed = len(took), time.perf_counter() - began
    figures.add(f"runs_per_s.{depth}", runs / passed)
    if depth == 1:  # deeper, it tells the depth and not the sandbox
        figures.add("p50_us.1", statistics.median(took) * 1e6)
    figures.add(f"parent_cpu_us.{depth}", (time.process_time() - own) / runs * 1e6)
    figures.add(f"cells_cpu_us.{depth}", (cpu_of(sandbox.pool.pids) - cells) / runs * 1e6)


async def _caller(sandbox: Sandbox, stop: float, took: list[float]) -> None:
    while (began := time.perf_counter()) < stop:
        await sandbox.run(PACKAGE, PARAMS, 30.0)
        took.append(time.perf_counter() - began)


def cpu_of(pids: Sequence[int]) -> float:
    """CPU seconds used so far by processes and all their threads (proc(5), schedstat)."""
    threads = (path for pid in pids for path in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((path / "schedstat").read_text().split()[0]) for path in threads) / 1e9


async def measure(cells: int, rounds: int, seconds: float) -> Figures:
    """Floor and sandbox in turns, on packages built and compiled for this run."""
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="aion-bench-") as folder:
        await asyncio.to_thread(build, PACKAGE, Path(folder) / "packages")
        async with Sandbox(Path(folder) / "packages", Path(folder) / "cache", cells=cells) as sandbox:
            package = sandbox.packages[PACKAGE]
            payload = package.contract.encode_params(PARAMS)
            call = floor_guest(package)
            await measure_sandbox(sandbox, cells * 4, 0.3, Figures())
            for _ in range(rounds):
                measure_floor(call, payload, seconds / 2, figures)
                for depth in DEPTHS:
                    await measure_sandbox(sandbox, depth, seconds, figures)
    return figures


def main(arguments: Sequence[str]) -> int:
    """Measure and print medians, with each as a ratio to the floor of its own round."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sandbox", description=__doc__)
    parser.add_argument("--cells", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args(arguments)
    print("\n".join(f"{name}: {value}" for name, value in report.machine().items()))
    figures = uvloop.run(measure(options.cells, options.rounds, options.seconds))
    for name, values in figures.values.items():
        ratio = f"{figures.ratio(name, 'floor_cpu_us'):8.2f}x" if name.partition(".")[0].endswith("_us") else ""
        print(f"{name:24}{statistics.median(values):10.0f}  [{min(values):.0f}, {max(values):.0f}]{ratio:>12}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
