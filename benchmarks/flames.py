"""Flame graphs of every actor under load: `python -m benchmarks.flames [--mode page-cache] [--out build/flames]`.

The whole system in a closed loop, warm, while py-spy looks at each actor, the cells of the executor with it. One SVG a
process; a frame is a function, its width the share of samples in which it was on the stack and the process on a core.
"""

import argparse
import asyncio
import re
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import uvloop

from benchmarks.load import closed_loop
from benchmarks.processes import run_to_end
from benchmarks.system.start import System, running
from benchmarks.workload import MODES

WARM_UP_S = 6.0
MARGIN_S = 4.0
"""More load than looking: py-spy needs a moment to begin."""
LOOKS_A_SECOND = 100


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flames", description=__doc__)
    parser.add_argument("--mode", choices=MODES, default="page-cache", help="durability of the log (page-cache)")
    parser.add_argument("--open", type=int, default=192, help="tasks open at once (192)")
    parser.add_argument("--seconds", type=int, default=20, help="how long it looks (20)")
    parser.add_argument("--out", type=Path, default=Path("build/flames"), help="folder of the graphs (build/flames)")
    return parser.parse_args(arguments)


async def record(system: System, options: argparse.Namespace) -> float:
    """Write the graphs; the rate under which they were taken, tasks a second (looking costs some of it)."""
    pool = system.pool
    await pool.fill(options.open)
    await closed_loop(pool.send, tasks_open=options.open, seconds=WARM_UP_S)
    load = asyncio.create_task(
        closed_loop(pool.send, tasks_open=options.open, seconds=options.seconds + MARGIN_S), name="load"
    )
    try:
        async with asyncio.TaskGroup() as group:
            for name, pid in system.children.pids.items():
                group.create_task(_spy(pid, options.seconds, options.out / f"{name}.svg"), name=f"spy on {name}")
        return (await load).rate
    finally:
        load.cancel()
        with suppress(asyncio.CancelledError):
            await load


async def _spy(pid: int, seconds: int, graph: Path) -> None:
    spy = Path(sysconfig.get_path("scripts")) / "py-spy"
    how = ("--duration", str(seconds), "--rate", str(LOOKS_A_SECOND), "--function", "--subprocesses", "--nonblocking")
    command = (str(spy), "record", "--pid", str(pid), *how, "--format", "flamegraph", "--output", str(graph))
    await run_to_end(command, {}, seconds + 60.0)


def without_this_machine(svg: str) -> str:
    """The graph without process ids and the folders of this machine, so that it may be shown."""
    svg = svg.replace(f"{Path(sys.executable).parent}/", "")
    svg = re.sub(r"(?<=&quot;)/[^&<]*\.\.", "..", svg)  # a label that was cut
    return re.sub(r"(?<=process )\d+:|--(pid|output) [^\s<]+ ?", "", svg)


async def _recorded(folder: Path, options: argparse.Namespace) -> float:
    async with running(folder, options.mode) as system:
        return await record(system, options)


def main(arguments: Sequence[str]) -> int:
    """Record and say where."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="aion-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        rate = runner.run(_recorded(Path(folder), options))
    for graph in options.out.glob("*.svg"):
        graph.write_text(without_this_machine(graph.read_text()))
    graphs = ", ".join(sorted(path.name for path in options.out.glob("*.svg")))
    print(f"{rate:,.0f} tasks/s while looked at; in {options.out}: {graphs}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
