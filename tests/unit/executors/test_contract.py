"""Params and results against a package's schemas."""

from typing import Any

import pytest

from executors.wasm.contract import Contract
from schemas.errors import InputInvalid, OutputInvalid, PackageInvalid
from schemas.package import AgentPackage


def contract(input_schema: dict[str, Any], output_schema: dict[str, Any] | None = None) -> Contract:
    package = AgentPackage.model_validate(
        {
            "apiVersion": "aionos/v1",
            "kind": "AgentPackage",
            "metadata": {"name": "echo", "version": "1.0.0"},
            "spec": {
                "intents": ["echo"],
                "runtime": "wasm",
                "entry": {"module": "m.wasm", "digest": "sha256:" + "0" * 64, "abi": "stdio"},
                "input_schema": input_schema,
                "output_schema": output_schema or {"type": "object"},
            },
        }
    )
    return Contract(package)


def test_params_are_compact_utf8_json() -> None:
    assert contract({}).encode_params({"a": "я", "b": [1, None]}) == '{"a":"я","b":[1,null]}'.encode()


def test_a_refusal_names_the_pointer_and_never_the_value() -> None:
    schema = {"properties": {"a/b": {"type": "array", "items": {"type": "integer"}}}}
    with pytest.raises(InputInvalid, match="/a~1b/1: ") as caught:
        contract(schema).encode_params({"a/b": [1, "secret"]})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("params", [{"a": float("nan")}, {"a": float("inf")}, {"a": "\ud800"}, {"a": {1, 2}}])
def test_what_is_no_json_is_no_input(params: dict[str, Any]) -> None:
    with pytest.raises(InputInvalid):
        contract({}).encode_params(params)


@pytest.mark.parametrize(
    "output", [b"", b"[]", b"nul", b'{"a":NaN}', b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_object_is_no_result(output: bytes) -> None:
    with pytest.raises(OutputInvalid):
        contract({}).decode_result(output)


def test_a_result_outside_of_the_schema_names_its_pointer() -> None:
    with pytest.raises(OutputInvalid, match="/a: "):
        contract({}, {"properties": {"a": {"type": "string"}}}).decode_result(b'{"a":1}')


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"pattern": "("},
    ],
)
def test_a_schema_that_cannot_be_compiled_offline_refuses_the_package(schema: dict[str, Any]) -> None:
    with pytest.raises(PackageInvalid, match="input_schema"):
        contract(schema)


def test_a_pattern_matches_in_linear_time() -> None:
    evil = contract({"properties": {"a": {"pattern": "^(a+)+$"}}})
    with pytest.raises(InputInvalid, match="/a"):
        evil.encode_params({"a": "a" * 100_000 + "!"})
