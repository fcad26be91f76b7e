"""Seeded load, faults and judgement over real servers: `PYTHONPATH=tests/faults python -m prove --seed 7`."""

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import uvloop
from prove.report import Report
from prove.run import Order, prove
from prove.schedule import KINDS

CACHE = Path(__file__).parents[3] / "var" / "cache"


def main() -> int:
    """Run once and print the report; 0 when everything was as promised."""
    options = _options()
    kinds = tuple(options.kinds or KINDS)
    timing = (options.seconds, options.every, options.longest)
    order = Order(options.seed, options.tasks, *timing, kinds, keep=options.keep)
    folder = Path(tempfile.mkdtemp(prefix="aion-prove-"))
    folder.chmod(0o755)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(_run(order, folder))
        sys.stdout.write((report.json() if options.json else report.text()) + "\n")
        return 1 if report.failures else 0
    finally:
        if options.keep:
            sys.stderr.write(f"kept {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def _run(order: Order, folder: Path) -> Report:
    """SIGTERM ends the run like Ctrl-C: everything that was started is stopped."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await prove(order, folder, CACHE)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prove", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="decides load and faults")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=180.0, help="how long load and faults last")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two faults")
    parser.add_argument("--longest", type=float, default=20.0, help="the longest pause, seconds")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, help="only these faults; a run of all demands each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the servers' data and the actors' logs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
