"""Errors of the tree in `schemas.errors` that carry something for a problem body."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import AlreadyEnded, InvalidRequest


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault of a body: a JSON Pointer (RFC 6901, "" is the whole body) and what is wrong there."""

    pointer: str
    detail: str


class BodyInvalid(InvalidRequest):
    """The body can not be read as a task; `errors` says where, at most 20 of them."""

    def __init__(self, message: str, errors: Sequence[FieldError]) -> None:
        super().__init__(message)
        self.errors = tuple(errors[:20])


class CancelTooLate(AlreadyEnded):
    """The task has its terminal event; `result` is the canonical result's JSON."""

    def __init__(self, message: str, result: bytes) -> None:
        super().__init__(message)
        self.result = result
