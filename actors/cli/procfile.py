"""The processes of a Procfile, run by honcho: `python -m actors.cli.procfile [Procfile]`.

One that ends takes the others with it. SIGTERM and SIGINT are passed on, and nothing is killed before its drain could
be over.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

from honcho import manager
from honcho.environ import parse_procfile
from honcho.printer import Printer

KILL_AFTER_S = 30
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run until the first process ends or a signal comes; gives that process's exit code."""
    _end_with_parent()
    procfile = parse_procfile(Path(arguments[0] if arguments else "Procfile").read_text(encoding="utf-8"))
    manager.KILL_WAIT = KILL_AFTER_S
    processes = manager.Manager(Printer(sys.stdout, prefix=True))
    for name, command in procfile.processes.items():
        processes.add_process(name, f"exec {command}", env=dict(os.environ))
    processes.loop()
    return int(processes.returncode or 0)


def _end_with_parent() -> None:
    """Drain when whoever started this was killed (prctl(2), Linux); elsewhere its absence is harmless."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
