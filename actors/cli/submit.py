"""`aionctl submit`."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import Parameter

from actors.cli.door import Door, find_door
from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit
from actors.cli.watch import status_exit
from schemas.errors import DeadlineExceeded, InvalidRequest

POLL_S = 0.5
_EDGE_WAIT_S = 30.0
_SLACK_S = 5.0


def submit(
    intent: str,
    /,
    *,
    param: Annotated[Sequence[str], Parameter(negative=())] = (),
    params: str | None = None,
    file: Path | None = None,
    text: Path | None = None,
    priority: Literal["high", "normal", "low"] = "normal",
    timeout: float = 60.0,
    wait: bool = True,
    as_json: Json = False,
) -> int:
    """Hand in a task and print its canonical result; without waiting, where to find it.

    Parameters
    ----------
    intent
        What is wanted; aionctl intents lists them.
    param
        One parameter, KEY=VALUE as text or KEY:=JSON; may be repeated and wins over the others.
    params
        All parameters as one JSON object.
    file
        A file with the parameters as one JSON object; - is stdin.
    text
        A file whose content becomes the parameter text; - is stdin.
    priority
        The lane to wait in.
    timeout
        Seconds until the task ends as TIMEOUT.
    wait
        Wait for the result.
    """
    given = collect(param, params, file, text)
    body = {"intent": intent, "params": given, "priority": priority, "sla": {"timeout_s": timeout}}
    result = hand_in(find_door(), body, timeout if wait else 0.0)
    emit(result, as_json=as_json)
    return status_exit(result) if wait else Exit.OK


def collect(param: Sequence[str], params: str | None, file: Path | None, text: Path | None) -> dict[str, Any]:
    """The task's params from all four sources. Raises `InvalidRequest` naming the one that does not fit."""
    merged: dict[str, Any] = {}
    if params is not None:
        merged |= _object(params, "--params")
    if file is not None:
        merged |= _object(_read(file), f"--file {file}")
    if text is not None:
        merged["text"] = _read(text)
    for pair in param:
        key, separator, value = pair.partition("=")
        if not separator or not key.removesuffix(":"):
            raise InvalidRequest(f"--param {pair!r} has no value: write KEY=VALUE, or KEY:=JSON")
        merged[key.removesuffix(":")] = _json(value, f"--param {key}") if key.endswith(":") else value
    return merged


def hand_in(door: Door, body: object, wait_s: float) -> Any:
    """The canonical result when it is there within `wait_s` (and a little), the acceptance for a wait of 0."""
    edge_wait_s = min(wait_s, _EDGE_WAIT_S)
    prefer = f"wait={edge_wait_s:.0f}" if edge_wait_s >= 1 else "respond-async"
    began = time.monotonic()
    reply = door.call("POST", "/v1/tasks", body, headers={"Prefer": prefer}, timeout_s=edge_wait_s + 2 * _SLACK_S)
    if reply.status != 202 or wait_s <= 0:
        return reply.body
    task_id = reply.body["task_id"]
    while time.monotonic() - began < wait_s + _SLACK_S:
        seen = door.call("GET", f"/v1/tasks/{quote(task_id, safe='')}").body
        if "schema_version" in seen:
            return seen
        time.sleep(POLL_S)
    raise DeadlineExceeded(f"task {task_id} has not ended {wait_s:g} s after it was accepted: aionctl watch {task_id}")


def _read(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read as UTF-8 text: {error}") from error


def _object(text: str, source: str) -> dict[str, Any]:
    value = _json(text, source)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{source} is not a JSON object")
    return value


def _json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{source} is not JSON: {error}") from error
