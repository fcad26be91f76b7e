"""A process that is started again when it dies: what honcho runs in place of its own."""

import os
import signal
import time
from multiprocessing.synchronize import Event
from typing import Any

from honcho.process import Popen, Process

AGAIN_FIRST_S = 0.5
AGAIN_LAST_S = 10.0
STEADY_S = 30.0
"""Who lived this long before it died begins with the shortest pause again."""
EXIT_MISCONFIGURED = 2


def again_in_s(deaths_in_a_row: int) -> float:
    """The pause before the next start: doubling from 0.5 s to 10 s."""
    return min(AGAIN_LAST_S, AGAIN_FIRST_S * 2.0 ** min(deaths_in_a_row - 1, 10))


def cause(status: int) -> str:
    """How a process ended, from `Popen.returncode`."""
    if status >= 0:
        return f"ended with {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _unmoved(_number: int, _frame: object) -> None:
    """The child decides when it ends. A handler, because a child would inherit SIG_IGN and never drain."""


class LastingProcess(Process):  # type: ignore[misc]  # honcho has no types
    """Lives until `ending` is set. Only a misconfigured one ends for good, because another start cannot help it."""

    def __init__(self, *arguments: Any, ending: Event, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ending = ending

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        """See `honcho.process.Process.run`; the end is told once, after the last start."""
        self._events = events
        if ignore_signals:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, _unmoved)
        deaths_in_a_row = 0
        while True:
            began = time.monotonic()
            status = self._live()
            if self._ending.is_set() or status == EXIT_MISCONFIGURED:
                break
            if status == 0:
                self._say("has drained, and is left alone until all stop")
                self._ending.wait()
                break
            deaths_in_a_row = 1 if time.monotonic() - began > STEADY_S else deaths_in_a_row + 1
            pause_s = again_in_s(deaths_in_a_row)
            self._say(f"{cause(status)}; started again in {pause_s:g} s")
            if self._ending.wait(pause_s):
                break
        self._send_message({"returncode": status}, type="stop")

    def _live(self) -> int:
        """One life: its output line by line, then its exit status."""
        child = Popen(self.cmd, env=self.env, cwd=self.cwd)
        self._send_message({"pid": child.pid}, type="start")
        if self._ending.is_set():
            os.killpg(child.pid, signal.SIGTERM)  # whoever ended all knew only the life before
        for line in iter(child.stdout.readline, b""):
            self._send_message(line)
        child.stdout.close()
        return int(child.wait())

    def _say(self, text: str) -> None:
        self._send_message(f"{self.name} {text}\n".encode())
