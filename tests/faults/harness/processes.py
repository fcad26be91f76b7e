"""Signals to processes of this machine, and the proof that they worked (proc(5))."""

import os
import signal
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

GONE_S = 10.0


def family(pid: int) -> list[int]:
    """`pid` and all that descends from it: a server's workers may have sessions of their own."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = stat.read_text().rpartition(")")[2].split()[1]
            children[int(parent)].append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children[one]
    return found


def state(pid: int) -> str:
    """One letter: R, S, D, T (stopped) or Z; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def pause(pids: list[int]) -> bool:
    """SIGSTOP; whether /proc then says of the first that it is stopped."""
    _tell(pids, signal.SIGSTOP)
    deadline = time.monotonic() + 0.5
    while state(pids[0]) not in "T" and time.monotonic() < deadline:
        time.sleep(0.002)
    return state(pids[0]) == "T"


def resume(pids: list[int]) -> None:
    """SIGCONT, in the opposite order."""
    _tell(pids[::-1], signal.SIGCONT)


def kill(pids: list[int]) -> None:
    """SIGKILL to all of them."""
    _tell(pids, signal.SIGKILL)


def reap(pid: int) -> int:
    """The exit status of a child of ours as `subprocess` tells it: negative for a signal."""
    deadline = time.monotonic() + GONE_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    raise AssertionError(f"process {pid} survives: {Path(f'/proc/{pid}/status').read_text()}")


def wait_gone(pids: list[int]) -> None:
    """Returns once none of them runs; fails after `GONE_S`."""
    deadline = time.monotonic() + GONE_S
    while left := [pid for pid in pids if state(pid) not in ("", "Z", "X")]:
        assert time.monotonic() < deadline, f"{left} survive SIGKILL"
        time.sleep(0.01)


def _tell(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
