"""From a client's message to a task: what JSON would refuse is refused here too."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from google.protobuf.struct_pb2 import ListValue, Struct, Value
from pydantic import ValidationError

from aion.v1 import tasks_pb2
from edge.tasks.bookmark import Bookmark
from edge.tasks.errors import BodyInvalid, FieldError
from edge.tasks.request import fault
from schemas.errors import InvalidRequest, PayloadTooLarge
from schemas.message import encode
from schemas.task import Priority, Privacy, TaskRequest

EXACT: Final = 2**53
"""Up to here each integer is a double."""
JSON_PER_PROTOBUF: Final = 6
"""A byte of a message is at most so many of JSON: a control character, as an escape."""
MAX_SEQUENCE: Final = 10**18 - 1
"""As for `Last-Event-ID`."""
PARAMS_DEPTH: Final = 2
"""What a body counts for its outermost object and that of its params."""

_PRIORITIES: Final[Mapping[int, Priority]] = {1: Priority.HIGH, 2: Priority.NORMAL, 3: Priority.LOW}
_PRIVACIES: Final[Mapping[int, Privacy]] = {1: Privacy.LOCAL_ONLY, 2: Privacy.ALLOW_API, 3: Privacy.HYBRID}
_AMOUNT: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)


def read_task(message: tasks_pb2.TaskRequest, *, max_depth: int, max_bytes: int) -> TaskRequest:
    """The task a message asks for. Raises `BodyInvalid` as for a body of JSON, and `PayloadTooLarge`.

    `max_bytes` bounds what the params and metadata are as JSON: that is what the log keeps.
    """
    fields: dict[str, Any] = {"intent": message.intent, "metadata": dict(message.metadata)}
    fields["params"] = params = _Reader(max_depth).object(message.params, "/params", PARAMS_DEPTH)
    for name in ("task_id", "tenant_id", "preferred_engine"):
        if message.HasField(name):
            fields[name] = getattr(message, name)
    if message.schema_version:
        fields["schema_version"] = message.schema_version
    if message.priority:
        fields["priority"] = _named(_PRIORITIES, message.priority, "/priority")
    if message.HasField("sla"):
        fields["sla"] = _sla(message.sla)
    if message.ByteSize() * JSON_PER_PROTOBUF > max_bytes:
        _check_size(len(encode((params, fields["metadata"]))), max_bytes)
    try:
        return TaskRequest.model_validate(fields, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise BodyInvalid("the message is not a task: see the field violations", [fault(f) for f in faults]) from None


def read_wait(message: tasks_pb2.SubmitRequest, default_s: float, max_s: float) -> float:
    """How long the caller would wait, in seconds. Raises `InvalidRequest`."""
    if not message.HasField("wait_s"):
        return default_s
    if not message.wait_s >= 0:  # NaN is not
        raise InvalidRequest(f"wait_s={message.wait_s:g} is no time to wait: use 0 or more seconds")
    return min(message.wait_s, max_s)


def read_after(message: tasks_pb2.StreamRequest) -> Bookmark:
    """What the client saw last. Raises `InvalidRequest` for what no log reaches."""
    if max(message.after, message.after_delta) > MAX_SEQUENCE:
        raise InvalidRequest(f"after={message.after} is no sequence: send that of the last event you saw")
    return Bookmark(message.after, message.after_delta)


def _sla(message: tasks_pb2.Sla) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if message.HasField("budget_usd"):
        if not _AMOUNT.fullmatch(message.budget_usd):
            raise _wrong("/sla/budget_usd", 'not an amount: use a decimal number such as "0.25"')
        fields["budget_usd"] = Decimal(message.budget_usd)
    if message.HasField("p95_ms"):
        fields["p95_ms"] = message.p95_ms
    if message.HasField("timeout_s"):
        fields["timeout_s"] = message.timeout_s
    if message.privacy:
        fields["privacy"] = _named(_PRIVACIES, message.privacy, "/sla/privacy")
    return fields


def _named(names: Mapping[int, Any], number: int, pointer: str) -> object:
    if number not in names:
        raise _wrong(pointer, f"{number} is not a value of this enum")
    return names[number]


def _check_size(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise PayloadTooLarge(f"params and metadata have {size_bytes} bytes as JSON: {max_bytes} are the limit")


class _Reader:
    """Reads `google.protobuf.Struct` as JSON values; whole numbers become integers as far as doubles are exact."""

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth

    def object(self, struct: Struct, at: str, depth: int) -> dict[str, Any]:
        self._check_depth(depth)
        return {name: self._value(value, f"{at}/{name}", depth) for name, value in struct.fields.items()}

    def _array(self, values: ListValue, at: str, depth: int) -> list[Any]:
        self._check_depth(depth)
        return [self._value(value, f"{at}/{number}", depth) for number, value in enumerate(values.values)]

    def _value(self, value: Value, at: str, depth: int) -> Any:
        match value.WhichOneof("kind"):
            case "string_value":
                return value.string_value
            case "number_value":
                return _number(value.number_value, at)
            case "bool_value":
                return value.bool_value
            case "struct_value":
                return self.object(value.struct_value, at, depth + 1)
            case "list_value":
                return self._array(value.list_value, at, depth + 1)
            case "null_value":
                return None
        raise _wrong(at, "no value: use null_value for null")

    def _check_depth(self, depth: int) -> None:
        if depth > self._max_depth:
            message = f"the task nests deeper than {self._max_depth} levels: flatten it"
            raise BodyInvalid(message, [FieldError("/params", message)])


def _number(value: float, at: str) -> float:
    if not math.isfinite(value):
        raise _wrong(at, "not a number of JSON: use null or a finite one")
    return int(value) if value.is_integer() and abs(value) <= EXACT else value


def _wrong(pointer: str, detail: str) -> BodyInvalid:
    return BodyInvalid("the message is not a task: see the field violations", [FieldError(pointer[:1000], detail)])
