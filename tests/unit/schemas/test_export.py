import json
from pathlib import Path

import pytest

from schemas import export


def _write(folder: Path) -> None:
    for name, text in export.documents().items():
        (folder / name).write_text(text)


def test_the_exported_schemas_are_those_of_the_code() -> None:
    assert export.drift(Path(export.__file__).parent / "json") == [], "run python -m schemas.export"


def test_a_fresh_export_does_not_drift(tmp_path: Path) -> None:
    _write(tmp_path)
    assert export.drift(tmp_path) == []


def test_a_changed_a_missing_and_a_left_over_file_are_named(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "TaskResult.json").write_text("{}\n")
    (tmp_path / "LogEvent.json").unlink()
    (tmp_path / "Forgotten.json").write_text("{}\n")
    assert export.drift(tmp_path) == ["Forgotten.json", "LogEvent.json", "TaskResult.json"]


def test_an_export_is_the_same_text_each_time() -> None:
    assert export.documents() == export.documents()


@pytest.mark.parametrize("name", sorted(export.documents()))
def test_every_document_is_json_that_names_its_kind(name: str) -> None:
    body = json.loads(export.documents()[name])
    assert body.get("title") == name.removesuffix(".json") or "oneOf" in body


def test_unknown_fields_are_closed_in_the_exported_request() -> None:
    body = json.loads(export.documents()["TaskRequest.json"])
    assert body["additionalProperties"] is False
