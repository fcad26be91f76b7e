"""Where a reader of a task's stream stands: the resume id of every door."""

import re
from typing import Final, NamedTuple

from schemas.errors import InvalidRequest

_FORM: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?")


class Bookmark(NamedTuple):
    """Everything up to here was seen: the events up to log sequence `sequence`, and of the run that answers that event
    the deltas up to `number`.

    As text `17`, or `17.3` behind a delta. Marks of a stream only rise.
    """

    sequence: int = 0
    number: int = 0

    def __str__(self) -> str:
        """The resume id."""
        return f"{self.sequence}.{self.number}" if self.number else str(self.sequence)


START: Final = Bookmark()


def read_bookmark(text: str | None) -> Bookmark:
    """A resume id as it was given out; without one the beginning. Raises `InvalidRequest`."""
    if not text:
        return START
    found = _FORM.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"{text[:40]!r} is not the id of an event: send back the last id you saw, as 17 or 17.3")
    return Bookmark(int(found[1]), int(found[2] or 0))
