"""The protobuf messages say what the JSON Schemas say, and keep their numbers."""

import json
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict

from aion.v1 import tasks_pb2
from schemas.export import documents
from schemas.lifecycle import FOLLOWS

SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_DOUBLE: "number",
    FieldDescriptor.TYPE_BOOL: "boolean",
    FieldDescriptor.TYPE_UINT32: "integer",
    FieldDescriptor.TYPE_UINT64: "integer",
}
MIRRORED = ("TaskRequest", "TaskResult")
FROZEN = {
    "TaskRequest": "schema_version task_id tenant_id intent params preferred_engine priority sla metadata",
    "Sla": "budget_usd p95_ms privacy timeout_s",
    "TaskResult": "schema_version task_id intent status engine result usage error",
    "Engine": "route chosen_by reason",
    "UsageReport": "latency_ms tokens cost_usd",
    "TaskError": "code message retryable",
    "SubmitRequest": "task idempotency_key wait_s",
    "SubmitResponse": "task_id replayed result",
    "StreamRequest": "task_id after after_delta",
    "StreamEvent": "sequence progress token partial done error delta gap",
    "StatusByIdRequest": "task_id",
    "StatusByIdResponse": "task_id state result",
    "CancelRequest": "task_id",
    "CancelResponse": "result",
    "ListIntentsRequest": "",
    "ListIntentsResponse": "intents",
    "Intent": "intent engines modules",
    "Module": "name version description input_schema",
    "Progress": "state at_ms engine",
    "Token": "text",
    "Partial": "result",
    "Gap": "missing",
    "Priority": "PRIORITY_UNSPECIFIED PRIORITY_HIGH PRIORITY_NORMAL PRIORITY_LOW",
    "Privacy": "PRIVACY_UNSPECIFIED PRIVACY_LOCAL_ONLY PRIVACY_ALLOW_API PRIVACY_HYBRID",
    "Status": "STATUS_UNSPECIFIED STATUS_OK STATUS_ERROR STATUS_TIMEOUT STATUS_CANCELED",
    "Route": "ROUTE_UNSPECIFIED ROUTE_LOCAL ROUTE_API ROUTE_HYBRID",
    "ChosenBy": "CHOSEN_BY_UNSPECIFIED CHOSEN_BY_AI_ROUTER CHOSEN_BY_POLICY_OVERRIDE",
    "TaskState": "TASK_STATE_UNSPECIFIED TASK_STATE_ACCEPTED TASK_STATE_ROUTED TASK_STATE_STARTED "
    "TASK_STATE_ATTEMPT_FAILED TASK_STATE_ENDED",
}
"""By number: a message's fields from 1 on, an enum's values from 0 on. Only ever added to."""


def test_every_field_of_the_json_schemas_has_its_counterpart() -> None:
    for model in MIRRORED:
        schema = exported(model)
        for name, body in {model: schema, **schema["$defs"]}.items():
            if "properties" in body:
                told = {field: wanted(part, schema["$defs"]) for field, part in body["properties"].items()}
                assert told == {field.name: said(field) for field in message(name).fields}, name


def test_what_may_be_absent_is_told_from_what_is_empty() -> None:
    for model in MIRRORED:
        schema = exported(model)
        for name, body in {model: schema, **schema["$defs"]}.items():
            for field, part in body.get("properties", {}).items():
                if {"type": "null"} in part.get("anyOf", ()):
                    assert message(name).fields_by_name[field].has_presence, f"{name}.{field}"


def test_every_state_of_a_task_has_its_value() -> None:
    assert values(tasks_pb2.DESCRIPTOR.enum_types_by_name["TaskState"]) == {
        name.upper() for name in FOLLOWS if name is not None
    }


def test_no_number_ever_changes() -> None:
    file = tasks_pb2.DESCRIPTOR
    fields = {name: {f.name: f.number for f in one.fields} for name, one in file.message_types_by_name.items()}
    enums = {name: {v.name: v.number for v in one.values} for name, one in file.enum_types_by_name.items()}
    frozen = {name: words.split() for name, words in FROZEN.items()}
    assert fields == {name: numbered(frozen[name], 1) for name in fields}
    assert enums == {name: numbered(frozen[name], 0) for name in enums}
    assert frozen.keys() == fields.keys() | enums.keys()


@pytest.mark.parametrize(
    ("name", "streams"),
    [("Submit", False), ("Stream", True), ("StatusById", False), ("Cancel", False), ("ListIntents", False)],
)
def test_the_service_answers_once_or_streams(name: str, streams: bool) -> None:
    method = tasks_pb2.DESCRIPTOR.services_by_name["AionTasks"].methods_by_name[name]
    assert (method.client_streaming, method.server_streaming) == (False, streams)


def test_params_come_back_as_they_were() -> None:
    params = {"text": "grüß 🚌", "deep": {"list": [1.5, None, True, {}]}}
    task = ParseDict({"intent": "summarize", "params": params}, tasks_pb2.TaskRequest())
    again = tasks_pb2.TaskRequest.FromString(task.SerializeToString())
    assert MessageToDict(again)["params"] == params


def exported(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(documents()[f"{name}.json"])
    return schema


def message(name: str) -> Descriptor:
    return tasks_pb2.DESCRIPTOR.message_types_by_name[name]


def numbered(names: list[str], first: int) -> dict[str, int]:
    return {name: number for number, name in enumerate(names, start=first)}


def values(enum: EnumDescriptor) -> set[str]:
    """The names of an enum's values without its prefix, less the unspecified one."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix) for value in enum.values if value.number}


def said(field: FieldDescriptor) -> object:
    if field.enum_type is not None:
        return values(field.enum_type)
    if field.message_type is None:
        return SCALARS[field.type]
    return "map" if field.message_type.GetOptions().map_entry else field.message_type.name


def wanted(part: dict[str, Any], defs: dict[str, Any]) -> object:
    """What `said` must give for a property; a number that may be text is text, so that nothing is rounded."""
    part = {**part, **defs.get(part.get("$ref", "").rpartition("/")[2], {})}
    if "anyOf" in part:
        kinds = [wanted(one, defs) for one in part["anyOf"] if one != {"type": "null"}]
        return "string" if "string" in kinds else kinds[0]
    if "enum" in part and len(part["enum"]) > 1:
        return {value.upper().replace("-", "_") for value in part["enum"]}
    if "properties" in part:
        return part["title"]
    if part.get("type") == "object":
        return "Struct" if part.get("additionalProperties", True) is True else "map"
    return part.get("type", "string")
