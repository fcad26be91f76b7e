"""`python -m benchmarks [--quick] [--json] [--floor-only] [--mode MODE]`: floor and system side by side."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks import floor, report, system
from benchmarks.figures import Round
from benchmarks.floor.measure import measure as measure_floor
from benchmarks.system.measure import measure as measure_system
from benchmarks.workload import MODES, QUICK, Plan, Sync


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=f"{floor.__doc__}\n{system.__doc__}")
    parser.add_argument("--quick", action="store_true", help="one short round of each")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--floor-only", action="store_true", help="leave the system out")
    parser.add_argument("--mode", choices=MODES, help="one durability mode instead of both")
    return parser.parse_args(arguments)


async def one_mode(plan: Plan, mode: Sync, *, floor_only: bool) -> tuple[list[Round], list[Round]]:
    """Rounds of the floor and of the system, taken in turns, each on fresh servers."""
    floors: list[Round] = []
    systems: list[Round] = []
    for _ in range(plan.rounds):
        with tempfile.TemporaryDirectory(prefix="aion-bench-") as folder:
            floors.append(await measure_floor(Path(folder) / "floor", plan, mode))
        if not floor_only:
            with tempfile.TemporaryDirectory(prefix="aion-bench-") as folder:
                systems.append(await measure_system(Path(folder) / "system", plan, mode))
    return floors, systems


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    options = parse(arguments)
    plan = QUICK if options.quick else Plan()
    found: dict[Sync, tuple[list[Round], list[Round]]] = {}
    if not options.json:
        print("\n".join(f"{name}: {value}" for name, value in report.machine().items()))
    for mode in (options.mode,) if options.mode else MODES:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found[mode] = runner.run(one_mode(plan, mode, floor_only=options.floor_only))
        if not options.json:
            print("\n" + report.text(mode, plan, *found[mode]), flush=True)
    if options.json:
        print(report.as_json(plan, found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
