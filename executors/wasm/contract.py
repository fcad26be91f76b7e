"""A package's promises about its params and its result, compiled once."""

import json
from typing import Any

import jsonschema_rs

from schemas.errors import InputInvalid, OutputInvalid, PackageInvalid
from schemas.message import Unreadable, decode
from schemas.package import AgentPackage

MASK = "the value"


class Contract:
    """Checks and translates between params or result and JSON bytes. Messages carry pointers, never values."""

    def __init__(self, manifest: AgentPackage) -> None:
        self._name = manifest.metadata.name
        self._input = _compiled(manifest.spec.input_schema, "input_schema")
        self._output = _compiled(manifest.spec.output_schema, "output_schema")

    def encode_params(self, params: dict[str, Any]) -> bytes:
        """The params as JSON; `InputInvalid` names the pointer that the input schema refuses."""
        try:
            problem = _first_problem(self._input, params)
            if problem:
                raise InputInvalid(f"params of {self._name}: {problem}")
            return _ENCODER.encode(params).encode()
        except (ValueError, TypeError, RecursionError) as error:
            reason = type(error).__name__
            raise InputInvalid(f"params of {self._name} are not JSON: {reason}") from error

    def decode_result(self, output: bytes) -> dict[str, Any]:
        """The module's output as an object; `OutputInvalid` when it is no JSON object or breaks the output schema."""
        try:
            result = decode(output, Any)
            if not isinstance(result, dict):
                raise OutputInvalid(f"{self._name} answered with a JSON {type(result).__name__}, not an object")
            problem = _first_problem(self._output, result)
        except (ValueError, Unreadable, RecursionError) as error:
            raise OutputInvalid(f"{self._name} answered with {len(output)} bytes that are no JSON") from error
        if problem:
            raise OutputInvalid(f"result of {self._name}: {problem}")
        return result


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _compiled(schema: dict[str, Any], field: str) -> jsonschema_rs.Validator:
    # offline: a schema must not make the host fetch anything; RegexOptions: patterns match in linear time.
    try:
        return jsonschema_rs.validator_for(
            schema, mask=MASK, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PackageInvalid(f"spec.{field} is not a usable JSON Schema: {reason}") from error


def _first_problem(validator: jsonschema_rs.Validator, value: dict[str, Any]) -> str:
    if validator.is_valid(value):
        return ""
    for error in validator.iter_errors(value):
        return f"{_pointer(error.instance_path)}: {error.message[:200]}"
    return ""


def _pointer(path: list[str | int]) -> str:
    """RFC 6901; the whole document is shown as `/`."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "/" + "/".join(parts)
