"""What must not stand in the log of an actor."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SUSPECT = re.compile(r"never retrieved|was destroyed but it is pending|never awaited|Traceback|Unclosed")
ERRORS = frozenset({"error", "critical"})
MOST_EXAMPLES = 5
LINE_CHARS = 400


def complaint(line: str) -> bool:
    """Whether this line is an error, or tells of an exception that nobody handled."""
    if SUSPECT.search(line):
        return True
    said = _structured(line)
    return said is not None and said.get("level") in ERRORS


def event(line: str) -> str | None:
    """The event of a structured line."""
    said = _structured(line)
    return str(said["event"])[:80] if said is not None and "event" in said else None


def _structured(line: str) -> dict[str, object] | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


@dataclass
class Logs:
    """Reads on in every `*.log` of a folder, where it ended the last time."""

    folder: Path
    complaints: Counter[str] = field(default_factory=Counter)
    """By actor."""
    events: Counter[str] = field(default_factory=Counter)
    """Everything structured that was logged, from warnings up, by actor and event."""
    examples: list[str] = field(default_factory=list)
    _read: dict[Path, int] = field(default_factory=dict)

    def read_on(self) -> None:
        """Take in all whole lines written since."""
        for path in sorted(self.folder.glob("*.log")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                text, whole, _rest = file.read().rpartition(b"\n")
            self._read[path] = self._read.get(path, 0) + len(text) + len(whole)
            for line in text.decode(errors="replace").splitlines():
                self._take(path.stem, line)

    def _take(self, actor: str, line: str) -> None:
        name = event(line)
        if name is not None:
            self.events[f"{actor} {name}"] += 1
        if complaint(line):
            self.complaints[actor] += 1
            if len(self.examples) < MOST_EXAMPLES:
                self.examples.append(f"{actor}: {line[:LINE_CHARS]}")
