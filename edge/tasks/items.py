"""What a task's stream is made of, and how each of it is named in public."""

from typing import NamedTuple, TypeAlias

from edge.tasks.bookmark import Bookmark
from schemas.delta import run_of
from schemas.message import encode


class Happened(NamedTuple):
    """An event that is not the task's last; `data` is its JSON without params."""

    mark: Bookmark
    name: str
    data: bytes


class Said(NamedTuple):
    """More text of the attempt; with `fresh` it takes the place of all that was said before."""

    mark: Bookmark
    text: str
    fresh: bool


class Missed(NamedTuple):
    """`deltas` of them are lost for good: the text has a hole here. The result will not have it."""

    mark: Bookmark
    deltas: int


class Finished(NamedTuple):
    """The end, always the last item; `result` is the canonical result's JSON."""

    mark: Bookmark
    result: bytes


Item: TypeAlias = Happened | Said | Missed | Finished


def told(item: Item) -> tuple[str, bytes]:
    """The item's public name, and its JSON on one line."""
    match item:
        case Happened(_, name, data):
            return name, data
        case Finished(_, result):
            return "done", result
        case Said(mark, text, fresh):
            return ("partial" if fresh else "token"), encode(_of_run(mark) | {"text": text})
        case Missed(mark, deltas):
            return "gap", encode(_of_run(mark) | {"missing": deltas})


def _of_run(mark: Bookmark) -> dict[str, object]:
    return {"attempt": mark.sequence, "run": run_of(mark.number)}
