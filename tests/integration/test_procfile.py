"""The runner of the Procfile, with processes that die in all ways."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

DIES_ONCE = "if [ -e {mark} ]; then echo second-life; exec sleep 60; else touch {mark}; kill -9 $$; fi"


@contextmanager
def running(folder: Path, **commands: str) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """The runner over a Procfile of these commands, and its output."""
    for name, command in commands.items():
        (folder / f"{name}.sh").write_text(command + "\n")
    procfile = folder / "Procfile"
    procfile.write_text("".join(f"{name}: sh {folder}/{name}.sh\n" for name in commands))
    out = folder / "out"
    with out.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "actors.cli.procfile", str(procfile)], stdout=file)
    try:
        yield process, out
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 15 s"
        time.sleep(0.02)


def alive(text: str) -> bool:
    """Whether the process whose pid `text` begins with still runs."""
    try:
        os.kill(int(text.split()[0]), 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_is_killed_starts_again_and_the_others_go_on(tmp_path: Path) -> None:
    pid = tmp_path / "steady.pid"
    dies = DIES_ONCE.format(mark=tmp_path / "died")
    with running(tmp_path, dies=dies, steady=f"echo $$ > {pid}; exec sleep 60") as (process, out):
        until(lambda: "second-life" in out.read_text())
        assert "dies was killed by SIGKILL; started again in 0.5 s" in out.read_text()
        assert process.poll() is None
        assert alive(pid.read_text())
    assert process.returncode == 143
    assert not alive(pid.read_text())


def test_a_misconfigured_process_ends_all_with_its_code(tmp_path: Path) -> None:
    pid = tmp_path / "steady.pid"
    with running(tmp_path, wrong="exit 2", steady=f"echo $$ > {pid}; exec sleep 60") as (process, _):
        assert process.wait(15) == 2
    assert not alive(pid.read_text())


def test_a_process_that_drained_is_left_alone(tmp_path: Path) -> None:
    with running(tmp_path, drained="exit 0", steady="exec sleep 60") as (process, out):
        until(lambda: "drained has drained" in out.read_text())
        time.sleep(0.3)
        assert process.poll() is None
    assert process.returncode == 143
