"""The envelope of a question: deadline and trace beside the body, in the payload and not in headers.

Headers cost a Python client more than half of its rate (research: baselines A).
"""

import json

from pydantic import ValidationError

from bus.port import Call
from schemas.errors import AionError, InvalidRequest
from schemas.task import Message


def encode_call(request: Message, call: Call) -> bytes:
    """`{"deadline_ms", "traceparent", "body"}` as JSON."""
    trace = json.dumps(call.traceparent)
    return b'{"deadline_ms":%d,"traceparent":%s,"body":%s}' % (
        call.deadline_ms,
        trace.encode(),
        request.model_dump_json().encode(),
    )


def decode_call(data: bytes) -> tuple[Call, bytes]:
    """The call and its body, still JSON. Raises `InvalidRequest` for anything else than an envelope."""
    try:
        envelope = json.loads(data)
        call = Call(int(envelope["deadline_ms"]), envelope.get("traceparent"))
        body = json.dumps(envelope["body"]).encode()
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidRequest('a question is {"deadline_ms": ..., "body": {...}}') from error
    return call, body


def decode_body(body: bytes, model: type[Message]) -> Message:
    """The validated message. Raises `InvalidRequest` naming the first field that is wrong."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{model.__name__}/{where}: {first['msg']}") from error


def error_of(code: str, message: str) -> AionError:
    """The error that `code` names, wherever it was raised; an unknown code stays an `AionError`."""
    kinds = [AionError]
    while kinds:
        kind = kinds.pop()
        if kind.__dict__.get("code") == code and kind.__init__ is AionError.__init__:
            return kind(message)
        kinds.extend(kind.__subclasses__())
    return AionError(message)
