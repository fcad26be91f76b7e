"""Writes the JSON Schema of every public message to `schemas/json/`; `--check` only compares."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from schemas.events import LogEvent
from schemas.identity import AccessClaims
from schemas.message import Message
from schemas.package import AgentPackage
from schemas.registry import ApiKeyRecord, EngineAdvert, ModuleRecord, ProjectionPosition, SigningKeyRecord
from schemas.result import TaskResult
from schemas.task import TaskRequest

_FORMS: tuple[type[BaseModel], ...] = (TaskRequest, AgentPackage)
_MESSAGES: tuple[type[Message], ...] = (
    TaskResult, EngineAdvert, ModuleRecord, ApiKeyRecord, SigningKeyRecord, AccessClaims, ProjectionPosition,
)  # fmt: skip
_FOLDER = Path(__file__).parent / "json"


def documents() -> dict[str, str]:
    """File name to JSON Schema text (2020-12), sorted keys, so that a diff shows only what changed."""
    schemas: dict[str, dict[str, Any]] = {form.__name__: form.model_json_schema() for form in _FORMS}
    schemas |= {message.__name__: _schema(message.__name__, message) for message in _MESSAGES}
    schemas["LogEvent"] = _schema("LogEvent", LogEvent)
    return {f"{name}.json": json.dumps(body, indent=2, sort_keys=True) + "\n" for name, body in schemas.items()}


def _schema(name: str, kind: Any) -> dict[str, Any]:
    """Of a message or a union of them, its own definition at the top."""
    (top,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    top = definitions.pop(name, top)
    return {"title": name, **top} | ({"$defs": definitions} if definitions else {})


def drift(folder: Path) -> list[str]:
    """Names of files in `folder` that differ from the code, are missing, or have no model any more."""
    wanted = documents()
    present = {path.name: path.read_text() for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def main(arguments: list[str]) -> int:
    """Exit status 1 under `--check` when anything drifted, naming the files."""
    if "--check" in arguments:
        names = drift(_FOLDER)
        if names:
            sys.stderr.write(f"schemas/json differs: {', '.join(names)}; run python -m schemas.export\n")
        return 1 if names else 0
    _FOLDER.mkdir(exist_ok=True)
    for path in _FOLDER.glob("*.json"):
        path.unlink()
    for name, text in documents().items():
        (_FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
