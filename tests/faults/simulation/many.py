"""Many seeds, over several processes, and what they amount to."""

import gc
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from checker.verdict import Verdict
from simulation.world import Result, play

CHUNK = 20
CHUNKS_PER_PROCESS = 10

MUST_HAPPEN = (
    "kill",
    "killed by its task",
    "task given up",
    "pause",
    "callbacks of a resumed process",
    "cut",
    "call while the link was away",
    "message lost with its link",
    "server away",
    "exit 0",
    "exit 1",
    "exit 75",
    "slow message",
    "drain",
    "drain by signal",
    "lost acknowledgement",
    "append repeated after an unknown outcome",
    "redelivery",
    "refused compare-and-set",
    "refused append of a resumed process",
    "refused by a full log",
    "fenced writer",
    "ledger conflict",
    *(f"sink crash at {step}" for step in ("open", "position", "begin", "commit", "committed")),
    "cancelled by a client",
    "resubmission under a key",
    "key reused for another task",
    "client hung up",
    "event ended.timeout",
)
"""Faults by the names of their figures. A run in which one of them never had an effect has not shown what it should."""


class Outcome(NamedTuple):
    """What is kept of a seed."""

    seed: int
    verdict: Verdict
    figures: Counter[str]


@dataclass
class Tally:
    """What many seeds gave."""

    seeds: int = 0
    figures: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, Verdict]] = field(default_factory=list)

    def add(self, result: Outcome) -> None:
        """Count one more."""
        self.seeds += 1
        self.figures += result.figures
        if result.verdict.outcome == "invalid":
            self.failed.append((result.seed, result.verdict))

    @property
    def missing(self) -> list[str]:
        """The faults that never happened."""
        return [name for name in MUST_HAPPEN if not self.figures[name]]


def play_some(seeds: Iterable[int]) -> list[Outcome]:
    """Play them one after another; what they leave behind goes with the process."""
    gc.disable()
    return [_in_short(play(seed)) for seed in seeds]


def _in_short(result: Result) -> Outcome:
    return Outcome(result.seed, result.verdict, result.figures)


def play_all(start: int, seeds: int, jobs: int) -> Iterator[Outcome]:
    """The results of `seeds` seeds from `start` on, in any order, over `jobs` processes at a time."""
    chunks = [range(first, min(first + CHUNK, start + seeds)) for first in range(start, start + seeds, CHUNK)]
    if jobs == 1 or len(chunks) == 1:
        yield from (_in_short(play(seed)) for chunk in chunks for seed in chunk)
        return
    workers = multiprocessing.get_context("forkserver")
    workers.set_forkserver_preload(["simulation.world"])
    with workers.Pool(jobs, maxtasksperchild=CHUNKS_PER_PROCESS) as pool:
        for results in pool.imap_unordered(play_some, chunks):
            yield from results
