"""A durable pull consumer on the log, kept filled by overlapping pulls."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.floor.wire import Wire
from bus.subjects import LOG_STREAM, Cursor

BATCH = 256
SECOND_NS = 1_000_000_000

OnDelivery = Callable[[bytes, int, bytes, bytes], None]
"""Called with subject, sequence, payload and the subject that takes the ack."""


def config(cursor: Cursor) -> dict[str, Any]:
    """The consumer as the system creates it."""
    return {
        "durable_name": cursor.name,
        "filter_subject": cursor.filter,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(cursor.ack_wait_s * SECOND_NS),
        "max_deliver": -1,
        "max_ack_pending": cursor.max_ack_pending,
    }


class Pull:
    """Keeps between one and two batches asked for, and hands out what comes."""

    def __init__(self, wire: Wire, cursor: Cursor, on_delivery: OnDelivery) -> None:
        self._wire = wire
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{LOG_STREAM}.{cursor.name}".encode()
        self._inbox = f"floor.deliver.{cursor.name}".encode()
        self._asked = 0
        self._on_delivery = on_delivery
        wire.subscribe(self._inbox, self._on_message)

    def fill(self) -> None:
        """Ask for another batch when less than one is outstanding."""
        if self._asked < BATCH:
            self._asked += BATCH
            body = json.dumps({"batch": BATCH, "expires": 30 * SECOND_NS}).encode()
            self._wire.publish(self._next, body, reply=self._inbox)

    def _on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        if headers and not payload:  # a status: the request expired and what it still asked for is gone
            self._asked = max(0, self._asked - BATCH)
            self.fill()
            return
        self._asked -= 1
        self.fill()
        self._on_delivery(subject, sequence_of(reply), payload, reply)


def sequence_of(ack_subject: bytes) -> int:
    """The stream sequence in `$JS.ACK...`: nine tokens, or twelve with domain and account (server 2.15)."""
    tokens = ack_subject.split(b".")
    return int(tokens[5] if len(tokens) == 9 else tokens[7])
