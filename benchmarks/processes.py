"""Child processes, and what /proc says they cost."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
STOP_GRACE_S = 15.0


class Children:
    """Started processes by name, with their output in files; leaving ends every one of them, by pid."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = {**os.environ, **environment}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Children":
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._running.values():
            child.send_signal(signal.SIGTERM)
        for child in self._running.values():
            try:
                child.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    @property
    def pids(self) -> dict[str, int]:
        """Name to pid."""
        return {name: child.pid for name, child in self._running.items()}

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one."""
        with (self._logs / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                list(command), env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def check(self) -> None:
        """Raise `RuntimeError` with the log's end when one has ended by itself."""
        for name, child in self._running.items():
            if child.poll() is not None:
                tail = (self._logs / f"{name}.log").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"{name} ended with status {child.returncode}:\n{tail}")


async def run_to_end(command: Sequence[str], environment: Mapping[str, str], timeout_s: float = 60.0) -> str:
    """Standard output of a command that must succeed."""
    child = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, errors = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        raise
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(out + errors).decode(errors='replace')[-1500:]}")
    return out.decode()


def cpu_us(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU time of each process and all its descendants since their start, microseconds (10 ms steps)."""
    parents, used = _table()
    return {name: _tree_us(pid, parents, used) for name, pid in pids.items()}


def _table() -> tuple[dict[int, list[int]], dict[int, float]]:
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError):
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry))
            used[int(entry)] = (int(fields[11]) + int(fields[12])) * _TICK_US  # utime and stime, proc(5)
    return children, used


def _tree_us(pid: int, children: Mapping[int, Sequence[int]], used: Mapping[int, float]) -> float:
    return used.get(pid, 0.0) + sum(_tree_us(child, children, used) for child in children.get(pid, ()))
