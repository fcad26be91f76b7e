"""What the edge says on a socket, as the bytes of one text frame each."""

import math
from typing import Any

from edge.http.problems import described
from edge.tasks.bookmark import Bookmark
from edge.tasks.items import Item, told
from schemas.errors import AionError
from schemas.message import encode


def plain(kind: str, frame_id: str | None, **fields: object) -> bytes:
    """A frame of simple fields; those that are None are left out."""
    said = {"type": kind, "id": frame_id} | fields
    return encode({name: value for name, value in said.items() if value is not None})


def event(frame_id: str | None, item: Item) -> bytes:
    """An item of a stream, named and numbered as over SSE."""
    name, data = told(item)
    head = plain("event", frame_id, event=name, event_id=str(item.mark) if item.mark.sequence else None)
    return head[:-1] + b',"data":' + data + b"}"


def result(frame_id: str, task_id: str, canonical: bytes, *, replayed: bool | None = None) -> bytes:
    """A task that has ended, with its canonical result as every door gives it."""
    return plain("result", frame_id, task_id=task_id, replayed=replayed)[:-1] + b',"result":' + canonical + b"}"


def end(frame_id: str | None, reason: str, mark: Bookmark) -> bytes:
    """No more of a subscription; `after` is where to go on."""
    return plain("end", frame_id, reason=reason, after=str(mark) if mark.sequence else None)


def error(frame_id: str | None, problem: dict[str, Any], mark: Bookmark | None = None) -> bytes:
    """Something was refused or went wrong. With a mark it ends a subscription."""
    return plain("error", frame_id, problem=problem, after=str(mark) if mark and mark.sequence else None)


def problem_of(error: AionError, request_id: str) -> dict[str, Any]:
    """As over HTTP, with what `Retry-After` would say."""
    problem = described(error, request_id)
    if error.http_status in (429, 503):
        problem["retry_after_s"] = max(1, math.ceil(error.retry_after_s or 1))
    return problem
