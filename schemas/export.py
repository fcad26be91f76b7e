"""Writes the JSON Schema of every public message to `schemas/json/`; `--check` only compares."""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from schemas.events import LogEvent
from schemas.package import AgentPackage
from schemas.registry import ApiKeyRecord, EngineAdvert, ModuleRecord, ProjectionPosition
from schemas.result import TaskResult
from schemas.task import TaskRequest

_MODELS: tuple[type[BaseModel], ...] = (
    TaskRequest,
    TaskResult,
    EngineAdvert,
    ModuleRecord,
    ApiKeyRecord,
    ProjectionPosition,
    AgentPackage,
)
_FOLDER = Path(__file__).parent / "json"


def documents() -> dict[str, str]:
    """File name to JSON Schema text (2020-12), sorted keys, so that a diff shows only what changed."""
    schemas: dict[str, dict[str, Any]] = {m.__name__: m.model_json_schema() for m in _MODELS}
    schemas["LogEvent"] = TypeAdapter(LogEvent).json_schema()
    return {f"{name}.json": json.dumps(body, indent=2, sort_keys=True) + "\n" for name, body in schemas.items()}


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
