"""What a large log costs: `python -m benchmarks.large_log [--events 5000000] [--json]`.

The same figures are taken when the log holds 20,000 events and when it holds all of them: compare-and-set appends, one
at a time and 64 at once, the server's start after `kill -9`, and the time until a sweeper has read the log: one without
anything to go by, and one that finds the mark of the first.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import uvloop

from benchmarks import report
from benchmarks.backlog import fill
from benchmarks.floor.appends import Append, Appends
from benchmarks.floor.wire import Wire, connect
from benchmarks.processes import Children, run_to_end
from benchmarks.servers import UNUSED, servers
from benchmarks.system.lag import last_sequence, reached
from benchmarks.system.start import environment, free_port
from benchmarks.workload import ended_bytes
from deploy.local import DATA_DIR, env, up

FEW = 20_000
SINGLES = 300
OPEN = 64
OPEN_S = 5.0
START_S = 300.0
MARK_S = 6.0
"""A sweeper that has read all of the log marks where the next may begin every 5 s."""


@dataclass(frozen=True, slots=True)
class Costs:
    """At one size of the log."""

    events: int
    append_p50_ms: float
    appends_per_s: float
    restart_s: float
    server_mib: float
    sweeper_read_s: float
    sweeper_again_s: float


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_log", description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000, help="events of the large log (5000000)")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    return parser.parse_args(arguments)


async def append(appends: Appends, name: bytes) -> None:
    """The first event of a task that is not there yet; one that leaves nothing open, which a sweeper would end."""
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    subject, guard = b"aion.task.ended.completed.bench." + name, b"aion.task.*.*.bench." + name
    appends.append(Append(subject, guard, 0, ended_bytes(), done.set_result))
    if not await done:
        raise RuntimeError(f"{name.decode()} was refused")


async def append_costs(wire: Wire, tag: bytes) -> tuple[float, float]:
    """Milliseconds of one at a time (median), and appends a second with `OPEN` open."""
    appends, taken = Appends(wire, grouped=False), []
    for number in range(SINGLES):
        began = perf_counter()
        await append(appends, b"%b-one-%d" % (tag, number))
        taken.append((perf_counter() - began) * 1000)
    until, count = perf_counter() + OPEN_S, 0

    async def keep_open(lane: int) -> None:
        nonlocal count
        while perf_counter() < until:
            count += 1
            await append(appends, b"%b-%d-%d" % (tag, lane, count))

    began = perf_counter()
    await asyncio.gather(*(keep_open(lane) for lane in range(OPEN)))
    return statistics.median(taken), count / (perf_counter() - began)


async def restart(folder: Path, pid: int) -> tuple[float, int]:
    """Seconds from the start of a killed server until it serves, and its new pid."""
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.5)
    began = perf_counter()
    cache = (DATA_DIR.parent / "cache").resolve()
    (info,) = [
        one
        for one in await asyncio.to_thread(lambda: up(folder, UNUSED, nats_sync="page-cache", cache_dir=cache))
        if one.name == "nats"
    ]
    return perf_counter() - began, info.pid or 0


async def sweeper_costs(wire: Wire, folder: Path, variables: dict[str, str]) -> tuple[float, float]:
    """Seconds until a sweeper knows all of the log: the first that there ever was, and the next."""
    first_s = await _sweeper_reads(wire, folder, variables)
    return first_s, await _sweeper_reads(wire, folder, variables)


async def _sweeper_reads(wire: Wire, folder: Path, variables: dict[str, str]) -> float:
    """Seconds from its first look at the log; it ends once it has marked where the next may begin."""
    target = await last_sequence(wire)
    with Children(folder / "logs", variables) as children:
        children.start("sweeper", (sys.executable, "-m", "actors", "run", "sweeper"))
        async with asyncio.timeout(START_S):
            await reached(wire, "sweeper", 0)
            began = perf_counter()
            await reached(wire, "sweeper", target)
            read_s = perf_counter() - began
            await asyncio.sleep(MARK_S)
            children.check()
    return read_s


async def measure(folder: Path, events: int) -> list[Costs]:
    """The costs at both sizes."""
    found: list[Costs] = []
    async with servers(folder, "page-cache", nats_only=True) as infos:
        pid = infos["nats"].pid or 0
        variables = environment(env(infos.values()), free_port(), "page-cache")
        variables["AION_SWEEPER__REQUIRED"] = "[]"
        await run_to_end((sys.executable, "-m", "actors", "key", "ls"), variables)  # the first visit makes the log
        for size in (FEW, events):
            wire = await connect(infos["nats"].url)
            await fill(wire, size, first=await last_sequence(wire))
            p50_ms, per_s = await append_costs(wire, b"at-%d" % size)
            wire.close()
            seconds, pid = await restart(folder, pid)
            wire = await connect(infos["nats"].url)
            read_s, again_s = await sweeper_costs(wire, folder, variables)
            found.append(Costs(await last_sequence(wire), p50_ms, per_s, seconds, _resident_mib(pid), read_s, again_s))
            wire.close()
    return found


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def text(found: Sequence[Costs]) -> str:
    """For a person: both sizes side by side."""
    lines = []
    for name in asdict(found[0]):
        few, many = (asdict(costs)[name] for costs in found)
        lines.append(f"{name:16} {few:>12,.2f} {many:>14,.2f}   x {many / few:.2f}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    options = parse(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="aion-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measure(Path(folder) / "large", options.events))
    if options.json:
        print(json.dumps({**report.machine(), "costs": [asdict(costs) for costs in found]}))
    else:
        print(text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
