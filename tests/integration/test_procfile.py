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

from actors.cli import fleet

pytestmark = pytest.mark.alone

DRAINS = "trap 'echo drained > {mark}; exit 0' TERM; echo $$ > {pid}; while :; do sleep 0.05; done"
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


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 15 s"
        time.sleep(0.02)


def alive(text: str) -> bool:
    """Whether the process whose pid `text` begins with still runs. One whose parent was killed may stay a zombie."""
    pid = int(text.split()[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


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
    wrong = f"until [ -s {pid} ]; do sleep 0.01; done; exit 2"
    with running(tmp_path, wrong=wrong, steady=f"echo $$ > {pid}; exec sleep 60") as (process, _):
        assert process.wait(15) == 2
    assert not alive(pid.read_text())


def test_a_process_that_drained_is_left_alone(tmp_path: Path) -> None:
    with running(tmp_path, drained="exit 0", steady="exec sleep 60") as (process, out):
        until(lambda: "drained has drained" in out.read_text())
        time.sleep(0.3)
        assert process.poll() is None
    assert process.returncode == 143


def test_a_signal_in_the_first_moments_ends_those_that_have_started_and_those_that_will(tmp_path: Path) -> None:
    """Some have said their pid by then, others have not, and others are not there yet."""
    pids = tmp_path / "pids"
    pids.mkdir()
    commands = {f"p{n}": f"echo $$ > {pids}/{n}; exec sleep 60" for n in range(12)}
    with running(tmp_path, **commands) as (process, _):
        until(lambda: any(pids.iterdir()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 143
    assert not [path for path in pids.iterdir() if path.read_text() and alive(path.read_text())]


@contextmanager
def fleet_of(folder: Path, command: str) -> Iterator[fleet.Fleet]:
    """What `aionctl up` holds, with one actor."""
    (folder / "actor.sh").write_text(command + "\n")
    (folder / "Procfile").write_text(f"actor: sh {folder}/actor.sh\n")
    with fleet.running(folder / "Procfile", os.environ, folder / "log") as held:
        yield held


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["died", "hangs"])
def test_actors_whose_runner_is_no_use_are_drained_and_not_started_again(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "STOP_TIMEOUT_S", 0.5)
    pid, mark = tmp_path / "pid", tmp_path / "mark"
    with fleet_of(tmp_path, DRAINS.format(pid=pid, mark=mark)) as held:
        until(lambda: pid.exists() and pid.read_text())
        held._process.send_signal(number)
        if number == signal.SIGKILL:
            held._process.wait(5)
    assert mark.read_text() == "drained\n"
    assert not alive(pid.read_text())
    until(lambda: not fleet._groups_of(held._process.pid))


def test_an_actor_that_does_not_drain_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "DRAIN_TIMEOUT_S", 0.5)
    pid = tmp_path / "pid"
    with fleet_of(tmp_path, f"trap '' TERM; echo $$ > {pid}; exec sleep 60") as held:
        until(lambda: pid.exists() and pid.read_text())
        held._process.kill()
    until(lambda: not alive(pid.read_text()))
