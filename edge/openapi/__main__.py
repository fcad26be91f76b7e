"""Writes `docs/api/openapi.json`; `--check` compares, with the code and with what was released; `--release` releases.

`docs/api/released.json` is the document of the last release: what it promises may not break while its first version
number stays.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from edge.openapi.breaking import breaks
from edge.openapi.document import document_text

FOLDER: Final = Path(__file__).parents[2] / "docs" / "api"
CURRENT: Final = "openapi.json"
RELEASED: Final = "released.json"


def complaints(folder: Path) -> list[str]:
    """What is wrong with the files in `folder`, none when they are in order."""
    current, released = folder / CURRENT, folder / RELEASED
    if not current.is_file() or current.read_text() != document_text():
        return [f"{CURRENT} is not what the code says: run python -m edge.openapi"]
    if not released.is_file():
        return [f"{RELEASED} is missing: nothing says what must not break"]
    old, new = json.loads(released.read_text()), json.loads(current.read_text())
    if _major(new) > _major(old):
        return []
    return [f"breaks clients of the last release: {line}" for line in breaks(old, new)]


def main(arguments: list[str]) -> int:
    """Exit status 1 when the check has complaints, one a line."""
    if "--check" in arguments:
        found = complaints(FOLDER)
        sys.stderr.writelines(f"{line}\n" for line in found)
        return 1 if found else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / CURRENT).write_text(document_text())
    if "--release" in arguments:
        (FOLDER / RELEASED).write_text(document_text())
    return 0


def _major(document: dict[str, Any]) -> int:
    return int(document["info"]["version"].partition(".")[0])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
