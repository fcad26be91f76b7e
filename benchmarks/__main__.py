"""`python -m benchmarks [--quick] [--json] [--floor-only] [--mode MODE]`: two floors and the system side by side."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks import floor, report, system
from benchmarks.figures import Rounds
from benchmarks.floor.measure import measure as measure_floor
from benchmarks.floor.measure import measure_hops
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


async def one_mode(plan: Plan, mode: Sync, *, floor_only: bool) -> Rounds:
    """Rounds of both floors and of the system, taken in turns, each on fresh servers."""
    found = Rounds([], [], [])
    subjects = [(found.floor, measure_floor), (found.hops, measure_hops)]
    subjects += [] if floor_only else [(found.system, measure_system)]
    for _ in range(plan.rounds):
        for rounds, measure in subjects:
            with tempfile.TemporaryDirectory(prefix="aion-bench-") as folder:
                rounds.append(await measure(Path(folder) / "run", plan, mode))
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    options = parse(arguments)
    plan = QUICK if options.quick else Plan()
    found: dict[Sync, Rounds] = {}
    if not options.json:
        print("\n".join(f"{name}: {value}" for name, value in report.machine().items()))
    for mode in (options.mode,) if options.mode else MODES:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found[mode] = runner.run(one_mode(plan, mode, floor_only=options.floor_only))
        if not options.json:
            print("\n" + report.text(mode, plan, found[mode]), flush=True)
    if options.json:
        print(report.as_json(plan, found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
