"""The document is what the code says, and a break of it is found."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edge.openapi import __main__ as command
from edge.openapi.breaking import breaks
from edge.openapi.document import document, document_text
from edge.openapi.operations import OPERATIONS

DOCUMENT = document()
POST = DOCUMENT["paths"]["/v1/tasks"]["post"]
TASK = "TaskRequest"
RESULT = "TaskResult"


def test_what_is_checked_in_is_what_the_code_says_and_breaks_nothing() -> None:
    assert command.complaints(command.FOLDER) == [], "run python -m edge.openapi"


def test_operations_have_ids_of_their_own_and_an_example_of_each_body() -> None:
    ids = [operation.id for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    for path, methods in DOCUMENT["paths"].items():
        for what in methods.values():
            bodies = [what.get("requestBody", {}), *what["responses"].values()]
            for body in bodies:
                for content in body.get("content", {}).values():
                    assert content["example"] is not None, path


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.body], ids=lambda one: str(one.id))
def test_the_example_of_a_request_is_one(operation: Any) -> None:
    form: type[BaseModel] = operation.body.kind
    form.model_validate_json(json.dumps(operation.body.example), strict=True)


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    text = document_text()
    for name in DOCUMENT["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text, name
    for line in text.splitlines():
        if '"$ref"' in line:
            assert line.split("/")[-1].rstrip('",') in DOCUMENT["components"]["schemas"]
    assert "(?!" not in text  # Python's way of ending a pattern is no other's


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def operation(document: dict[str, Any], path: str = "/v1/tasks", method: str = "post") -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path][method]
    return found


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a path": (lambda d: d["paths"].pop("/v1/intents"), "GET /v1/intents is gone"),
    "a method": (lambda d: d["paths"]["/v1/tasks"].pop("get"), "GET /v1/tasks is gone"),
    "an id": (lambda d: operation(d).update(operationId="sendTask"), "submitTask became sendTask"),
    "a parameter": (lambda d: operation(d)["parameters"].pop(), "the header parameter Prefer is gone"),
    "a must": (lambda d: operation(d)["parameters"][0].update(required=True), "Idempotency-Key is required now"),
    "a new must": (
        lambda d: operation(d)["parameters"].append({"name": "x", "in": "query", "required": True, "schema": {}}),
        "x is new and required",
    ),
    "a field of a request": (lambda d: schema(d, TASK)["properties"].pop("priority"), ".priority is gone"),
    "a required field": (lambda d: schema(d, TASK)["required"].append("priority"), ".priority is required now"),
    "a value": (lambda d: schema(d, "Privacy")["enum"].remove("hybrid"), "no longer hybrid"),
    "a deep type": (lambda d: schema(d, "Sla")["properties"]["privacy"].clear(), ".privacy: the type"),
    "a field of an answer": (lambda d: schema(d, RESULT)["properties"].pop("usage"), ".usage is gone"),
    "a promise": (lambda d: schema(d, RESULT)["required"].remove("usage"), ".usage is no longer promised"),
    "a status": (lambda d: operation(d)["responses"].pop("202"), "the response 202 is gone"),
    "a medium": (
        lambda d: operation(d, "/v1/chat/completions")["responses"]["200"]["content"].pop("text/event-stream"),
        "text/event-stream is gone",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_break_is_found_and_named(what: str) -> None:
    change, line = BROKEN[what]
    changed = copy.deepcopy(DOCUMENT)
    change(changed)
    found = breaks(DOCUMENT, changed)
    assert any(line in one for one in found), found


def test_what_only_adds_breaks_nothing() -> None:
    changed = copy.deepcopy(DOCUMENT)
    changed["paths"]["/v1/new"] = {"get": {"operationId": "new", "responses": {}}}
    schema(changed, TASK)["properties"]["hint"] = {"type": "string"}
    schema(changed, RESULT)["properties"]["more"] = {"type": "string"}
    schema(changed, RESULT)["required"].append("more")
    schema(changed, "Privacy")["enum"].append("eu-only")
    operation(changed)["parameters"].append({"name": "x", "in": "query", "schema": {"type": "string"}})
    operation(changed)["responses"]["418"] = {"description": "new"}
    assert breaks(DOCUMENT, changed) == []


def test_the_check_says_what_to_run_and_a_new_first_number_may_break(tmp_path: Path) -> None:
    assert "run python -m edge.openapi" in command.complaints(tmp_path)[0]
    (tmp_path / command.CURRENT).write_text(document_text())
    assert "released.json is missing" in command.complaints(tmp_path)[0]
    older = copy.deepcopy(DOCUMENT)
    older["paths"]["/v1/old"] = {"get": {"operationId": "old", "responses": {}}}
    (tmp_path / command.RELEASED).write_text(json.dumps(older))
    assert command.complaints(tmp_path) == ["breaks clients of the last release: GET /v1/old is gone"]
    older["info"]["version"] = "0.9.0"
    (tmp_path / command.RELEASED).write_text(json.dumps(older))
    assert command.complaints(tmp_path) == []
