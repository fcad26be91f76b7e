"""The command line: what it costs, what it says, and how it exits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actors.cli import main
from actors.cli.commands import COMMANDS
from actors.cli.exits import Exit, of_error
from schemas import errors

HEAVY = ("nats", "aiohttp", "aiokafka", "asyncpg", "wasmtime", "rich", "redis", "pydantic", "cyclopts")

PROBE = f"""
import sys, time
from actors.cli import main
code = main(["--help"])
cpu = time.process_time()
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.stderr.write(f"{{code}} {{cpu}} {{loaded}}")
"""


def test_the_overview_names_every_command_and_loads_no_library() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
    code, cpu_s, loaded = done.stderr.split(" ", 2)
    assert (code, loaded) == ("0", "[]")
    assert float(cpu_s) < 0.2
    assert all(command.words in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_every_command_has_its_own_help(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    words = str(getattr(command, "words", "")).split()
    assert main([*words, "--help"]) == Exit.OK
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["get"], ["submit", "x", "--priority", "urgent"], ["key", "create"]]
)
def test_a_wrong_command_line_exits_2_and_says_so_on_stderr(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == Exit.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err


def test_an_unknown_actor_is_a_usage_error_that_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "edgy"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "did you mean edge?" in said
    assert "sweeper" in said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequest("x"), Exit.USAGE),
        (errors.Misconfigured("x"), Exit.USAGE),
        (errors.UnknownIntent("x"), Exit.NOT_FOUND),
        (errors.NotFound("x"), Exit.NOT_FOUND),
        (errors.Unauthenticated("x"), Exit.DENIED),
        (errors.Forbidden("x"), Exit.DENIED),
        (errors.AlreadyEnded("x"), Exit.CONFLICT),
        (errors.KeyReused("x"), Exit.CONFLICT),
        (errors.TooManyRequests("x"), Exit.UNAVAILABLE),
        (errors.BusDisconnected("x"), Exit.UNAVAILABLE),
        (errors.DeadlineExceeded("x"), Exit.TIMEOUT),
        (errors.ModuleTrap("x"), Exit.FAILURE),
    ],
)
def test_each_error_has_its_exit_code(error: errors.AionError, code: Exit) -> None:
    assert of_error(error) is code


def test_a_misspelt_setting_stops_a_process_before_it_opens_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AION_NATS__ULR", "nats://127.0.0.1:1")
    assert main(["run", "sweeper", "--json"]) == Exit.USAGE
    assert json.loads(capsys.readouterr().err)["code"] == "misconfigured"


def test_no_servers_here_is_data_and_exit_6(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["servers", "status", "--json"]) == Exit.UNAVAILABLE
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == Exit.OK
    assert "servers" in capsys.readouterr().out
