"""What a caller learns about one development server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Source = Literal["started", "configured"]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One server: where it answers and who runs it.

    `source` is "configured" when the operator named an outside server: then there is no pid, no data folder and no
    version. A started server that does not run any more has no pid.
    """

    name: str
    version: str
    url: str
    pid: int | None
    data_dir: Path | None
    source: Source


URL_VARIABLES = {
    "nats": "AION_NATS__URL",
    "kafka": "AION_KAFKA__BOOTSTRAP",
    "postgres": "AION_POSTGRES__URL",
    "valkey": "AION_REDIS__URL",
}
"""The setting that carries each server's address, and that replaces the server when an operator sets it."""


def env(infos: Iterable[ServerInfo]) -> dict[str, str]:
    """Give the environment variables with which actors find these servers."""
    return {URL_VARIABLES[info.name]: info.url for info in infos}
