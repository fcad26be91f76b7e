"""The OpenAPI 3.1 document, made from the operations and from the schemas that the code itself reads and writes."""

import json
from functools import cache
from typing import Any, Final

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from edge.openapi import examples, shapes
from edge.openapi.operations import OPERATIONS, PROBLEM, REFUSALS, Content, Operation, Reply

VERSION: Final = "1.0.0"
"""Of the HTTP API. Its first number rises with a change that breaks clients (`edge.openapi.breaking`), only then."""

_REF: Final = "#/components/schemas/"
_HTTP_SIDE: Final = "(?!\\n)"
"""Python's `$` also matches before a last newline; that of JSON Schema's patterns (ECMA-262) does not."""

_ABOUT: Final = (
    "AION takes AI tasks, stores them durably, runs them where they may run, and gives one result for each. "
    "Everything under `/v1` wants `Authorization: Bearer aion_...`; the tenant is the credential's."
)


def document() -> dict[str, Any]:
    """The whole document: the same for the same code, keys in a fixed order."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "AION", "version": VERSION, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "`aionctl key create`"}},
        },
    }


@cache
def document_text() -> str:
    """As it is served and checked in. Making it takes a tenth of a second: once in a process."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _operation(operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": [] if operation.open else [{"key": []}],
    }
    if operation.parameters:
        made["parameters"] = [_without_none(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": _contents(operation.body)}
    replies = {str(status): _reply(reply) for status, reply in operation.replies.items()}
    refusals = {str(status): _refusal(status, operation.tag) for status in sorted(operation.refusals)}
    made["responses"] = replies | refusals
    return made


def _refusal(status: int, tag: str) -> dict[str, Any]:
    if tag == "openai":
        content = Content(shapes.OpenAiError, examples.OPENAI_ERROR)
    else:
        content = Content(shapes.Problem, examples.PROBLEM, PROBLEM)
    headers = {"Retry-After": "Seconds until it makes sense to come back."} if status in (429, 503) else {}
    return _reply(Reply(REFUSALS[status], (content,), headers))


def _reply(reply: Reply) -> dict[str, Any]:
    made: dict[str, Any] = {"description": reply.says}
    if reply.headers:
        made["headers"] = {
            name: {"description": says, "schema": {"type": "string"}} for name, says in reply.headers.items()
        }
    if reply.contents:
        made["content"] = _contents(*reply.contents)
    return made


def _contents(*contents: Content) -> dict[str, Any]:
    return {content.media: {"schema": _schema(content.kind), "example": content.example} for content in contents}


def _schema(kind: Any) -> dict[str, Any]:
    if isinstance(kind, dict):
        return kind
    if isinstance(kind, tuple):
        return {"oneOf": [_schema(one) for one in kind]}
    if _is_form(kind):
        return {"$ref": _REF + kind.__name__}
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF + "{name}")
    return schema


def _schemas() -> dict[str, Any]:
    """Every class that an operation names, and those inside them."""
    kinds: list[Any] = [shapes.Problem, shapes.OpenAiError]
    for operation in OPERATIONS:
        contents = [content for reply in operation.replies.values() for content in reply.contents]
        for content in [*contents, *([operation.body] if operation.body else [])]:
            kinds += content.kind if isinstance(content.kind, tuple) else [content.kind]
    forms = [kind for kind in kinds if _is_form(kind)]
    others = [kind for kind in kinds if not isinstance(kind, dict) and not _is_form(kind)]
    _, read = models_json_schema([(form, "validation") for form in forms], ref_template=_REF + "{model}")
    _, written = msgspec.json.schema_components(others, ref_template=_REF + "{name}")
    found: dict[str, Any] = read.get("$defs", {}) | written
    return {name: _portable(found[name]) for name in sorted(found)}


def _is_form(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _portable(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: value.removesuffix(_HTTP_SIDE) if key == "pattern" and isinstance(value, str) else _portable(value)
            for key, value in schema.items()
        }
    return [_portable(one) for one in schema] if isinstance(schema, list) else schema


def _without_none(parameter: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parameter.items() if value is not None}
