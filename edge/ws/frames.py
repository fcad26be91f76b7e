"""What a client may say on a socket: one JSON object in one text frame, read as strictly as a body over HTTP."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from pydantic import Field, StringConstraints

from edge.tasks.errors import BodyInvalid, FieldError
from edge.tasks.request import read_form
from schemas.ids import Token
from schemas.message import Unreadable, decode
from schemas.task import Form, TaskRequest

FrameId = Annotated[str, StringConstraints(pattern=r"^[!-~]+$", min_length=1, max_length=64)]
"""The client's own name for what it asks; it comes back with every answer."""
ResumeId = Annotated[str, StringConstraints(max_length=40)]


class Hello(Form):
    """Who speaks: the first frame where the upgrade had no credential, and a fresh credential later on.

    `after` is for the stream of one task: the last id that was seen.
    """

    type: Literal["hello"]
    authorization: str = Field(min_length=1, max_length=8192, description="As the header: Bearer aion_...")
    after: ResumeId | None = None


class Submit(Form):
    """Hand in a task. It is answered once it is stored, or has ended within `wait_s`."""

    type: Literal["submit"]
    id: FrameId
    task: TaskRequest
    idempotency_key: str | None = Field(default=None, max_length=255)
    traceparent: str | None = Field(default=None, max_length=128)
    wait_s: float = Field(default=0.0, ge=0, le=3600)


class Subscribe(Form):
    """Follow a task behind `after`, for as many events as there is credit."""

    type: Literal["subscribe"]
    id: FrameId
    task_id: Token
    after: ResumeId | None = None
    credit: int | None = Field(default=None, ge=0, le=1_000_000)


class Unsubscribe(Form):
    """Follow no more."""

    type: Literal["unsubscribe"]
    id: FrameId


class Cancel(Form):
    """End a task as CANCELED."""

    type: Literal["cancel"]
    id: FrameId
    task_id: Token


class Grant(Form):
    """Credit for so many events more."""

    type: Literal["credit"]
    id: FrameId
    credit: int = Field(ge=1, le=1_000_000)


class Ping(Form):
    """Is anybody there: browsers cannot send the ping of the protocol."""

    type: Literal["ping"]
    id: FrameId | None = None


Frame: TypeAlias = Hello | Submit | Subscribe | Unsubscribe | Cancel | Grant | Ping

FORMS: Final[Mapping[str, type[Frame]]] = {
    "hello": Hello, "submit": Submit, "subscribe": Subscribe, "unsubscribe": Unsubscribe, "cancel": Cancel,
    "credit": Grant, "ping": Ping,
}  # fmt: skip


class NotJson(BodyInvalid):
    """What came is no JSON object, so nobody can say what it answers."""


class FrameInvalid(BodyInvalid):
    """It is JSON and no frame; `id` is the client's name for it as far as it can be read."""

    def __init__(self, message: str, errors: tuple[FieldError, ...], frame_id: str | None) -> None:
        super().__init__(message, errors)
        self.frame_id = frame_id


class _Shape(msgspec.Struct):
    """As much of a frame as an answer to a bad one needs."""

    type: Any = None
    id: Any = None


def read_frame(data: bytes, max_depth: int) -> Frame:
    """The frame in `data`. Raises `NotJson`, and `FrameInvalid` with a JSON Pointer for each fault."""
    shape = _shape_of(data)
    frame_id = shape.id if isinstance(shape.id, str) and len(shape.id) <= 64 else None
    form = FORMS.get(shape.type) if isinstance(shape.type, str) else None
    if form is None:
        message = f"type is none of {', '.join(FORMS)}"
        raise FrameInvalid(message, (FieldError("/type", message),), frame_id)
    try:
        return read_form(data, max_depth, form, "that is no frame: see errors")
    except BodyInvalid as error:
        raise FrameInvalid(error.message, error.errors, frame_id) from None


def _shape_of(data: bytes) -> _Shape:
    try:
        return decode(data.decode(), _Shape)  # as text: what msgspec passes over it does not look at
    except (Unreadable, UnicodeDecodeError):
        message = "a frame is one JSON object in UTF-8"
        raise NotJson(message, [FieldError("", message)]) from None
