"""Starting, recognising and ending a daemon by its pid, in Linux terms (/proc)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, Signals

from schemas.errors import LocalServerError

LOG_LIMIT_BYTES = 8 * 1024 * 1024


def spawn(command: Sequence[str], log: Path, variables: Mapping[str, str]) -> int:
    """Start a daemon in its own session, both outputs appended to `log`; give its pid.

    `variables` are defaults: what the environment sets already stays.

    It outlives us on purpose: nothing holds a handle, so its owner is whoever reads the state file.
    """
    _rotate(log)
    mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), mode, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        return os.posix_spawn(command[0], list(command), {**variables, **os.environ}, file_actions=actions, setsid=True)
    except OSError as error:
        raise LocalServerError(f"cannot start {command[0]}: {error.strerror}") from error


def birth(pid: int) -> str | None:
    """Give what tells this process from a later one with the same pid (boot and start tick), None when it is gone."""
    _reap(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, start_tick = fields[0], fields[19]  # proc(5): fields 3 and 22 of the line
    return None if state in "ZX" else f"{boot}:{start_tick}"


def is_alive(pid: int, born: str) -> bool:
    """Tell whether the process that we started still runs, and not a stranger with its pid."""
    return birth(pid) == born


def end(pid: int, born: str, stop_signal: Signals, grace_s: float) -> bool:
    """Stop a daemon that `spawn` started; kill it and what is left of its session after the grace.

    Gives False when it did not run any more. Raises LocalServerError when even SIGKILL does not end it.
    """
    if not is_alive(pid, born):
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, stop_signal)
    if not _gone(pid, born, grace_s):
        with suppress(ProcessLookupError):
            os.killpg(pid, SIGKILL)
        if not _gone(pid, born, 5.0):
            raise LocalServerError(f"process {pid} survives SIGKILL; look at /proc/{pid}/status")
    return True


def last_lines(log: Path, count: int = 15) -> str:
    """Give the end of a log for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(lines[-count:]) or "(the log is empty)"


def run(command: Sequence[str], *, what: str, timeout_s: float, stdin: str = "") -> str:
    """Run a tool to its end and give its standard output; raises LocalServerError with its last words."""
    try:
        done = subprocess.run(  # noqa: S603 - a command line that we composed
            command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError as error:
        raise LocalServerError(f"{what}: {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LocalServerError(f"{what}: {command[0]} took longer than {timeout_s:g} s") from error
    if done.returncode != 0:
        words = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise LocalServerError(f"{what}: {command[0]} failed with status {done.returncode}\n{words}")
    return done.stdout


def _gone(pid: int, born: str, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while is_alive(pid, born):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _reap(pid: int) -> None:
    """Collect a child of ours that ended; a daemon of an earlier `up` is init's child, not ours."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _rotate(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
