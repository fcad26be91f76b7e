"""Actors as child processes, each in its own process group, its output in a file."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ACTORS = ("edge", "router", "wasm", "sweeper", "kafka", "ledger")
RUN = (sys.executable, "-m", "actors", "run")
STOP_S = 10.0
SERVING_S = 20.0
STARTED = b'"actor_started"'


def wrong_clock(ahead_s: float) -> dict[str, str]:
    """The environment of a process whose own clock is wrong by so much."""
    return {"PYTHONPATH": str(Path(__file__).parent / "skew"), "CLOCK_AHEAD_S": str(ahead_s)}


@dataclass
class Actors:
    """Starts, kills and ends actors; every process it started is its own to end.

    A name is an actor's, or an actor's with a replica: `edge`, `edge.2`. `own` are the settings of one name.
    """

    environment: Mapping[str, str]
    folder: Path
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    killed: list[int] = field(default_factory=list)

    def log(self, name: str) -> Path:
        """Where the newest process of one actor writes."""
        return self.folder / f"{name}.{self.starts.get(name, 0)}.log"

    def start(self, name: str) -> None:
        """Start one actor; each start begins a log of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.starts[name] = self.starts.get(name, 0) + 1
        with self.log(name).open("xb") as log:
            self.running[name] = subprocess.Popen(
                [*RUN, name.partition(".")[0]],
                env={**os.environ, **self.environment, **self.own.get(name, {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def serving(self, name: str) -> None:
        """Return once the newest process of `name` says that it has started; fails when it ends or takes too long."""
        deadline = time.monotonic() + SERVING_S
        while not self.serves(name):
            assert name not in self.dead(), f"{name} ended at its start: {self.tail(name)}"
            assert time.monotonic() < deadline, f"{name} does not serve after {SERVING_S} s: {self.tail(name)}"
            await asyncio.sleep(0.02)

    def serves(self, name: str) -> bool:
        """Whether the newest process of `name` has said that it has started."""
        return STARTED in self.log(name).read_bytes()

    def kill(self, name: str) -> None:
        """SIGKILL the actor itself, not its children, and reap it. Fails when it was not running."""
        process = self.running.pop(name)
        assert process.poll() is None, f"{name} ended by itself with status {process.returncode}: {self.tail(name)}"
        process.kill()
        process.wait(timeout=STOP_S)
        self.killed.append(process.pid)

    def orphans(self) -> list[str]:
        """What still runs of the groups of killed actors: children must notice that their parent is gone."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _parent, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) in self.killed and state not in "ZX":
                    found.append(stat.parent.name)
        return found

    def dead(self) -> list[str]:
        """The actors that ended without being asked to."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    def stop(self) -> None:
        """End all of them: SIGTERM, a grace for the drain, then SIGKILL for each group that is left."""
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_S
        for process in self.running.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=STOP_S)
        self.running.clear()

    def tail(self, name: str, lines: int = 12) -> str:
        """The end of one actor's log."""
        try:
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def tails(self) -> str:
        """The ends of all logs, for a failure message."""
        return "\n".join(f"--- {name}\n{self.tail(name)}" for name in self.starts)
