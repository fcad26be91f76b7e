"""`aionctl watch`: a task's server-sent events, shown as they come."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from actors.cli.door import Door, find_door
from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit
from actors.cli.progress import Screen, screen
from schemas.errors import Unavailable

RECONNECT_DELAY_S = 1.0
QUIET_S = 60.0


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event (WHATWG HTML section 9.2)."""

    name: str
    data: str
    event_id: str | None


def watch(task_id: str, /, *, attempts: int = 5, as_json: Json = False) -> int:
    """Show each event of a task as it happens and its result at the end; a lost stream is resumed where it was.

    On a terminal a line tells the state and the time that passed; elsewhere there is a plain line for each event.

    Parameters
    ----------
    task_id
        The id that submit printed.
    attempts
        How often a stream may be lost in a row before giving up.
    """
    door = find_door()
    with screen(task_id, as_json=as_json) as shown:
        result = follow(door, task_id, attempts, shown)
    emit(result, as_json=as_json)
    return status_exit(result)


def follow(door: Door, task_id: str, attempts: int, shown: Screen) -> Any:
    """The canonical result of a task; the events before it were shown on the way."""
    last, failed = None, 0
    while True:
        try:
            for frame in stream(door, task_id, last):
                failed, last = 0, frame.event_id or last
                body = json.loads(frame.data)
                if frame.name == "done":
                    shown.done(body)
                    return body
                if frame.name in ("partial", "token"):
                    shown.text(body["text"], fresh=frame.name == "partial")
                elif frame.name == "error":
                    shown.note(f"the edge gave up: {body.get('detail')}")
                else:
                    shown.event(frame.name, frame.event_id, body)
        except (Unavailable, TimeoutError) as error:
            shown.note(f"the stream was lost: {error}")
        failed += 1
        if failed >= attempts:
            raise Unavailable(f"the stream of {task_id} was lost {failed} times in a row: try aionctl get {task_id}")
        time.sleep(RECONNECT_DELAY_S)


def stream(door: Door, task_id: str, last: str | None) -> Iterator[Frame]:
    """The frames after event id `last` (None: all of them) until the edge closes the stream."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    path = f"/v1/stream/{quote(task_id, safe='')}"
    with door.open("GET", path, headers=headers, timeout_s=QUIET_S) as response:
        yield from frames(line.decode() for line in response)


def frames(lines: Iterable[str]) -> Iterator[Frame]:
    """Frames out of lines; comments and the retry field are skipped, an unfinished last frame is dropped."""
    fields: dict[str, list[str]] = {}
    event_id: str | None = None
    for line in lines:
        line = line.rstrip("\r\n")
        if not line:
            if "data" in fields:
                event_id = fields.get("id", [event_id or ""])[-1] or None
                yield Frame(fields.get("event", ["message"])[-1], "\n".join(fields["data"]), event_id)
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name:
            fields.setdefault(name, []).append(value.removeprefix(" "))


def status_exit(result: Any) -> Exit:
    """The exit code that a canonical result stands for."""
    status = result.get("status") if isinstance(result, dict) else None
    return {"OK": Exit.OK, "TIMEOUT": Exit.TIMEOUT}.get(str(status), Exit.FAILURE)
