"""Text that an engine says while it works: `aion.token.<tenant>.<task_id>`, kept for minutes, never in the log."""

from typing import Annotated, Final

from msgspec import Meta

from schemas.message import Message

RUN: Final = 1_000_000
"""Numbers a run may use: the n-th delivery of the same event counts from (n - 1) * RUN + 1."""

MAX_TEXT_CHARS: Final = 4096
"""Of one delta; whoever has more to say sends several."""


class Delta(Message):
    """A piece of the text of one run: `number` rises by one from piece to piece, so that a missing one shows.

    `lease` is the sequence of the event that the run answers (DESIGN section 1). A later run of the same lease has
    higher numbers, and its text takes the place of the earlier run's.
    """

    lease: Annotated[int, Meta(ge=1)]
    number: Annotated[int, Meta(ge=1)]
    text: str


def first_number(delivered: int) -> int:
    """The number of the first delta of a run: `delivered` is 1 for the first delivery of its lease."""
    return (delivered - 1) * RUN + 1


def run_of(number: int) -> int:
    """Which run of its lease a number belongs to, from 1 on."""
    return (number - 1) // RUN + 1
