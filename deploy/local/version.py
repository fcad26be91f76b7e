"""Reading a program's own version line."""

from __future__ import annotations

import re

from schemas.errors import LocalServerError


def parse_version(text: str) -> tuple[int, ...]:
    """Give the first dotted number in a version line: `nats-server: v2.14.6` -> (2, 14, 6)."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    if found is None:
        raise LocalServerError(f"no version number in {text.strip()!r}")
    return tuple(int(part) for part in found.group().split("."))


def dotted(version: tuple[int, ...]) -> str:
    """Give the version as people write it."""
    return ".".join(map(str, version))
