"""The envelope of a question: deadline and trace beside the body, in the payload and not in headers.

Headers cost a Python client more than half of its rate (research: baselines A).
"""

from typing import TypeVar

from bus.port import Call
from schemas.errors import AionError, InvalidRequest
from schemas.message import Message, Raw, Unreadable, decode, encode

M = TypeVar("M", bound=Message)


class _Asked(Message):
    deadline_ms: int
    traceparent: str | None = None
    body: Message


class _Envelope(Message):
    deadline_ms: int
    traceparent: str | None = None
    body: Raw


def encode_call(request: Message, call: Call) -> bytes:
    """`{"deadline_ms", "traceparent", "body"}` as JSON."""
    return encode(_Asked(deadline_ms=call.deadline_ms, traceparent=call.traceparent, body=request))


def decode_call(data: bytes) -> tuple[Call, Raw]:
    """The call and its body, still JSON. Raises `InvalidRequest` for anything else than an envelope."""
    try:
        envelope = decode(data, _Envelope)
    except Unreadable as error:
        raise InvalidRequest(f'a question is {{"deadline_ms": ..., "body": {{...}}}}: {error}') from error
    return Call(envelope.deadline_ms, envelope.traceparent), envelope.body


def decode_body(body: bytes | Raw, model: type[M]) -> M:
    """The validated message. Raises `InvalidRequest` naming the first field that is wrong."""
    try:
        return decode(body, model)
    except Unreadable as error:
        raise InvalidRequest(f"{model.__name__}: {error}") from error


def error_of(code: str, message: str) -> AionError:
    """The error that `code` names, wherever it was raised; an unknown code stays an `AionError`."""
    kinds = [AionError]
    while kinds:
        kind = kinds.pop()
        if kind.__dict__.get("code") == code and kind.__init__ is AionError.__init__:
            return kind(message)
        kinds.extend(kind.__subclasses__())
    return AionError(message)
