"""What clients are told, as messages: the canonical result, and the steps of a task."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.struct_pb2 import ListValue, Struct, Value
from msgspec import Struct as Part

from aion.v1 import tasks_pb2
from edge.grpc.reading import EXACT
from edge.tasks.items import Finished, Happened, Item, Missed, Said
from schemas.errors import AionError
from schemas.message import Decoder, decode, read


class _Step(Part, frozen=True):
    """What a client is told of an event on the way."""

    at_ms: int
    engine: str | None = None


_steps = Decoder(_Step)


def result_message(canonical: bytes) -> tasks_pb2.TaskResult:
    """The canonical result, from its JSON."""
    told: dict[str, Any] = decode(canonical, dict[str, Any])
    engine, usage, error = told["engine"], told["usage"], told["error"]
    message = tasks_pb2.TaskResult(
        schema_version=told["schema_version"],
        task_id=told["task_id"],
        intent=told["intent"],
        status=_word("STATUS", told["status"]),
        engine=tasks_pb2.Engine(
            route=_word("ROUTE", engine["route"]),
            chosen_by=_word("CHOSEN_BY", engine["chosen_by"]),
            reason=engine["reason"],
        ),
        usage=tasks_pb2.UsageReport(**usage),
        error=None if error is None else tasks_pb2.TaskError(**error),
    )
    message.result.SetInParent()
    _fill_object(message.result, told["result"])
    return message


def task_state(event: str) -> str:
    """The `TaskState` of an event's name."""
    return _word("TASK_STATE", event)


def stream_event(item: Item) -> tasks_pb2.StreamEvent:
    """An item of the task's stream; the last one is `done` and carries the canonical result."""
    event = tasks_pb2.StreamEvent(sequence=item.mark.sequence, delta=item.mark.number)
    match item:
        case Happened(_, name, data):
            step = read(_steps, data)
            event.progress.CopyFrom(tasks_pb2.Progress(state=task_state(name), at_ms=step.at_ms, engine=step.engine))
        case Finished(_, result):
            event.done.CopyFrom(result_message(result))
        case Said(_, text, True):
            _fill_object(event.partial.result, {"text": text})
        case Said(_, text, _):
            event.token.text = text
        case Missed(_, deltas):
            event.gap.missing = deltas
    return event


def broken_off(error: AionError) -> tasks_pb2.StreamEvent:
    """The last event of a stream that ends before its task."""
    told = tasks_pb2.TaskError(code=error.code, message=error.message, retryable=error.retryable)
    return tasks_pb2.StreamEvent(error=told)


def intents_message(listing: Iterable[Mapping[str, Any]]) -> tasks_pb2.ListIntentsResponse:
    """`Catalogue.listing` as a message."""
    answer = tasks_pb2.ListIntentsResponse()
    for row in listing:
        intent = answer.intents.add(intent=row["intent"], engines=row["engines"])
        for module in row["modules"]:
            told = intent.modules.add(name=module["name"], version=module["version"], description=module["description"])
            _fill_object(told.input_schema, module["input_schema"])
    return answer


def _word(enum: str, word: str) -> str:
    """A value's name as protobuf wants it, from the word that JSON has for it."""
    return f"{enum}_{word.upper().replace('-', '_')}"


def _fill_object(struct: Struct, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        _fill(struct.fields[name], value)


def _fill_array(array: ListValue, values: Iterable[Any]) -> None:
    for value in values:
        _fill(array.values.add(), value)


def _fill(target: Value, value: Any) -> None:
    """`Value` as protobuf's JSON mapping has it; an integer that is no double becomes text."""
    match value:
        case None:
            target.null_value = 0  # type: ignore[assignment]  # NULL_VALUE
        case bool():
            target.bool_value = value
        case str():
            target.string_value = value
        case int() if abs(value) > EXACT:
            target.string_value = str(value)
        case int() | float():
            target.number_value = value
        case dict():
            target.struct_value.SetInParent()
            _fill_object(target.struct_value, value)
        case _:
            target.list_value.SetInParent()
            _fill_array(target.list_value, value)
