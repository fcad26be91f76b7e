"""What watching a task looks like: a live line on a terminal; plain lines, or JSON, everywhere else."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from actors.cli.output import emit, talk

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

STYLES: Final = {"accepted": "cyan", "routed": "blue", "started": "blue", "attempt_failed": "yellow", "OK": "green"}
_OTHER: Final = "red"


class Screen(Protocol):
    """Where a watched task is shown."""

    def event(self, name: str, sequence: str | None, body: Any) -> None:
        """One event of the stream."""
        ...

    def text(self, text: str, *, fresh: bool) -> None:
        """Text that the engine says; with `fresh` in place of what it said before."""
        ...

    def note(self, text: str) -> None:
        """Something about the watching itself."""
        ...

    def done(self, result: Any) -> None:
        """How the task ended; the command prints the result itself once the screen is left."""
        ...


@contextmanager
def screen(task_id: str, *, as_json: bool) -> Iterator[Screen]:
    """The screen that fits: live only when stderr is a terminal that can move its cursor. Leaving cleans the line."""
    if as_json or not sys.stderr.isatty() or os.environ.get("TERM") in (None, "", "dumb"):
        yield Lines(as_json)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    shown = LiveLine(task_id, console, lambda: time.time_ns() // 1_000_000)
    with Live(
        get_renderable=shown.render,
        console=console,
        transient=True,
        refresh_per_second=10,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield shown


class Lines:
    """Events as they come: JSON on stdout, or a line each on stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def event(self, name: str, sequence: str | None, body: Any) -> None:
        """See `Screen.event`."""
        if self._as_json:
            emit(body, as_json=True)
        else:
            talk(f"{sequence or '-':>8}  {name}{_where(body)}")

    def text(self, text: str, *, fresh: bool) -> None:
        """See `Screen.text`."""
        if self._as_json:
            emit({"event": "partial" if fresh else "token", "text": text}, as_json=True)
        else:
            talk(f"{'':>8}  {'' if fresh else '+ '}{text.rstrip()}")

    def note(self, text: str) -> None:
        """See `Screen.note`."""
        talk(text)

    def done(self, result: Any) -> None:
        """Nothing: the result says it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How far the task is. Before its first event, time counts from when the watching began."""

    since_ms: int
    state: str = "waiting"
    where: str = ""

    def after(self, name: str, body: Mapping[str, Any]) -> "Seen":
        """What is known once this event was seen."""
        since_ms = body["at_ms"] if name == "accepted" and isinstance(body.get("at_ms"), int) else self.since_ms
        return replace(self, since_ms=since_ms, state=name, where=_where(body) or self.where)

    def elapsed(self, now_ms: int) -> str:
        """Seconds of the task's life; never negative, whatever the two clocks say."""
        return f"{max(0, now_ms - self.since_ms) / 1000:6.1f} s"


class LiveLine:
    """A line that spins below the events."""

    def __init__(self, task_id: str, console: "Console", now_ms: Callable[[], int]) -> None:
        from rich.spinner import Spinner

        self._task_id = task_id
        self._console = console
        self._now_ms = now_ms
        self._seen = Seen(now_ms())
        self._spinner = Spinner("dots")
        self._ended = False

    def render(self) -> "RenderableType":
        """The line as it is now; nothing once the task has ended."""
        from rich.text import Text

        if self._ended:
            return Text()
        style = STYLES.get(self._seen.state, "dim")
        now = Text.assemble(f"{self._seen.elapsed(self._now_ms())}  ", (self._seen.state, style), self._seen.where)
        self._spinner.update(text=now.append(f"  {self._task_id}", "dim"))
        return self._spinner

    def event(self, name: str, sequence: str | None, body: Any) -> None:
        """See `Screen.event`."""
        self._seen = self._seen.after(name, body)
        self._print(body.get("at_ms"), name, _where(body))

    def text(self, text: str, *, fresh: bool) -> None:
        """See `Screen.text`."""
        self._console.print(f"{'' if fresh else '+ '}{text.rstrip()}", style="dim", markup=False)

    def note(self, text: str) -> None:
        """See `Screen.note`."""
        self._console.print(text, style="yellow", markup=False)

    def done(self, result: Any) -> None:
        """See `Screen.done`."""
        self._ended = True
        self._print(None, str(result.get("status")), "")

    def _print(self, at_ms: object, state: str, where: str) -> None:
        from rich.text import Text

        elapsed = self._seen.elapsed(at_ms if isinstance(at_ms, int) else self._now_ms())
        self._console.print(Text.assemble(f"  {elapsed}  ", (state, STYLES.get(state, _OTHER)), where))


def _where(body: Any) -> str:
    return f" {body['engine']}" if isinstance(body.get("engine"), str) else ""
