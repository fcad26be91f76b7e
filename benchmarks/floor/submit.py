"""The floor's client: appends `accepted`, and a task has ended when its `ended` comes over the live feed."""

import os

from benchmarks.floor.appends import Append, Appends
from benchmarks.floor.wire import Wire
from benchmarks.load import Done
from bus.subjects import live_of_event

TENANT = b"bench"


class Submitter:
    """Its `send` is the `Send` of the load loops."""

    def __init__(self, wire: Wire, accepted: bytes, *, grouped: bool) -> None:
        self._appends = Appends(wire, grouped=grouped)
        self._payload = accepted
        self._open: dict[bytes, Done] = {}
        self._prefix = os.urandom(9).hex()
        self._sent = 0
        wire.subscribe(live_of_event("ended").encode(), self._ended)

    def send(self, done: Done) -> None:
        """Append one task."""
        self._sent += 1
        task = f"{self._prefix}{self._sent:018d}".encode()  # 36 characters, as long as a UUID
        self._open[task] = done
        tail = TENANT + b"." + task
        subject = b"aion.task.accepted.normal." + tail
        self._appends.append(Append(subject, b"aion.task.*.*." + tail, 0, self._payload, self._stored(task)))

    def _stored(self, task: bytes) -> Done:
        def stored(well: bool) -> None:
            if not well:
                self._finish(task, False)

        return stored

    def _ended(self, subject: bytes, _reply: bytes, _headers: bytes, _payload: bytes) -> None:
        self._finish(subject.rsplit(b".", 1)[1], True)

    def _finish(self, task: bytes, well: bool) -> None:
        done = self._open.pop(task, None)
        if done is not None:
            done(well)
