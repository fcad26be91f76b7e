"""What processes hold, as proc(5) tells it."""

import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CHILDREN = ", children"
"""After a process's name: the sum over all that descends from it."""


@dataclass(frozen=True, slots=True)
class Held:
    """By one process, or by several together.

    `rss_mib` leaves out shared memory: it is of a fixed size, and each session of PostgreSQL would count all of it.
    """

    rss_mib: float
    fds: int
    threads: int


def held(pids: Mapping[str, int]) -> dict[str, Held]:
    """By each process, and by the descendants of each that has any. Raises `OSError` when one of `pids` is gone."""
    children = _children()
    found: dict[str, Held] = {}
    for name, pid in pids.items():
        found[name] = of(pid)
        below = []
        for one in _descendants(pid, children):
            with suppress(OSError):  # it ended meanwhile
                below.append(of(one))
        if below:
            found[name + CHILDREN] = Held(
                sum(one.rss_mib for one in below), sum(one.fds for one in below), sum(one.threads for one in below)
            )
    return found


def of(pid: int) -> Held:
    """By one process. Raises `OSError` when it is gone."""
    folder = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    resident_kib = _kib(status, "VmRSS") - _kib(status, "RssShmem")
    return Held(resident_kib / 1024, len(os.listdir(folder / "fd")), int(status["Threads"]))


def _kib(status: Mapping[str, str], field: str) -> int:
    return int(status.get(field, "0").split()[0])  # a process that is ending has none


def _children() -> Mapping[int, list[int]]:
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = stat.read_text().rpartition(")")[2].split()[1]
            children[int(parent)].append(int(stat.parent.name))
    return children


def _descendants(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    found = list(children.get(pid, ()))
    for one in found:
        found += children.get(one, ())
    return found
