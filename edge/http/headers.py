"""What request headers ask for, read strictly."""

import re
from dataclasses import dataclass
from typing import Final

from schemas.errors import InvalidRequest

_WAIT: Final = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Preference:
    """How long to wait, and what to say in `Preference-Applied` (None: the client preferred nothing)."""

    wait_s: float
    applied: str | None = None


def read_prefer(values: list[str], default_s: float, max_s: float) -> Preference:
    """RFC 7240: `respond-async` and `wait=N`, others are ignored. `InvalidRequest` for a `wait` that is no number."""
    if not values:
        return Preference(default_s)
    found: dict[str, str] = {}
    for part in ",".join(values).split(","):
        name, _, value = part.split(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    if "wait" in found:
        if not _WAIT.fullmatch(found["wait"]):
            raise InvalidRequest(f"Prefer: wait={found['wait'][:40]!r} is not whole seconds: use wait=10")
        wait_s = min(float(found["wait"]), max_s)
        return Preference(wait_s, f"wait={wait_s:g}")
    return Preference(0.0, "respond-async") if "respond-async" in found else Preference(default_s)
