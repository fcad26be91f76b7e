"""What watching a task looks like, with and without a terminal."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import pytest
from rich.console import Console

from actors.cli.progress import Lines, LiveLine, Screen, Seen, screen

ROUTED = {"event": "routed", "at_ms": 3_000, "engine": "wasm"}


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


@contextmanager
def watched(terminal: Terminal, *, as_json: bool = False) -> Iterator[Screen]:
    with redirect_stderr(terminal), screen("t-1", as_json=as_json) as shown:
        yield shown


def test_time_counts_from_acceptance_and_never_backwards() -> None:
    seen = Seen(since_ms=9_000).after("accepted", {"at_ms": 1_000}).after("routed", ROUTED)
    assert (seen.state, seen.where, seen.elapsed(3_500).strip()) == ("routed", " wasm", "2.5 s")
    assert seen.after("started", {"at_ms": 4_000}).where == " wasm"
    assert seen.elapsed(500).strip() == "0.0 s"


def test_on_a_terminal_events_stay_and_the_line_goes(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    with watched(terminal) as shown:
        assert isinstance(shown, LiveLine)
        shown.event("accepted", "4", {"at_ms": 1_000})
        shown.event("routed", "5", ROUTED)
        shown.done({"status": "OK"})
    said = terminal.getvalue()
    assert "accepted" in said
    assert "2.0 s" in said
    assert "\x1b[34mrouted\x1b[0m wasm" in said
    assert said.endswith("\x1b[?25h\r\x1b[1A\x1b[2K") or said.rstrip().endswith("\x1b[2K")
    assert capsys.readouterr().out == ""


def test_the_live_line_tells_state_time_and_engine() -> None:
    line = LiveLine("t-1", Console(file=io.StringIO()), lambda: 4_200)
    line.event("accepted", "4", {"at_ms": 1_000})
    line.event("routed", "5", ROUTED)
    shown = Console(file=io.StringIO(), width=80)
    shown.print(line.render())
    assert isinstance(shown.file, io.StringIO)
    assert "3.2 s  routed wasm  t-1" in shown.file.getvalue()
    line.done({"status": "ERROR"})
    assert str(line.render()) == ""


@pytest.mark.parametrize("term", ["", "dumb"])
def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    with watched(terminal) as shown:
        shown.event("routed", "5", ROUTED)
    assert terminal.getvalue() == "       5  routed wasm\n"


def test_json_is_never_live(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    with watched(terminal, as_json=True) as shown:
        assert isinstance(shown, Lines)
        shown.event("routed", "5", ROUTED)
    assert json.loads(capsys.readouterr().out) == ROUTED
    assert terminal.getvalue() == ""


def test_no_color_is_obeyed(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with watched(terminal) as shown:
        shown.event("routed", "5", ROUTED)
    assert "\x1b[34m" not in terminal.getvalue()
