"""What every development server is made of: a place, a launch, and the port that its file implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Protocol

Progress = Callable[[str], None]
"""Called with one line of text for each step that a person may want to see."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server lives: its own folder, its ports by name, the shared folder of downloads, and a voice."""

    folder: Path
    ports: Mapping[str, int]
    cache: Path
    say: Progress


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a prepared server: an absolute command line, what its binary calls itself, and its data folder.

    `variables` are set in its environment where they are not already.
    """

    command: tuple[str, ...]
    version: str
    data_dir: Path
    variables: Mapping[str, str] = field(default_factory=dict)


class LocalServer(Protocol):
    """One kind of server that can run on this machine.

    The supervisor calls `prepare` once before each start, then polls `check` until it returns or the deadline
    passes. Both may block; `check` keeps to about a second. `prepare` is idempotent and keeps existing data.
    """

    @property
    def name(self) -> str:
        """Its name on the command line and in the state file."""

    @property
    def port_names(self) -> tuple[str, ...]:
        """The ports it needs; the first one is the one that clients use."""

    @property
    def stop_signal(self) -> Signals:
        """The signal that makes it close its clients' connections, write its data and exit."""

    def prepare(self, place: Place) -> Launch:
        """Install the binary where it is missing, write the configuration, and say how to start.

        Raises LocalServerError when the binary cannot be had or does not fit.
        """

    def check(self, place: Place) -> None:
        """Return once clients are served; raise OSError or ValueError while they are not."""

    def url(self, place: Place) -> str:
        """The address for clients."""
