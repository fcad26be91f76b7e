"""`make simulate`: play many seeds, on every core; fail when one is not valid or a fault never happened."""

import argparse
import multiprocessing
import sys
import time

from simulation.many import Tally, play_all

SHOWN = 3


def main() -> int:
    """The command. 0 when every seed was valid and every fault happened."""
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    asked = parser.parse_args()
    began = said = time.monotonic()
    tally = Tally()
    for result in play_all(asked.start, asked.seeds, asked.jobs):
        tally.add(result)
        if result.verdict.outcome == "invalid" and len(tally.failed) <= SHOWN:
            print(f"\nmake simulate START={result.seed} SEEDS=1\n{result.verdict.report(1)}", flush=True)
        if time.monotonic() - said > 5:
            said = time.monotonic()
            rate = tally.seeds / (said - began)
            print(f"{tally.seeds}/{asked.seeds} seeds, {rate:.0f}/s, {len(tally.failed)} failed", flush=True)
    return _conclude(tally, asked.seeds, time.monotonic() - began)


def _conclude(tally: Tally, wanted: int, took_s: float) -> int:
    for name, count in sorted(tally.figures.items()):
        print(f"{count:>10}  {name}")
    print(f"{tally.seeds} seeds in {took_s:.1f} s, {tally.figures['tasks']} tasks, {len(tally.failed)} seeds failed")
    for seed, verdict in tally.failed[SHOWN:]:
        print(f"make simulate START={seed} SEEDS=1  # {dict(verdict.rules)}")
    if tally.missing and wanted > 1:
        print(f"never happened: {', '.join(tally.missing)}")
        return 1
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
