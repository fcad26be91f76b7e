"""The command line of the soak."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks import report as machine
from benchmarks import soak as room
from benchmarks.soak import report
from benchmarks.soak.run import Order, soak
from benchmarks.workload import MODES


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=room.__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of the load (30), at least 2")
    parser.add_argument("--rate", type=float, help="tasks a second instead of half of saturation")
    parser.add_argument("--mode", choices=MODES, default="always", help="of durability (always)")
    parser.add_argument("--json", action="store_true", help="print JSON alone, every point included")
    options = parser.parse_args(arguments)
    if options.minutes < 2:
        parser.error("--minutes must be at least 2: nothing can be judged in less")
    return options


def main(arguments: Sequence[str]) -> int:
    """Run and print; 1 when a bound is broken."""
    options = parse(arguments)
    order = Order(options.minutes, options.rate, options.mode)
    if not options.json:
        print("\n".join(f"{name}: {value}" for name, value in machine.machine().items()), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="aion-soak-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(soak(order, Path(folder) / "soak"))
    print(report.as_json(found) if options.json else report.text(found))
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
