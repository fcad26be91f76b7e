"""The processes of a Procfile, run by honcho: `python -m actors.cli.procfile [Procfile]`.

One that dies is started again and the others go on; one that is misconfigured ends them all. SIGTERM and SIGINT are
passed on, and nothing is killed before its drain could be over.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from functools import partial
from pathlib import Path

from honcho import manager
from honcho.environ import parse_procfile
from honcho.printer import Printer

from actors.cli.lasting import LastingProcess

KILL_AFTER_S = 30
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run until one is misconfigured or a signal comes; gives the exit code of the first that ended for good."""
    _end_with_parent()
    procfile = parse_procfile(Path(arguments[0] if arguments else "Procfile").read_text(encoding="utf-8"))
    manager.KILL_WAIT = KILL_AFTER_S
    processes = LastingManager(Printer(sys.stdout, prefix=True))
    for name, command in procfile.processes.items():
        processes.add_process(name, f"exec {command}", env=dict(os.environ))
    processes.loop()
    return int(processes.returncode or 0)


class LastingManager(manager.Manager):  # type: ignore[misc]  # honcho has no types
    """Starts its processes again until it is told to end."""

    def __init__(self, printer: Printer) -> None:
        super().__init__(printer)
        self._ending = multiprocessing.Event()
        self._process_ctor = partial(LastingProcess, ending=self._ending)
        self._told: set[int] = set()

    def terminate(self) -> None:
        """End all of them."""
        self._ending.set()
        super().terminate()

    def _killall(self, force: bool = False) -> None:
        """SIGTERM once, or SIGKILL, to each that has said its pid; honcho takes for granted that all have."""
        for name, known in self._processes.items():
            pid = known.get("pid")
            if pid is None or "returncode" in known or (pid in self._told and not force):
                continue
            self._told.add(pid)
            self._system_print(f"sending {'SIGKILL' if force else 'SIGTERM'} to {name} (pid {pid})\n")
            end = self._procmgr.kill if force else self._procmgr.terminate
            end(pid)

    def _all_started(self) -> bool:
        """Asked by honcho after each message, which may be of a start behind the end: that one is ended as well."""
        if self._terminating:
            self._killall()
        return bool(super()._all_started())


def _end_with_parent() -> None:
    """Drain when whoever started this was killed (prctl(2), Linux); elsewhere its absence is harmless."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
