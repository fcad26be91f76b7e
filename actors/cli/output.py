"""What commands print: data on stdout, talk on stderr, neither with colours: those are for live lines on a terminal."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence


def emit(data: object, *, as_json: bool, text: str | None = None) -> None:
    """Print `data`: as JSON on one line, else as `text`, else as indented JSON."""
    if as_json:
        sys.stdout.write(json.dumps(data, ensure_ascii=False, default=str) + "\n")
    elif text is not None:
        sys.stdout.write(text.rstrip("\n") + "\n" if text else "")
    else:
        sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2, default=str) + "\n")
    sys.stdout.flush()


def talk(line: str) -> None:
    """Tell a person something that is not data."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def complain(code: str, message: str, *, as_json: bool, more: Mapping[str, object] | None = None) -> None:
    """Say why a command failed; `more` is added to the JSON."""
    told = {"code": code, "message": message, **(more or {})}
    talk(json.dumps(told, ensure_ascii=False) if as_json else f"aionctl: {message}")


def table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Rows under upper-case headings, aligned; a missing or None value is a dash."""
    lines = [[column.upper().replace("_", " ") for column in columns]]
    lines += [["-" if row.get(column) is None else str(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
