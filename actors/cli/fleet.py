"""Every actor of the Procfile as processes of their own, with one log file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from actors.cli.door import Door
from actors.cli.output import talk
from schemas.errors import AionError, DeadlineExceeded, Unavailable

STOP_TIMEOUT_S = 40.0
DRAIN_TIMEOUT_S = 25.0
"""For actors whose runner has not ended them: an actor's grace of 20 s, and some seconds to close."""
_POLL_S = 0.05
_TAIL_LINES = 20


@contextmanager
def running(procfile: Path, environ: Mapping[str, str], log: Path) -> Iterator["Fleet"]:
    """Start them; leaving drains them and waits until none is left."""
    scripts = str(Path(sys.executable).parent)
    ours = {**environ, "PATH": f"{scripts}{os.pathsep}{environ.get('PATH', os.defpath)}"}
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "actors.cli.procfile", str(procfile)],
            env=ours,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # a Ctrl-C of the terminal reaches us alone, and we drain them once
        )
    fleet = Fleet(process, log)
    try:
        yield fleet
    finally:
        fleet.stop()


class Fleet:
    """The running actors."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raise `Unavailable` with the end of the log when one of them has ended, which ends all."""
        code = self._process.poll()
        if code is not None:
            raise Unavailable(f"the actors have ended with {code}; the last lines of {self._log}:\n{self.tail()}")

    def wait_ready(self, door: Door, timeout_s: float) -> None:
        """Return once the edge says it is ready. Raises `DeadlineExceeded` with what it says instead."""
        deadline, said = time.monotonic() + timeout_s, "no answer"
        while time.monotonic() < deadline:
            self.check()
            try:
                door.call("GET", "/readyz", timeout_s=2.0)
                return
            except (AionError, TimeoutError, HTTPException) as error:
                said = str(error)
            time.sleep(_POLL_S)
        raise DeadlineExceeded(f"{door.url}/readyz was not 200 within {timeout_s:g} s: {said}\n{self.tail()}")

    def wait(self, seconds: float) -> None:
        """Let time pass, at most until they end."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def stop(self) -> None:
        """Drain and wait; what does not end in time is killed, and so is what outlived its runner."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                talk(f"the actors did not end within {STOP_TIMEOUT_S:g} s: see {self._log}")
        _end_rest(self._process.pid)
        self._process.kill()
        self._process.wait()

    def tail(self) -> str:
        """The last lines of the log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


def _end_rest(runner: int) -> None:
    """Drain the actors that are left, then kill them, and first of all those that would start them again."""
    told: set[int] = set()
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while (actors := _groups_of(runner) - {runner}) and time.monotonic() < deadline:
        for group in actors - told:
            _signal(group, signal.SIGTERM)
        told |= actors
        time.sleep(_POLL_S)
    for group in sorted(_groups_of(runner), key=lambda group: group != runner):
        _signal(group, signal.SIGKILL)


def _groups_of(runner: int) -> set[int]:
    """The runner's process group while anybody is in it, and those of actors, whose parents are in it.

    From proc(5); elsewhere than on Linux there are none.
    """
    found: dict[int, tuple[int, int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent, group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if state != "Z":
                found[int(stat.parent.name)] = int(parent), int(group)
    members = {pid for pid, (_, group) in found.items() if group == runner}
    return {group for parent, group in found.values() if group == runner or parent in members}


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
